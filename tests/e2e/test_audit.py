"""The audit log of a real service: to standard output, and in a real Cluster beside its tokens."""

from __future__ import annotations

import json

import pytest

from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.waiting import until

pytestmark = pytest.mark.e2e


def test_standard_output(redis_server: RedisServer) -> None:
    """With AUDIT_LOG=stdout each change is also a line of JSON, without the secret."""
    with Gunicorn(redis_port=redis_server.port, audit_log="stdout", web_concurrency=2) as service:
        secret = service.issue("a.test")
        until(lambda: '{"audit"' in service.log)

        (line,) = [json.loads(line) for line in service.log.splitlines() if line.startswith('{"audit"')]
        assert (line["action"], line["actor"]) == ("create", "operator")
        assert line["changes"]["hosts"] == {"old": None, "new": ["a.test"]}
        assert secret not in service.log


def test_off(redis_server: RedisServer) -> None:
    """By default nothing is written to standard output."""
    with Gunicorn(redis_port=redis_server.port) as service:
        service.issue("a.test")

        assert '{"audit"' not in service.log
