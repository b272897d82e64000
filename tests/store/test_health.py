"""The log warns about a Redis that evicts keys when its memory is full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.store.health import EvictionPolicyCheck


@pytest.fixture(name="evicting")
def _evicting(real_client: Any) -> Iterator[Any]:
    """Return a client of a server that evicts keys when its memory is full."""
    real_client.config_set("maxmemory-policy", "allkeys-lru")
    yield real_client
    real_client.config_set("maxmemory-policy", "noeviction")


def test_evicting_server(evicting: Any, caplog: pytest.LogCaptureFixture) -> None:
    """There is one warning, with the name of the setting and the value to set."""
    check = EvictionPolicyCheck(evicting)
    check.run()
    check.run()

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "maxmemory-policy of this Redis is allkeys-lru" in record.getMessage()
    assert "Set maxmemory-policy to noeviction" in record.getMessage()


def test_safe_server(real_client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """There is no warning about a server that never evicts keys."""
    EvictionPolicyCheck(real_client).run()

    assert caplog.records == []


def test_no_right_to_info(evicting: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Without the right to INFO there is neither an error nor a warning."""
    evicting.execute_command("ACL SETUSER", "default", "-info")
    try:
        EvictionPolicyCheck(evicting).run()
    finally:
        evicting.execute_command("ACL SETUSER", "default", "+info")

    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
