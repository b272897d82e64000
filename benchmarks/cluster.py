"""python -m benchmarks.cluster: what a decision costs a Redis Cluster of 1, 3 and 6 nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import lineup, report
from benchmarks.at_rate import at_rate, highest_rate
from benchmarks.fill import HOST
from benchmarks.lineup import Terms
from benchmarks.report import Goal, Part
from benchmarks.wrk import Mode, Wrk, medians, prepared
from devkit.cluster import Node, Nodes
from devkit.proc import cpu_us
from devkit.service import Gunicorn

SIZES = (1, 3, 6)
TOKENS = 192
ROUNDS, SECONDS = 5, 2
MODE = Mode(32)


@dataclass(frozen=True)
class Load:
    """A number of nodes, and the rate of decisions in all."""

    nodes: int
    per_second: float


@dataclass(frozen=True)
class Cost:
    """The CPU time of one run, or the medians of several, in microseconds."""

    service_us: float  # per decision
    redis_us: float  # per decision, all nodes together
    least_us: float  # per decision of its own, of the node that it costs least
    most_us: float
    least_share: float  # of all decisions, of the node that has fewest
    most_share: float
    refused: float


@dataclass(frozen=True)
class Stage:
    """A Cluster with its service."""

    nodes: Sequence[Node]
    service: Gunicorn
    wrk: Wrk

    def cost(self, per_second: float) -> Cost:
        """Measure once."""
        before = self._read()
        seen = at_rate(self.wrk, self.service.port, per_second, SECONDS)
        used = [
            (us - old_us, runs - old) for (us, runs), (old_us, old) in zip(self._read(), before, strict=True)
        ]
        (service_us, _), *nodes = used
        each = [us / max(1, runs) for us, runs in nodes]
        shares = [runs / max(1, seen.requests) for _, runs in nodes]
        redis_us = sum(us for us, _ in nodes) / seen.requests
        ranges = min(each), max(each), min(shares), max(shares)
        return Cost(service_us / seen.requests, redis_us, *ranges, seen.refused)

    def _read(self) -> list[tuple[float, float]]:
        """Return the CPU time of the service, and of each node, with the scripts that it has run."""
        return [(cpu_us(self.service.pid), 0), *((cpu_us(node.pid), _scripts(node)) for node in self.nodes)]


def main() -> None:
    report.warn_if_busy()
    report.publish("CLUSTER", part())


def part() -> Part:
    """Measure it, and return the target and the table."""
    costs = run()
    how = f"`/auth` direct at constant rates; medians of {ROUNDS} interleaved rounds of {SECONDS} s."
    rows = report.table(_HEAD, (_row(load, cost) for load, cost in costs.items()))
    return Part(goals(costs), f"## Redis Cluster\n\n{how}\n\n{rows}")


def run() -> Mapping[Load, Cost]:
    """Return what a decision costs, first with the same load per node and then with the same in all."""
    with ExitStack() as stack:
        stages = {size: _stage(stack, size) for size in SIZES}
        least = stages[SIZES[0]]
        each = highest_rate(least.wrk, least.service.port, SECONDS) / 2 / SIZES[-1]
        loads = [Load(size, each * size) for size in SIZES] + [
            Load(size, each * SIZES[-1]) for size in SIZES[:-1]
        ]
        rounds = [[stages[load.nodes].cost(load.per_second) for load in loads] for _ in range(ROUNDS)]
    return dict(zip(loads, map(medians, zip(*rounds, strict=True)), strict=True))


def _stage(stack: ExitStack, size: int) -> Stage:
    nodes = stack.enter_context(Nodes(primaries=size))
    service = stack.enter_context(lineup.service(Terms(), redis_url=nodes.url))
    secrets = [service.issue(HOST) for _ in range(TOKENS)]
    wrk = stack.enter_context(prepared([MODE], secrets))[MODE]
    wrk.run(service.port, 1)  # to connect and to load the scripts
    return Stage(nodes.primaries, service, wrk)


def _scripts(node: Node) -> float:
    return float(node.client().info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


def goals(costs: Mapping[Load, Cost]) -> list[Goal]:
    """Return the target: with the same load per node, a decision costs what it costs one node alone."""
    base, most = (
        next(cost for load, cost in costs.items() if load.nodes == size) for size in (SIZES[0], SIZES[-1])
    )
    figure = f"CPU of Redis per decision, {SIZES[-1]} nodes with the same load each, against one"
    measured = f"{most.redis_us:.1f} against {base.redis_us:.1f} µs"
    fair = not base.refused + most.refused
    return [Goal(figure, measured, most.redis_us / base.redis_us, 1.2, at_most=True, is_fair=fair)]


_HEAD = (
    *("nodes", "decisions/s", "decisions/s per node", "service CPU µs per decision"),
    *(
        "Redis CPU µs per decision",
        "of the nodes, least to most",
        "share of a node, least to most",
        "not 200",
    ),
)


def _row(load: Load, cost: Cost) -> tuple[str, ...]:
    rates = report.number(load.per_second), report.number(load.per_second / load.nodes)
    each = f"{cost.least_us:.1f} to {cost.most_us:.1f}"
    shares = f"{cost.least_share:.0%} to {cost.most_share:.0%}"
    costs = f"{cost.service_us:.1f}", f"{cost.redis_us:.1f}"
    return str(load.nodes), *rates, *costs, each, shares, f"{cost.refused:.0f}"


if __name__ == "__main__":
    main()
