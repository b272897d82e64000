"""python -m benchmarks.restricted: what the restrictions of a token cost, and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from benchmarks import lineup, report
from benchmarks.fill import Filler
from benchmarks.lineup import Terms
from benchmarks.report import Goal, Part
from benchmarks.wrk import Meter, Mode, Sample, Wrk, measure, medians, prepared
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn

MODE = Mode(32)
TOKENS = 256
ROUNDS, SECONDS = 5, 2
PLAIN, ALL = "no restriction", "methods, paths and networks"
EVERYTHING = f"{ALL}, and a quota"
LISTS = {"methods": "GET POST", "paths": "/v1/models /v1/chat/* /", "networks": "10.0.0.0/8 192.0.2.0/24"}
QUOTA = {"quota_max": "1000000000", "quota_period": "month"}
KINDS: Mapping[str, Mapping[str, str]] = {
    PLAIN: {},
    **{name: {name: listed} for name, listed in LISTS.items()},
    ALL: LISTS,
    "a quota": QUOTA,
    EVERYTHING: LISTS | QUOTA,
}
_HEAD = ("token with", "requests/s", "service CPU µs", "Redis CPU µs", "both, against none")


def main() -> None:
    report.warn_if_busy()
    report.publish("RESTRICTED", part())


def part() -> Part:
    """Measure it, and return the target and the table."""
    samples = run()
    return Part(goals(samples), markdown(samples))


def run() -> Mapping[str, Sample]:
    """Measure tokens of all kinds on one service, interleaved."""
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        service = stack.enter_context(lineup.service(Terms(redis.port), trusted_proxies="127.0.0.1"))
        by_kind = {kind: _wrk(stack, redis, service, fields) for kind, fields in KINDS.items()}
        rounds = [
            [measure(wrk, service.port, SECONDS, Meter(service.pid, redis)) for wrk in by_kind.values()]
            for _ in range(ROUNDS)
        ]
    return dict(zip(KINDS, map(medians, zip(*rounds, strict=True)), strict=True))


def _wrk(stack: ExitStack, redis: RedisServer, service: Gunicorn, fields: Mapping[str, str]) -> Wrk:
    secrets = Filler(redis.client(), service, **fields).issue(TOKENS)
    return stack.enter_context(prepared([MODE], secrets))[MODE]


def goals(samples: Mapping[str, Sample]) -> list[Goal]:
    """Return the target for a token with every restriction and a quota."""
    ours, base = samples[EVERYTHING], samples[PLAIN]
    measured = f"{_cpu_us(ours):.1f} against {_cpu_us(base):.1f} µs"
    fair = ours.is_fair and base.is_fair
    figure = f"CPU per `/auth` with {EVERYTHING}, against {PLAIN}"
    return [Goal(figure, measured, _cpu_us(ours) / _cpu_us(base), 1.15, at_most=True, is_fair=fair)]


def markdown(samples: Mapping[str, Sample]) -> str:
    """Return the table."""
    how = f"`/auth` at 32 keep-alive connections, medians of {ROUNDS} interleaved rounds."
    rows = report.table(_HEAD, (_row(kind, sample, samples[PLAIN]) for kind, sample in samples.items()))
    return f"## Restrictions and quotas\n\n{how}\n\n{rows}"


def _row(kind: str, sample: Sample, base: Sample) -> tuple[str, ...]:
    costs = f"{sample.server_us:.1f}", f"{sample.redis_us:.1f}"
    return kind, report.number(sample.per_second), *costs, f"{_cpu_us(sample) / _cpu_us(base):.2f}"


def _cpu_us(sample: Sample) -> float:
    return sample.server_us + sample.redis_us


if __name__ == "__main__":
    main()
