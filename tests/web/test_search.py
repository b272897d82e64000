"""The search form."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from app.core import tokens
from tests.web.conftest import Operator

ROW = re.compile(r'<code class="id">([^<]+)</code>')


def issue(operator: Operator, hosts: str, **fields: str) -> str:
    """Create a token and return its id."""
    operator.post("/create_token", {"hosts": hosts} | fields)
    return str(ROW.findall(operator.get().text)[0])


def look(operator: Operator, typed: str, status: int = 200) -> str:
    """Search and return the page."""
    answer = operator.get(f"/?q={quote(typed)}")
    assert answer.status_code == status
    return answer.text


def test_found_tokens(operator: Operator) -> None:
    """The page lists only matching tokens, explains the query and keeps it in the field."""
    first, second = issue(operator, "a.test"), issue(operator, "*.b.test", email="ops@b.test")

    for typed in ("app.b.test", second, "ops@", " *.B.test "):
        page = look(operator, typed)
        assert ROW.findall(page) == [second]
        assert f'value="{typed.strip()}"' in page
    assert ROW.findall(look(operator, first[:4])) == [second, first] or first[:4] != second[:4]
    assert "Tokens that are valid for <code>app.b.test</code>" in look(operator, "app.b.test")
    assert "No tokens are valid for <code>c.test</code>" in look(operator, "c.test")


def test_digest_finds_its_token(operator: Operator, database: Any) -> None:
    """A SHA-256 finds its token, in upper and lower case."""
    issued = issue(operator, "a.test")
    (key,) = database.keys("tokens:*")

    assert ROW.findall(look(operator, key.removeprefix("tokens:").upper())) == [issued]
    assert ROW.findall(look(operator, "0" * 64)) == []


@pytest.mark.parametrize("secret", [tokens.mint("acl"), "acl_", "legacy" * 9, "a-b_c" * 5])
def test_token_is_not_repeated(operator: Operator, secret: str) -> None:
    """A secret is refused with advice, and is nowhere in the page."""
    page = look(operator, secret, 400)

    assert "flask --app wsgi tokens show" in page
    assert f'value="{secret}' not in page
    assert secret not in page.replace("(?!acl_)", "")


def test_prefix_of_the_field(make_client: Callable[..., FlaskClient]) -> None:
    """The browser sends nothing that begins like a token; a host may begin with a prefix such as sk-."""
    for prefix, pattern in [("key", "(?!key_).*"), ("key_", "(?!key_).*"), ("sk-", "(?!sk-[^.]*$).*")]:
        page = look(Operator(make_client(TOKEN_PREFIX=prefix)), "x")
        assert f'pattern="{pattern}"' in page


@pytest.mark.parametrize(
    "typed",
    [
        "<script>alert(1)</script>",
        '"><b>',
        "a b",
        "\0",
        "\ud7ff",
        "%",
        "'",
        "é" * 800,
        "a@" + "b" * 300,
        "{{7*7}}",
    ],
)
def test_hostile_text(operator: Operator, typed: str) -> None:
    """Any text in the field is shown escaped on a page that explains what is wrong."""
    is_long = len(typed.strip()) > 253
    page = look(operator, typed, 400 if is_long else 200)

    assert ('aria-invalid="true"' if is_long else "No tokens ") in page
    assert "<script>alert" not in page
    assert '"><b>' not in page


@pytest.mark.parametrize("start", ["x", "", "0" * 16, "z" * 16, "\0", "é", "1" * 99])
def test_hostile_start(operator: Operator, start: str) -> None:
    """An invalid position to continue from is ignored."""
    issue(operator, "a.test")

    assert operator.get("/", query_string={"q": "a.test", "from": start}).status_code == 200


def test_blank_search_is_the_table(operator: Operator) -> None:
    """A blank query lists all tokens."""
    issued = issue(operator, "a.test")

    assert ROW.findall(look(operator, "  ")) == [issued]
    assert "New token" in look(operator, "")


def test_further_results(operator: Operator) -> None:
    """Results beyond the first page are on the next one."""
    for _ in range(51):
        operator.post("/create_token", {"hosts": "a.test"})
    page = look(operator, "a.test")
    (more,) = re.findall(r'rel="next" href="([^"]+)"', page)

    assert len(ROW.findall(page)) == 50
    assert "Searched the newest 50 of 51 tokens" in page
    assert len(ROW.findall(operator.get(more.replace("&amp;", "&")).text)) == 1


def test_redis_down(offline: Any) -> None:
    """Without Redis a search responds with a 503."""
    assert Operator(offline).get("/?q=a.test").status_code == 503
