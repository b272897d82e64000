"""The table of tokens: its filter, order and pages in the address, and what a row says."""

from __future__ import annotations

import html
import re
from struct import pack
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core.listing import ORDERS
from app.store import keys
from tests.web.conftest import Operator
from tests.web.test_admin import record_of
from tests.web.test_api import Api
from tests.web.test_listing import _made

NAME = re.compile(r'<th scope="row"><a href="[^"]+"><bdi>([^<]+)')
MORE = re.compile(r'rel="next" href="([^"]+)"')
made = pytest.fixture(name="made")(_made.__wrapped__)  # type: ignore[attr-defined]


@pytest.fixture(name="api")
def _api(client: FlaskClient) -> Api:
    return Api(client)


def names(operator: Operator, query: str) -> str:
    """Return the names of all tokens in a list, read page by page."""
    found: list[str] = []
    address = f"/?{query}"
    while address:
        answer = operator.get(address)
        assert answer.status_code == 200
        found += NAME.findall(answer.text)
        more = MORE.search(answer.text)
        address = html.unescape(more[1]) if more else ""
    return " ".join(found)


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("query", ["", "q=a.test&", "status=expiring&", "host=x.b.test&", "comment=e&"])
def test_table_is_the_list_of_the_api(operator: Operator, api: Api, query: str, order: str) -> None:
    """The table has the tokens that the API lists for the same parameters, in the same order."""
    listed = api("GET", f"/tokens?{query}sort={order}").json["tokens"]

    assert names(operator, f"{query}sort={order}&limit=2") == " ".join(token["comment"] for token in listed)


@pytest.mark.usefixtures("made")
def test_links_keep_the_list(operator: Operator) -> None:
    """Links to another order keep the filter; the order that is shown is marked, and turned by its link."""
    page = operator.get("/?status=expiring&limit=1&sort=expires_at").text
    links = [html.unescape(link) for link in re.findall(r'<a href="(/\?[^"]*sort=[^"]*)"', page)]

    assert len(links) == 3
    assert all("status=expiring" in link and "limit=1" in link for link in links)
    assert any("sort=-expires_at" in link for link in links)
    assert re.findall(r'aria-sort="([a-z]+)"', page) == ["ascending"]
    assert "cursor" not in "".join(links)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=bogus", "status"),
        ("sort=name", "sort"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("cursor=here", "cursor"),
        (f"sort=expires_at&cursor={'0' * 80}", "cursor"),
        ("host=a%20b", "host"),
        ("host=acl_secret", "host"),
        ("q=acl_secret", "q"),
        (f"q={'x%20' * 130}", "q"),
        (f"comment={'x' * 501}", "comment"),
        ("q=a&q=b", "q"),
        ("status=ended&host=a.test", "host"),
        ("status=ended&cursor=here", "cursor"),
    ],
)
def test_bad_parameter(operator: Operator, query: str, field: str) -> None:
    """A value that can't be used is a 400 with a sentence beside its field, and is no token."""
    answer = operator.get(f"/?{query}")

    assert answer.status_code == 400
    assert f'id="{field}-problem"' in answer.text or f"<code>{field}</code>: " in answer.text
    assert "acl_secret" not in answer.text
    assert "Clear" in answer.text


def use(database: Any, secret: str, *hours: tuple[int, int]) -> None:
    """Let a token have been used in the last hours: so many requests allowed, so many over a limit."""
    hour = int(database.time()[0]) // 3600
    ring = [(0, 0)] * 48
    for ago, counts in enumerate(hours):
        ring[(hour - ago) % 48] = counts
    slots = b"".join(pack(">4I", allowed, 0, limited, 0) for allowed, limited in ring)
    database.set(keys.usage(record_of(secret).removeprefix("tokens:")), pack(">I", hour) + slots)


def test_row(operator: Operator, api: Api, database: Any) -> None:
    """A row has the name, the id, the standing with its reason, the usage in figures, times and limits."""
    token = api.make(
        comment="nightly", email="a@b.test", ttl_seconds=30 * 86_400, quota_max=5000, quota_period="day"
    )
    use(database, token["token"], (1100, 7), (0, 0), (3, 0))
    page = operator.get().text

    assert NAME.findall(page) == ["nightly"]
    assert f'<code class="id">{token["id"]}</code>' in page
    assert 'title="7 of 1\xa0110 requests in the last 24 hours exceeded its rate limit or quota."' in page
    assert 'aria-label="1\xa0103 allowed, 7 refused in 36 hours"' in page
    assert re.search(
        r'<time datetime="\d{4}-[^"]+Z" title="\d{4}-[^"]+ UTC" tabindex="0">in 30 days</time>', page
    )
    assert "100 / 1\xa0s<br>5\xa0000 / day" in page
    assert len(re.findall(r' d="M0 9[Vh0-9]+z"', page)) == 2


def test_usage_of_a_page_is_one_round_trip(operator: Operator, api: Api, database: Any) -> None:
    """The table reads the usage of all its tokens at once, however many there are."""
    for _ in range(30):
        api.make()
    operator.get()
    database.config_resetstat()
    operator.get()
    calls = {name: stats["calls"] for name, stats in database.info("commandstats").items()}

    assert calls["cmdstat_getrange"] == 30
    reads = database.info("stats")["total_reads_processed"]
    assert reads < 30


def test_size(operator: Operator, api: Api, database: Any) -> None:
    """A page of 50 tokens with texts and usage of usual lengths has at most 60 kB."""
    for number in range(50):
        made = api.make(
            hosts=["app.example.com", "api.example.com"],
            comment=f"Nightly backup {number}",
            email=f"u{number}@example.com",
        )
        use(database, made["token"], *((7 * hour * number % 900, hour % 3) for hour in range(40)))
    page = operator.get().text

    assert len(NAME.findall(page)) == 50
    assert len(page.encode()) <= 60_000


def test_old_addresses(operator: Operator, api: Api) -> None:
    """Addresses of older versions lead to the same tokens: ``page`` by its number, ``from`` by its cursor."""
    made = [api.make(comment=f"c{number}")["comment"] for number in range(52)][::-1]
    cursor = api("GET", "/tokens?q=a.test").json["next_cursor"]

    assert NAME.findall(operator.get("/?page=2").text) == made[50:]
    assert NAME.findall(operator.get(f"/?q=a.test&from={cursor}").text) == made[50:]
    assert len(NAME.findall(operator.get("/?page=99").text)) == 2


def test_no_match(operator: Operator, api: Api) -> None:
    """A filter without a match says so, and links to all tokens; an empty database shows the first step."""
    empty = operator.get().text
    api.make()
    page = operator.get("/?q=nobody.test&status=disabled").text

    assert "curl -u operator -d hosts=app.example.com" in empty
    assert 'href="/new"' in empty
    assert "No tokens are valid for <code>nobody.test</code>" in page
    assert '<a href="/">Clear the filter</a>' in page


@pytest.mark.parametrize("host", ["auth.test:8000", "xn--bcher-kva.test"])
def test_first_step_on_any_host(operator: Operator, host: str) -> None:
    """The command of the first step names the host of the page as it was sent."""
    answer = operator.get(headers={"Host": host})

    assert answer.status_code == 200
    assert f"http://{host}/create_token</textarea>" in answer.text
