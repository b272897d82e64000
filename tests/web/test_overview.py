"""The overview: all tokens together, and Redis."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core.errors import StoreUnavailableError
from app.core.findings import RULES
from app.core.server_facts import FACTS
from app.core.tokens import Status
from app.services import services_of
from app.store import census
from tests.store.test_listing import write
from tests.web.conftest import Operator

LINK = re.compile(r'href="(/[^"#]*)"')


def issued(operator: Operator, **fields: str) -> str:
    """Create a token and return its secret."""
    page = operator.post("/create_token", {"hosts": "a.test"} | fields).text
    found = re.search(r'id="new-token"[^>]* value="([^"]+)"', page)
    assert found
    return found[1]


def ask(operator: Operator, secret: str, host: str = "a.test") -> int:
    """Ask /auth, and return the status."""
    headers = {"Authorization": f"Bearer {secret}", "X-Forwarded-Host": host}
    return operator._client.get("/auth", headers=headers).status_code


def test_it_adds_up_what_each_token_did(operator: Operator) -> None:
    """Requests and refusals of all tokens are counted at once, and each token is named by its comment."""
    busy, refused = issued(operator, comment="<b>busy</b>"), issued(operator, email="refused@example.com")
    issued(operator, comment="idle", ttl_seconds="3600")
    assert [ask(operator, busy) for _ in range(3)] == [200] * 3
    assert [ask(operator, refused, "b.test") for _ in range(2)] == [403] * 2
    page = operator.get("/overview").text

    assert "3 allowed" in page
    assert "2 refused" in page
    assert re.findall(r"<strong>(\d+)</strong> <span class=\"(?:status )?(\w*)", page)[:3] == [
        ("3", ""),
        ("2", Status.ACTIVE),
        ("1", Status.EXPIRING),
    ]
    busiest, most_refused = (part.split("</section>")[0] for part in page.split("last 24 hours</span>")[1:3])
    assert re.findall("<bdi>(.*)</bdi>", busiest) == ["&lt;b&gt;busy&lt;/b&gt;"]
    assert re.findall("<bdi>(.*)</bdi>", most_refused) == ["refused@example.com"]


def test_a_view_reads_no_token(operator: Operator, database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among many tokens, a view shows the last census, with a small part of a command for each token."""
    monkeypatch.setattr(census, "_FEW", -1)
    assert "being counted for the first time" in operator.get("/overview").text
    write(database, 300)
    services_of(operator._client.application).catalog._store.take_census()
    before = database.info("stats")["total_commands_processed"]
    page = operator.get("/overview").text

    assert "<strong>300</strong>" in page
    assert database.info("stats")["total_commands_processed"] - before < 300 / 3


def test_redis_is_described_and_what_to_do(operator: Operator) -> None:
    """The page has the findings of doctor about Redis, in the same words, and the facts."""
    page = unescape(operator.get("/overview?x=%00&y").text)
    rule = RULES["redis-aof-off"]
    assert f"Error: {rule.what.format(server='')}" in page
    assert rule.why in page
    assert rule.fix in page
    facts = re.findall("<dt>(.*)</dt><dd>(.*)</dd>", page)
    assert [name for name, _ in facts] == [*FACTS, "Round trip", "appendfsync", "Durability"]
    assert ("Append-only file", "off") in facts


def test_without_redis(offline: FlaskClient) -> None:
    """Nobody can sign in without Redis, so that a view fails with its reason and not with an error."""
    answer = Operator(offline).get("/overview")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"


def test_redis_stops_in_a_view(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page without numbers says why, and still how Redis is."""

    def fail() -> None:
        raise StoreUnavailableError("it stopped")

    monkeypatch.setattr(services_of(operator._client.application).overview, "totals", fail)
    answer = operator.get("/overview")
    assert answer.status_code == 503
    assert "counted now: it stopped." in answer.text
    assert "Append-only file" in answer.text


def test_each_link_leads_to_what_it_says(operator: Operator) -> None:
    """Each number links to a list that the table has, and each token to its page."""
    ask(operator, issued(operator, comment="one"))
    page = operator.get("/overview").text
    links = {*map(unescape, re.findall(r'(?:class="tile"|<th scope="row"><a) href="([^"]+)"', page))}
    assert len(links) == 7
    assert {operator.get(link).status_code for link in links} == {200}
