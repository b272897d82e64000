"""The results of the drills as Markdown tables."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from devkit.process import ROOT
from devkit.redis_server import redis_binary

PAGE = ROOT / "docs" / "reliability.md"


@dataclass(frozen=True)
class Table:
    """Rows of text below a title; *failures* has a sentence for each broken promise."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the table as Markdown, followed by the broken promises."""
        lines: Sequence[Sequence[str]] = [self.columns, ["---"] * len(self.columns), *self.rows]
        table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        broken = "".join(f"\n**Broken:** {failure}\n" for failure in self.failures)
        return f"### {self.title}\n\n{table}{broken}"


def machine() -> str:
    """Describe the date and the machine, as far as they matter for the figures."""
    today = datetime.now(UTC).date().isoformat()
    versions = f"Python {platform.python_version()}, {_redis_version()}, {_traefik_version()}"
    return f"{today}, {os.cpu_count()} cores, {versions}, load {os.getloadavg()[0]:.1f}"


def write(name: str, tables: Iterable[Table], page: Path = PAGE) -> None:
    """Put *tables* between the markers of *name* on the page; exits if the page has none."""
    first, last = f"<!-- chaos {name} -->\n", f"<!-- end {name} -->\n"
    before, begun, rest = page.read_text("utf-8").partition(first)
    _, ended, after = rest.partition(last)
    if not (begun and ended):
        sys.exit(f"{page} lacks the lines {first.strip()} and {last.strip()}.")
    body = "\n".join([f"{machine()}.\n", *(table.markdown() for table in tables)])
    page.write_text(f"{before}{first}\n{body}\n{last}{after}", "utf-8")


def _redis_version() -> str:
    version = _output(redis_binary(), "--version")
    return f"{version.split()[0]} {_number(version.partition('v=')[2])}"


def _traefik_version() -> str:
    return f"Traefik {_number(_output(str(Path(sys.executable).with_name('traefik')), 'version'))}"


def _number(text: str) -> str:
    found = re.search(r"\d+(?:\.\d+)+", text)
    return found[0] if found else "of an unknown version"


def _output(*argv: str) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""
