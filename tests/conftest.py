"""Guards and resources for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.harness import RedisServer


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where everything is installed on purpose (CI=true), a skipped test is a failed run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and os.environ.get("CI") == "true":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Run a real server for all tests that share one."""
    with RedisServer() as server:
        yield server
