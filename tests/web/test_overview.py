"""The overview: all tokens together, and Redis."""

from __future__ import annotations

import re

from app.core.tokens import Status
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
