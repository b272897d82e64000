"""The view of /metrics, for Prometheus (docs/decisions/0016)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

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
from app.tally import BUCKETS_S, Totals
from app.version import VERSION
from app.web.token_metrics import Tokens

bp = Blueprint("metrics", __name__)
_NAME = "application/openmetrics-text"
_OPENMETRICS = f"{_NAME}; version=1.0.0"


@bp.get("/metrics", provide_automatic_options=False)
def metrics() -> Response:
    """Return the counters of all workers since the service started."""
    registry = CollectorRegistry()
    registry.register(_Decisions(services()))
    registry.register(Tokens(services().catalog))
    # Not the header itself: choose_encoder raises an exception for a version that is not a number.
    encode, kind = choose_encoder(_OPENMETRICS if _NAME in request.headers.get("Accept", "") else "")
    return Response(encode(registry), content_type=kind, headers={"Cache-Control": "no-store"})


class _Decisions(Collector):
    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        totals = self._services.tally.totals()
        decisions = CounterMetricFamily(
            "acl_auth_decisions", "Answers of /auth, by verdict", labels=["verdict"]
        )
        for verdict, count in totals.verdicts.items():
            decisions.add_metric([verdict], count)
        yield decisions
        yield CounterMetricFamily(
            "acl_auth_express", "Decisions among them that the express lane answered", value=totals.express
        )
        yield _durations(totals)
        yield GaugeMetricFamily("acl_auth_redis_up", "Whether decisions can be made now", value=self._is_up())
        yield InfoMetricFamily("acl_auth_build", "Version of the service", value={"version": VERSION})

    def _is_up(self) -> bool:
        try:
            self._services.ping()
        except StoreUnavailableError:
            return False
        return True


def _durations(totals: Totals) -> HistogramMetricFamily:
    bounds = [*map(str, BUCKETS_S), "+Inf"]
    return HistogramMetricFamily(
        "acl_auth_decision_seconds",
        "How long a decision took",
        buckets=[*zip(bounds, accumulate(totals.buckets), strict=True)],
        sum_value=totals.seconds,
    )
