"""The view of /metrics, for Prometheus (docs/decisions/0016)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from app.core.errors import StoreUnavailableError
from app.services import Services, services
from app.tally import Durations, Gauge
from app.version import VERSION
from app.web.token_metrics import Tokens

bp = Blueprint("metrics", __name__)
_NAME = "application/openmetrics-text"
_OPENMETRICS = f"{_NAME}; version=1.0.0"
_GAUGES: Mapping[Gauge, str] = {
    Gauge.CLIENT_CONNECTIONS: "Open connections of clients",
    Gauge.REDIS_CONNECTIONS: "Open connections to Redis",
    Gauge.REDIS_WAITING: "Commands of /auth that Redis has not answered yet",
}


@bp.get("/metrics", provide_automatic_options=False)
def metrics() -> Response:
    """Return the numbers of all workers; counters begin when the service starts."""
    registry = CollectorRegistry()
    registry.register(_Service(services()))
    registry.register(Tokens(services()))
    # Not the header itself: choose_encoder raises an exception for a version that is not a number.
    encode, kind = choose_encoder(_OPENMETRICS if _NAME in request.headers.get("Accept", "") else "")
    return Response(encode(registry), content_type=kind, headers={"Cache-Control": "no-store"})


class _Service(Collector):
    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        is_up = self._is_up()
        totals = self._services.tally.totals()
        yield _counter("acl_auth_decisions", "Answers of /auth, by verdict", verdict=totals.verdicts)
        yield CounterMetricFamily(
            "acl_auth_express", "Decisions among them that the express lane answered", value=totals.express
        )
        yield _histogram("acl_auth_decision_seconds", "How long a decision took", totals.decisions)
        yield _histogram("acl_auth_redis_seconds", "Round trips of the commands of /auth", totals.redis)
        yield GaugeMetricFamily("acl_auth_redis_up", "Whether decisions can be made now", value=is_up)
        for gauge, number in totals.gauges.items():
            yield GaugeMetricFamily(f"acl_auth_{gauge}", _GAUGES[gauge], value=number)
        yield _counter("acl_auth_logins", "Attempts to sign in, by outcome", outcome=totals.logins)
        durable = {durability.value: number for durability, number in totals.changes.items()}
        yield _counter(
            "acl_auth_changes", "Changes of tokens, by whether they are on disk", durability=durable
        )
        yield _counter("acl_auth_audit_entries", "Audit entries written, by action", action=totals.entries)
        yield InfoMetricFamily("acl_auth_build", "Version of the service", value={"version": VERSION})

    def _is_up(self) -> bool:
        try:
            self._services.ping()
        except StoreUnavailableError:
            return False
        return True


def _counter(name: str, meaning: str, **counts: Mapping[Any, int]) -> CounterMetricFamily:
    """Return a counter whose only label is the name of the only argument."""
    ((label, numbers),) = counts.items()
    family = CounterMetricFamily(name, meaning, labels=[label])
    for value, number in numbers.items():
        family.add_metric([value], number)
    return family


def _histogram(name: str, meaning: str, durations: Durations) -> HistogramMetricFamily:
    bounds = [*map(str, durations.bounds_s), "+Inf"]
    buckets = [*zip(bounds, accumulate(durations.counts), strict=True)]
    return HistogramMetricFamily(name, meaning, buckets=buckets, sum_value=durations.seconds)
