"""`python -m chaos [--quick] [--write] [faults mixups …]`: drills of what the service does in a failure."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from importlib import import_module

from chaos.report import Table, machine, write

SUBJECTS = ("faults", "mixups", "attacks", "paths", "runtime", "limits", "model", "trails")


def main() -> None:
    """Print the tables of each subject once they are complete; exits with 1 if a promise was broken."""
    options = _options()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("Ended, together with the servers that it had started.")
    )
    print(f"{machine()}.\n")
    failures: list[str] = []
    for subject in options.subjects or SUBJECTS:
        tables = _tables(subject)(options.quick)
        print("\n".join(table.markdown() for table in tables), flush=True)
        failures += [failure for table in tables for failure in table.failures]
        if options.write:
            write(subject, tables)
    sys.exit(f"{len(failures)} promises were broken." if failures else 0)


def _tables(subject: str) -> Callable[[bool], list[Table]]:
    tables: Callable[[bool], list[Table]] = import_module(f"chaos.{subject}").tables
    return tables


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m chaos", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="subject", help=f"some of {', '.join(SUBJECTS)}")
    parser.add_argument("--quick", action="store_true", help="a shorter form of each")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/reliability.md")
    options = parser.parse_args()
    if unknown := [name for name in options.subjects if name not in SUBJECTS]:
        parser.error(f"no such subject: {', '.join(unknown)}")
    return options


if __name__ == "__main__":
    main()
