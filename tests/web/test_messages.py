"""Log messages about the durability of changes."""

from __future__ import annotations

from typing import Any

from app.core.durability import WARNINGS, Durability
from app.web import messages
from tests.web.conftest import Operator


def test_log_of_a_server_without_a_file(operator: Operator, caplog: Any) -> None:
    """A problem that affects every change is logged once, although each page reports it."""
    messages._log_once.cache_clear()
    for _ in range(3):
        page = operator.post("/create_token", {"hosts": "a.example"})
        assert "Redis has no append-only file" in page.text

    assert caplog.text.count(WARNINGS[Durability.NO_FILE]) == 1


def test_log_of_unconfirmed_changes(caplog: Any) -> None:
    """Each unconfirmed change is logged, and a confirmed one is not."""
    for durability in (Durability.UNCONFIRMED, Durability.CONFIRMED, Durability.UNCONFIRMED):
        messages.log_durability(durability)

    assert [record.message for record in caplog.records] == [WARNINGS[Durability.UNCONFIRMED]] * 2
