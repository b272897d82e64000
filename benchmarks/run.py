"""python -m benchmarks.run [--quick] [--only NAME…]: the service beside its peers, as tables and a chart."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import balance, cluster, latency, memory, plan, report, restricted, scale, targets, versus
from benchmarks.lineup import CONTENDERS, SERVICE
from benchmarks.plan import BEHIND, KEPT, Plan
from benchmarks.report import Part
from benchmarks.versus import Results

HERE = Path(__file__).parent

# What is measured beyond the peers; each is a module that can also be run alone.
PARTS: Mapping[str, Callable[[], Part]] = {
    "restricted": restricted.part,
    "scale": scale.part,
    "latency": latency.part,
    "balance": balance.part,
    "cluster": cluster.part,
    "memory": memory.part,
}


def main() -> None:
    options = _options()
    report.warn_if_busy()
    rows = plan.QUICK if options.quick else plan.FULL
    parts = [] if options.quick else list(PARTS)
    if options.only:
        rows, parts = plan.chosen(plan.FULL, options.only), [name for name in PARTS if name in options.only]
    rounds, seconds = (2, 1) if options.quick else (5, 2)
    found: list[Part] = []
    for part in (lambda: _peers(rows, rounds, seconds), *(PARTS[name] for name in parts)):
        found.append(part())
        # After each part, because a later one might fail.
        (HERE / "RESULTS.md").write_text(_text(found, rounds, seconds))
    print(_text(found, rounds, seconds))


def _peers(rows: Plan, rounds: int, seconds: int) -> Part:
    """Measure the service beside its peers, and write the chart."""
    if not rows:
        return Part([], "")
    without = versus.excluded(plan.EVERYONE)
    results = versus.run(versus.possible(rows, without), rounds, seconds)
    if {KEPT, BEHIND} <= results.keys():
        (HERE / "chart.svg").write_text(_chart(results))
    notes = "".join(f"Not measured: {name}: {reason}.\n\n" for name, reason in without.items())
    return Part(targets.goals(results), notes + versus.tables(results))


def _text(found: Sequence[Part], rounds: int, seconds: int) -> str:
    """Return all targets and then all tables."""
    rest = ", 1 s in minor rows" if seconds > 1 else ""
    how = f"{rounds} rounds of {seconds} s{rest}, interleaved, medians; {report.machine()}"
    goals = report.table(report.GOALS_HEAD, (goal.row() for part in found for goal in part.goals))
    tables = (part.text for part in found if part.text)
    return "\n".join([f"# Benchmarks\n\n{how}\n\n{goals}", *tables])


def _chart(results: Results) -> str:
    titles = {KEPT: "requests per second, direct", BEHIND: "requests per second, through Traefik"}
    groups = {
        title: {CONTENDERS[name].title: sample.per_second for name, sample in results[row].items()}
        for row, title in titles.items()
    }
    return report.chart(groups, CONTENDERS[SERVICE].title)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.run", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="two minutes of it, without the parts beyond the peers"
    )
    names = [*(row.name for row in plan.FULL), *PARTS]
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="NAME", help=f"only these: {', '.join(names)}"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
