"""The admin pages."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from copy import deepcopy
from hashlib import sha256
from io import BytesIO
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from app.core.tokens import DIGEST, is_mistyped, mint
from devkit.builders import PEPPER
from tests.web.conftest import OPERATOR, Operator, written

NEW_TOKEN = re.compile(r'<input[^>]*id="new-token"[^>]*value="([^"]+)"')


def create(operator: Operator, **fields: str) -> str:
    """Create a token and return its secret."""
    answer = operator.post("/create_token", {"hosts": "example.com"} | fields)
    found = NEW_TOKEN.search(answer.text)
    assert answer.status_code == 200
    assert found
    return found[1]


def record_of(secret: str) -> str:
    """Return the key of the record whose token has *secret*."""
    return f"tokens:{sha256((secret + PEPPER).encode()).hexdigest()}"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic !",
        "Basic " + b64encode(b"nocolon").decode(),
        "Basic " + b64encode(b"operator:wrong").decode(),
        "Basic " + b64encode(b"wrong:correct horse").decode(),
        "Basic " + b64encode("operator:é".encode()).decode(),
        "Basic " + b64encode(b"operator:\xff\xfe").decode(),
        "Basic " + b64encode(b"operator:").decode(),
        "Basic " + b64encode(b":correct horse").decode(),
        "Basic " + b64encode(b"operator:" + b"a" * 10_000).decode(),
        "Bearer correct-horse",
        "Bearer " + b64encode(":".join(OPERATOR).encode()).decode(),
        "Digest username=operator",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("POST", "/create_token"), ("POST", "/delete_token")]
)
def test_wrong_password(
    client: FlaskClient, database: Any, method: str, path: str, authorization: str | None
) -> None:
    """Without the right user name and password, no page is shown and no token is changed."""
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = client.open(path, method=method, data={"hosts": "*", "token": "x"}, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert not written(database)


def test_password_beyond_ascii(make_client: Callable[..., FlaskClient]) -> None:
    """A password may contain any character."""
    client = make_client(ADMIN_PASS="pässwörd 日本")

    assert client.get("/", auth=("operator", "pässwörd 日本")).status_code == 200
    assert client.get("/", auth=("operator", "passwort")).status_code == 401


@pytest.mark.parametrize("path", ["/create_token", "/delete_token"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_changes_are_posted(operator: Operator, path: str, method: str) -> None:
    """Changes require a POST."""
    assert operator._client.open(path, method=method, auth=OPERATOR).status_code == 405


def test_created_token(operator: Operator, database: Any) -> None:
    """A new token is stored under its digest, with every field that was sent."""
    secret = create(
        operator, hosts="Example.com\n*.example.org", email="a@b.example", comment="for <b>", ttl_seconds="60"
    )
    kept = database.hgetall(record_of(secret))

    assert not is_mistyped(secret, "acl")
    assert kept["hosts"] == "example.com,*.example.org"
    assert (kept["email"], kept["comment"]) == ("a@b.example", "for <b>")
    assert 58 <= database.ttl(record_of(secret)) <= 60


def test_secret_is_shown_once(operator: Operator, database: Any) -> None:
    """The secret is in the response that created it, on no other page and not in Redis."""
    secret = create(operator)

    assert secret not in operator.get().text
    assert secret not in str(database.keys("*"))
    assert secret not in str(database.hgetall(record_of(secret)))


def test_default_lifetime(make_client: Callable[..., FlaskClient], database: Any) -> None:
    """A token created without a lifetime gets the service's default; 0 overrides it."""
    operator = Operator(make_client(TOKEN_TTL_SECONDS=300))

    assert 298 <= database.ttl(record_of(create(operator))) <= 300
    assert database.ttl(record_of(create(operator, ttl_seconds="0"))) == -1


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"hosts": ""},
        {"hosts": " , "},
        {"hosts": "https://example.com/"},
        {"hosts": "exa\x00mple.com"},
        {"hosts": "a.example", "ttl_seconds": "-5"},
        {"hosts": "a.example", "ttl_seconds": "9223372036854775808"},
        {"hosts": "a.example", "email": "nobody"},
        {"hosts": "a.example", "comment": "a\nb"},
        {"hosts": "a.example", "ttl": "60"},
        {"hosts": "a.example", "token": "mykey"},
        {"hosts": "a.example", "": "x"},
        {"hosts": "a.example", "form": ["a", "b"]},
        {"hosts": "a.example", "Comment": "x"},
        {"hosts": "a.example", "grace_seconds": "5"},
        {"hosts": "a.example", "comment": ["a", "b"]},
    ],
)
def test_invalid_form(operator: Operator, database: Any, fields: dict[str, Any]) -> None:
    """An invalid form is shown again with its values, and no token is created."""
    answer = operator.post("/create_token", {"email": "kept@b.example"} | fields)

    assert answer.status_code == 400
    assert "kept@b.example" in answer.text or "email" in fields
    assert not written(database)


