"""What a token's page offers, what it tells first, and what it says afterwards."""

from __future__ import annotations

import re
import time
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core import moments
from app.core.text import grouped
from tests.web.conftest import Operator
from tests.web.test_api import Api

DAY_S = 86_400
MAX_BYTES = 60_000
LARGE: dict[str, Any] = {
    "hosts": [f"{'h' * 24}{number}.example.com" for number in range(30)],
    "comment": "c" * 500,
    "email": f"{'e' * 240}@a.test",
    "paths": [f"/v1/{number}/*" for number in range(50)],
    "quota_max": 10**12,
    "quota_period": "month",
}


@pytest.fixture(name="api")
def _api(client: FlaskClient) -> Api:
    return Api(client)


def plain(page: str) -> str:
    """Return the text of a page without tags, with single blanks."""
    return re.sub(r"[ \n]+", " ", unescape(re.sub(r"<[^>]+>", "", page)))


def text_of(operator: Operator, address: str) -> str:
    """Return the text of the page at *address*."""
    return plain(operator.get(address).text)


def end_of(api: Api, name: str) -> int:
    """Return when a token ends, in seconds since the epoch."""
    return moments.parse(api("GET", f"/tokens/{name}").json["expires_at"])


def test_extend(api: Api, operator: Operator) -> None:
    """A token gets so much more time, from its end on, and the page confirms it."""
    name = api.make(ttl_seconds=10 * DAY_S)["id"]
    for by, seconds in (("30d", 30 * DAY_S), ("1h30m", 5400), (" 60 ", 60)):
        before = end_of(api, name)
        answer = operator.post("/extend_token", {"token": name, "by": by})

        assert answer.status_code == 303
        assert end_of(api, name) - before == seconds
        assert "The token has more time." in text_of(operator, answer.headers["Location"])


def test_invalid_extension(api: Api, operator: Operator) -> None:
    """A duration that can't be used changes nothing and is a 400 beside the buttons."""
    name = api.make(ttl_seconds=DAY_S)["id"]
    before = end_of(api, name)
    for by in ("", "0", "0d", "-1", "soon", "999999999999w"):
        answer = operator.post("/extend_token", {"token": name, "by": by})

        assert (answer.status_code, end_of(api, name)) == (400, before)
        assert re.search(
            r'<details class="ask" name="ask" open>\s*<summary><span class="closed">Extend', answer.text
        )
        assert 'class="problem"' in answer.text


def test_extend_without_an_end(api: Api, operator: Operator) -> None:
    """A token that never ends can't be extended, and its page does not offer it."""
    name = api.make()["id"]

    assert operator.post("/extend_token", {"token": name, "by": "30d"}).status_code == 409
    assert "Extend" not in text_of(operator, f"/tokens/{name}")


def test_undo(api: Api, operator: Operator) -> None:
    """The notice of a disabled token enables it again, as long as it is disabled."""
    made = api.make()
    notice = operator.post("/disable_token", {"token": made["id"]}).headers["Location"]
    undo = re.compile(r'action="/enable_token">\s*<button name="token" value="([^"]+)">Undo<')
    assert api.auth(made["token"]) == 401

    (name,) = undo.findall(operator.get(notice).text)
    operator.post("/enable_token", {"token": name})
    assert api.auth(made["token"]) == 200
    assert not undo.findall(operator.get(notice).text)


def test_confirmations(api: Api, operator: Operator) -> None:
    """Before a token stops, the page names it, its last use, its requests and what is refused."""
    made = api.make(hosts=["a.test", "b.test"], comment="CI <1>")
    assert text_of(operator, f"/tokens/{made['id']}").count("CI <1> has never been used.") == 3
    for host in ("a.test", "c.test"):
        api.auth(made["token"], host)

    page = operator.get(f"/tokens/{made['id']}").text
    for verb in ("Rotate", "Disable", "Delete"):
        (asked,) = re.findall(rf"<summary><span[^>]+>{verb}</span>(.*?)</details>", page, re.DOTALL)
        assert re.search("CI <1> was last used less than .*, with 2 requests in the last", plain(asked))
        stops = "Requests with it to a.test and 1 other host will be refused"
        assert (stops in plain(asked)) == (verb != "Rotate")


def test_rate_limit_now(api: Api, operator: Operator) -> None:
    """The page tells what is left of the rate limit, and to look takes nothing."""
    made = api.make(rate_limit_max=3, rate_limit_window_sec=3600)
    for left in (3, 2, 1, 0):
        for _ in range(2):
            assert f"3 requests per hour. {left} left now." in text_of(operator, f"/tokens/{made['id']}")
        api.auth(made["token"])


def test_changes(api: Api, operator: Operator) -> None:
    """The page has the newest 20 changes in sentences, and the way to all of them."""
    name = api.make(comment="first")["id"]
    for number in range(20):
        api("PATCH", f"/tokens/{name}", {"rate_limit_max": number})
    page = operator.get(f"/tokens/{name}").text

    assert "operator changed rate_limit_max of this token from 18 to 19" in plain(page)
    assert page.count('<li class="entry">') == 20
    assert "created this token" not in plain(page)
    assert f'href="/audit?token={name}"' in page


def test_way_to_a_trial(api: Api, operator: Operator) -> None:
    """The page leads to a trial with the token and a host that it covers."""
    name = api.make(hosts=["*.a.test"])["id"]
    (address,) = re.findall(r'href="(/try\?[^"]+)"', operator.get(f"/tokens/{name}").text)

    assert unescape(address) == f"/try?id={name}&host=app.a.test"
    form = operator.get(unescape(address)).text
    assert f'value="{name}"' in form
    assert 'value="app.a.test"' in form


def test_size(api: Api, operator: Operator, database: Any) -> None:
    """The page of a large and busy token is below 60 KB, and has the counts of every period."""
    made = api.make(**LARGE)
    hour, counters = int(time.time()) // 3600, (10**9).to_bytes(4, "big") * 4 * (48 + 90)
    database.set(f"{{tokens:{made['sha256']}}}:usage", hour.to_bytes(4, "big") + counters)
    page = operator.get(f"/tokens/{made['id']}")

    counts = f"{grouped(10**9)} allowed, {grouped(3 * 10**9)} refused</title>"
    assert page.text.count(counts) >= 48 + 90 - 2  # the hour and the day may have ended meanwhile
    assert len(page.data) < MAX_BYTES
