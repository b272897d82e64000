"""The page of the audit log."""

from __future__ import annotations

import re
from html import unescape

import pytest
from flask.testing import FlaskClient

from tests.web.conftest import Operator
from tests.web.test_api import Api


@pytest.fixture(name="api")
def _api(client: FlaskClient) -> Api:
    return Api(client)


def sentences(page: str) -> list[str]:
    """Return the sentence of each entry."""
    found = re.findall(r'<li class="entry">\s*<p>(.*?)</p>', page, re.DOTALL)
    return [" ".join(unescape(re.sub(r"<[^>]+>", "", each)).split()) for each in found]


def test_sentences(api: Api, operator: Operator) -> None:
    """Each entry is a sentence with its changes, newest first, with links to tokens that exist."""
    kept, gone = api.make(comment="<i>x</i>")["id"], api.make(hosts=["b.test"])["id"]
    api("PATCH", f"/tokens/{kept}", {"hosts": ["c.test"]})
    operator.post("/delete_token", {"token": gone})
    page = operator.get("/audit").text

    assert sentences(page) == [
        f"operator deleted token {gone}, which was for b.test",
        f"operator changed hosts of token {kept} from a.test to c.test",
        f"operator created token {gone} for b.test",
        f"operator created token {kept} for a.test",
    ]
    assert set(re.findall(r'href="/tokens/([^"]+)"', page)) == {kept}
    assert "&lt;i&gt;x&lt;/i&gt;" in page
    assert page.count("from <bdi>127.0.0.1</bdi>") == 4


def test_filters(api: Api, operator: Operator) -> None:
    """Token, actor, action, time and cursor select the entries that the API returns."""
    names = [api.make()["id"] for _ in range(3)]
    operator.post("/disable_token", {"token": names[0]})
    queries = [
        *("", f"?token={names[0]}", "?token=&actor=&action=&since=", "?actor=nobody", "?actor=operator"),
        *("?action=disable", "?since=2020-01-01", "?since=2999-01-01", f"?action=create&token={names[1]}"),
    ]
    for query in queries:
        expected = [entry["token"] for entry in api("GET", f"/audit{query}").json["entries"]]
        page = operator.get(f"/audit{query}").text
        assert [re.findall("token ([0-9a-z]{16})", each)[0] for each in sentences(page)] == expected


def test_pages(api: Api, operator: Operator) -> None:
    """The link to older entries keeps the filters, and no entry is lost or repeated on the way."""
    for _ in range(5):
        api.make()
    shown, address = list[str](), "/audit?action=create&limit=2"
    while address:
        page = operator.get(address).text
        shown += sentences(page)
        address = unescape("".join(re.findall(r'href="([^"]+)">Older', page)))
    assert len(shown) == len({*shown}) == 5


BAD = {
    "token=acl_secret": "token",
    "token=an-older-secret-of-30-characters": "token",
    "action=destroy": "action",
    "since=yesterday": "since",
    "cursor=1": "cursor",
    "limit=0": "limit",
    f"actor={'a' * 300}": "actor",
    "until=2020-01-01": "until",
    "action=create&action=edit": "action",
}


def test_bad_parameters(operator: Operator) -> None:
    """A parameter that can't be used is a 400 beside its filter, and a secret in it is not repeated."""
    for query, name in BAD.items():
        page = operator.get(f"/audit?{query}")

        assert page.status_code == 400
        assert f'id="{name}-problem"' in page.text or f"<code>{name}</code>: " in page.text
        assert not re.search("acl_secret|secret-of", page.text)


def test_unknown_digest(operator: Operator) -> None:
    """A SHA-256 that no token has or had is a 404 beside its filter."""
    page = operator.get(f"/audit?token={'ab' * 32}")
    assert (page.status_code, 'id="token-problem"' in page.text) == (404, True)


def test_empty(operator: Operator) -> None:
    """An empty log says what will be in it; a filter without a match says that."""
    assert "Nothing has been changed yet." in operator.get("/audit").text
    assert "No entry matches." in operator.get("/audit?actor=nobody").text


def test_several_problems(operator: Operator) -> None:
    """Every bad parameter is named at once, and the good ones are kept."""
    page = operator.get("/audit?since=soon&action=burn&actor=kept").text
    assert all(f'id="{name}-problem"' in page for name in ("since", "action"))
    assert re.search('id="actor"[^>]*value="kept"', page)