def test_repeated_hosts_add_up(operator: Operator, database: Any) -> None:
    """Several fields named hosts are joined."""
    answer = operator.post("/create_token", {"hosts": ["a.example", "b.example"]})
    found = NEW_TOKEN.search(answer.text)

    assert found
    assert database.hget(record_of(found[1]), "hosts") == "a.example,b.example"


@pytest.mark.parametrize("size", [70_000, 1_000_000])
def test_form_too_large(operator: Operator, database: Any, size: int) -> None:
    """A form larger than 64 KiB is refused without being read."""
    answer = operator.post("/create_token", {"hosts": "a.example", "comment": "x" * size})

    assert answer.status_code == 413
    assert not written(database)


def test_form_sent_twice(operator: Operator, database: Any) -> None:
    """A form that a reload sends again creates no second token, and the page explains it."""
    form = {"hosts": "a.example", "form": "nonce"}
    first, second = operator.post("/create_token", form), operator.post("/create_token", form)

    assert (first.status_code, second.status_code) == (200, 409)
    assert len(database.keys("tokens:*")) == 1
    assert NEW_TOKEN.search(second.text) is None


def test_invalid_form_may_be_sent_again(operator: Operator) -> None:
    """Creating a token uses up the form's idempotency key; a validation error does not."""
    assert operator.post("/create_token", {"hosts": "", "form": "nonce"}).status_code == 400
    assert operator.post("/create_token", {"hosts": "a.example", "form": "nonce"}).status_code == 200


@pytest.mark.parametrize("name", ["id", "sha256", "secret"])
def test_deleted_token(operator: Operator, database: Any, name: str) -> None:
    """A token is deleted by its id, SHA-256 or secret, together with all keys that belong to it."""
    secret = create(operator)
    record = record_of(secret)
    names = {"id": database.hget(record, "id"), "sha256": record[7:], "secret": secret}

    answer = operator.post("/delete_token", {"token": f" {names[name]} "})

    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/?deleted={names['id']}&disk=no_file"
    assert database.keys("*tokens:*") == [f"{{{record}}}:ended"]


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({}, 400),
        ({"token": ""}, 400),
        ({"token": ["a", "b"]}, 400),
        ({"token": "*"}, 404),
        ({"token": "../x"}, 404),
        ({"token": "a" * 63}, 404),
        ({"token": "a" * 65}, 404),
        ({"token": "A" * 64}, 404),
        ({"token": "a" * 64}, 404),
        ({"token": "1m85v745vvbyf6sq"}, 404),
        ({"token": "\x00"}, 404),
        ({"token": "tokens:" + "a" * 64}, 404),
    ],
)
def test_delete_without_a_match(operator: Operator, database: Any, form: dict[str, Any], status: int) -> None:
    """A request that matches no token deletes none."""
    create(operator)
    before = database.dbsize()

    assert operator.post("/delete_token", form).status_code == status
    assert database.dbsize() == before


def test_secret_that_looks_like_a_digest(operator: Operator, database: Any) -> None:
    """A secret of 64 hex digits, from an older deployment, finds its token too."""
    database.hset(record_of("ab" * 32), "hosts", "*")

    assert operator.post("/delete_token", {"token": "ab" * 32}).status_code == 303


def test_table(operator: Operator, database: Any) -> None:
    """The table shows the stored fields, escaped."""
    database.hset(
        f"tokens:{'ab' * 32}", mapping={"hosts": "a.example", "comment": "<script>alert(1)</script>"}
    )
    page = operator.get().text

    assert "a.example" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


