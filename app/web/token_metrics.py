"""How many tokens have each status, for /metrics (docs/decisions/0027)."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.core.errors import StoreUnavailableError
from app.core.listing import Counts
from app.services import Services


class Tokens(Collector):
    """Reads the result of the last census; without one, or without Redis, it reports no number."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """Yield one gauge with a sample for each status."""
        gauge = GaugeMetricFamily("acl_auth_tokens", "Tokens by status", labels=["status"])
        counts = self._counts()
        for status, count in counts.by_status.items() if counts else ():
            gauge.add_metric([status], count)
        yield gauge

    def _counts(self) -> Counts | None:
        """Return the counts; a ping comes first, because a scrape must not wait for a Redis that is down."""
        try:
            self._services.ping()
            return self._services.catalog.counts()
        except StoreUnavailableError:
            return None
