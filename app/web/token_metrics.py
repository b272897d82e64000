"""How many tokens have each status, for /metrics (docs/decisions/0027)."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.core.catalog import Catalog
from app.core.errors import StoreUnavailableError


class Tokens(Collector):
    """Reads the result of the last census; without one, or without Redis, it reports no number."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def collect(self) -> Iterator[Metric]:
        """Yield one gauge with a sample for each status."""
        gauge = GaugeMetricFamily("acl_auth_tokens", "Tokens by status", labels=["status"])
        try:
            counts = self._catalog.counts()
        except StoreUnavailableError:
            counts = None
        for status, count in counts.by_status.items() if counts else ():
            gauge.add_metric([status], count)
        yield gauge
