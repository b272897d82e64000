"""Fixtures and hooks for all tests."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from devkit import leaks
from devkit.builders import ENVIRON
from devkit.older import NO_HISTORY
from devkit.redis_server import RedisServer
from devkit.waiting import PATIENCE_S

# Hypothesis generates the same examples in every run, so that only a code change makes a test fail, and
# no example has a deadline. `pytest --hypothesis-profile=explore` generates others.
_UNTIMED = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture]
settings.register_profile(
    "suite", derandomize=True, database=None, deadline=None, suppress_health_check=_UNTIMED
)
settings.register_profile("explore", settings.get_profile("suite"), derandomize=False)
settings.load_profile("suite")

# The log of this process, in which no test may find a secret. A service that a test starts has its own.
leaks.remember_all()
_WATCH = leaks.Watch([ENVIRON["PEPPER"], ENVIRON["ADMIN_PASS"]])
_WATCH.install()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a test alike in every process, as pytest-xdist needs, whatever secret was generated for it."""
    text = val if isinstance(val, str) else ""
    named = re.sub(r"(acl_|sk-)(?!(.)\2{3})[0-9A-Za-z]{37}\S", r"\1…", text)
    return named if named != text else None


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark the tests that need a server, so that `make unit` can skip them."""
    for item in items:
        if "redis_server" in item.fixturenames:
            item.add_marker("server")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """With CI=true, where everything is installed, let a skipped test fail the run.

    Only earlier commits can't be installed: a shallow clone and a source archive do not have them.
    """
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    skipped = [report for report in reports if NO_HISTORY not in str(report.longrepr)]
    if skipped and os.environ.get("CI") == "true":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _patient_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the time limit of listings, so that a slow machine does not shorten them."""
    for module in ("index_pages", "listings", "census"):
        monkeypatch.setattr(f"app.store.{module}._PATIENCE_S", PATIENCE_S)


@pytest.fixture(autouse=True)
def leak_watch() -> Iterator[leaks.Watch]:
    """Fail a test that logs a secret, at whatever level."""
    _WATCH.take()
    yield _WATCH
    assert _WATCH.take() == []


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Run one real server for all tests that share it."""
    with RedisServer() as server:
        yield server
