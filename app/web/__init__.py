"""The views: pages, API, health probes and metrics (docs/decisions/0001)."""
