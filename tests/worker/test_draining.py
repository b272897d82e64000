"""What gunicorn's worker changes in the app."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from app import create_app
from app.services import services_of
from app.store.transport.pipeline import Pipeline
from app.worker.draining import DrainingWorker
from app.worker.express import ExpressWorker
from devkit.builders import make_settings


def uses_pipeline(app: Flask) -> bool:
    """Return whether decisions of *app* use the pipelined connection."""
    gate: Any = services_of(app).gate
    return isinstance(gate._ledger._client, Pipeline)


@pytest.mark.parametrize("kind", [DrainingWorker, ExpressWorker])
def test_services_of_a_worker(kind: type[DrainingWorker]) -> None:
    """Requests of a gevent worker share a pipelined connection; commands do not."""
    app = create_app(make_settings())
    worker: Any = kind.__new__(kind)
    worker.app = SimpleNamespace(wsgi=lambda: app)
    worker.cfg = SimpleNamespace(is_ssl=False, accesslog=None, keepalive=20)
    assert not uses_pipeline(app)

    worker.load_wsgi()

    assert uses_pipeline(app)
    if kind is ExpressWorker:
        assert worker._lane._services is services_of(app)
