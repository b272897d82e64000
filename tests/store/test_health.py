"""A Redis that would lose tokens is told of in the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.store.health import EvictionPolicyCheck


@pytest.fixture(name="lossy")
def _lossy(real_client: Any) -> Iterator[Any]:
    """Return a client of a server that drops keys when its memory is full."""
    real_client.config_set("maxmemory-policy", "allkeys-lru")
    yield real_client
    real_client.config_set("maxmemory-policy", "noeviction")


def test_evicting_server(lossy: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is warned of once, with the setting's name and the value to give it."""
    checkup = EvictionPolicyCheck(lossy)
    checkup.run()
    checkup.run()

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "maxmemory-policy of this Redis is allkeys-lru" in record.getMessage()
    assert "Set maxmemory-policy to noeviction" in record.getMessage()


def test_safe_server(real_client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A server that keeps what it has is not worth a word."""
    EvictionPolicyCheck(real_client).run()

    assert caplog.records == []


def test_forbidden_to_look(lossy: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A server that does not let itself be looked at is no reason to fail, nor to warn."""
    lossy.execute_command("ACL SETUSER", "default", "-info")
    try:
        EvictionPolicyCheck(lossy).run()
    finally:
        lossy.execute_command("ACL SETUSER", "default", "+info")

    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