@pytest.mark.parametrize("number", ["1", "2", "999999999", "0", "-1", "x", "1.5", "٣", "9" * 40, ""])
def test_page_number(operator: Operator, number: str) -> None:
    """Every page number is answered with some page."""
    assert operator.get("/", query_string={"page": number}).status_code == 200


def test_redis_down(offline: FlaskClient) -> None:
    """Without Redis the pages report it, keep the submitted values and claim no change."""
    operator = Operator(offline)
    created = operator.post("/create_token", {"hosts": "kept.example"})

    assert created.status_code == 503
    assert "kept.example" in created.text
    assert [operator.get().status_code, operator.post("/delete_token", {"token": "x"}).status_code] == [
        503,
        503,
    ]


def test_unknown_page(client: FlaskClient) -> None:
    """An unknown address is a 404, without a request for a password."""
    assert client.get("/nowhere").status_code == 404


@pytest.mark.parametrize(
    ("verb", "extra"),
    [
        *((verb, {"force": "1"}) for verb in ("edit", "disable", "enable", "rotate", "delete")),
        *((verb, {"form": "nonce"}) for verb in ("edit", "disable", "enable", "rotate", "delete")),
        *((verb, {"hosts": "b.example"}) for verb in ("disable", "enable", "rotate", "delete")),
        *((verb, {"grace_seconds": "5"}) for verb in ("edit", "disable", "enable", "delete")),
        ("rotate", {"grace": "5"}),
        ("rotate", {"grace_seconds": ["0", "60"]}),
        ("delete", {"": ""}),
    ],
)
def test_unknown_field(operator: Operator, database: Any, verb: str, extra: dict[str, Any]) -> None:
    """An unknown form field is refused by name, and nothing is changed, because it may be a typo."""
    record = record_of(create(operator))
    before = database.hgetall(record)
    answer = operator.post(f"/{verb}_token", {"token": before["id"]} | extra)

    assert answer.status_code == 400
    assert all(name in answer.text for name in extra)
    assert database.hgetall(record) == before


@pytest.mark.parametrize("verb", ["create", "edit", "disable", "enable", "rotate", "delete"])
@pytest.mark.parametrize(
    ("status", "more"),
    [
        (400, {"query_string": "comment=x"}),
        (400, {"query_string": "x"}),
        (415, {"data": b'{"hosts": "a.example"}', "content_type": "application/json"}),
        (415, {"data": b"hosts=a.example", "content_type": "text/plain"}),
        (415, {"data": b"hosts=a.example", "content_type": ""}),
        (400, {"data": {"hosts": (BytesIO(b"a.example"), "hosts.txt")}}),
    ],
)
def test_fields_outside_a_form(
    operator: Operator, database: Any, verb: str, status: int, more: dict[str, Any]
) -> None:
    """Fields in the query string, in a file or in another content type are refused, not ignored."""
    assert operator.post(f"/{verb}_token", **deepcopy(more)).status_code == status
    assert not written(database)


@pytest.mark.parametrize("secret", [mint("acl"), "ab" * 32, "0123456789abcdef", "legacy"])
@pytest.mark.parametrize(
    "path", ["/tokens/{}", "/?q={}", "/?q=a.test&from={}", "/?deleted={}x", "/api/v1/tokens/{}"]
)
def test_token_in_an_address(operator: Operator, database: Any, path: str, secret: str) -> None:
    """A secret in an address finds no token, whatever its shape, and no response repeats it."""
    database.hset(record_of(secret), "hosts", "secret.example")
    answer = operator.get(path.format(secret))

    assert "secret.example" not in answer.text or path.startswith("/?deleted")
    assert secret not in answer.text or len(secret) < 20 or DIGEST.fullmatch(secret)
    assert secret not in answer.headers.get("Location", "")


@pytest.mark.parametrize(
    "comment",
    ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f468\u200d\U0001f469\u200d\U0001f467"],
)
def test_joined_text(operator: Operator, client: FlaskClient, comment: str) -> None:
    """Joiners of letters and emoji reach the table and, percent-encoded, the backend."""
    secret = create(operator, comment=comment)
    sent = {"Authorization": f"Bearer {secret}", "X-Forwarded-Host": "example.com"}

    assert comment in operator.get().text
    assert client.get("/auth", headers=sent).headers["X-Auth-Comment"] == quote(comment)
