"""The JSON API; every response here is validated against the API's own OpenAPI description."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from json import dumps
from typing import Any, NamedTuple

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings, strategies as st
from jsonschema_rs import Draft202012Validator, meta
from werkzeug.datastructures import Headers

from app.core import fields
from app.core.hosts import MAX_PATTERNS
from app.web.openapi import DESCRIPTION, describe
from devkit.builders import make_settings
from tests.web.conftest import OPERATOR, written
from tests.web.test_admin import record_of

OLD = "ab" * 32
Created = dict[str, Any]


class Api:
    """A client of the API with the operator's password."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """Send a request and validate the response."""
        answer = ask(self.client, method, path, **{"auth": OPERATOR, "json": body} | more)
        assert_described(method, path, answer)
        return answer

    def make(self, **fields: Any) -> Created:
        """Create a token and return the body of the response."""
        answer = self("POST", "/tokens", {"hosts": ["a.test"]} | fields)
        assert answer.status == 201, answer.text
        return dict(answer.json)

    def auth(self, secret: str, host: str = "a.test") -> int:
        """Request /auth as Traefik does."""
        headers = {"Authorization": f"Bearer {secret}", "X-Forwarded-Host": host}
        return self.client.get("/auth", headers=headers).status_code


class Answer(NamedTuple):
    """A response."""

    status: int
    kind: str
    headers: Headers
    text: str
    json: Any


def ask(client: FlaskClient, method: str, path: str, **more: Any) -> Answer:
    """Send a request."""
    answer = client.open(f"/api/v1{path}", method=method, **more)
    json = answer.json if answer.is_json else None
    return Answer(answer.status_code, answer.mimetype or "", answer.headers, answer.text, json)


def operations() -> Iterator[tuple[str, str, Any]]:
    """Yield the method, path and description of each operation."""
    for path, item in DESCRIPTION["paths"].items():
        for method in item.keys() - {"parameters"}:
            yield method.upper(), path, item[method]


def assert_described(method: str, path: str, answer: Answer) -> None:
    """Compare the status, content type and body with the operation's description."""
    operation = next(
        described
        for known, template, described in operations()
        if known == method and re.fullmatch(template.replace("{name}", "[^/]+"), path.partition("?")[0])
    )
    components = DESCRIPTION["components"]
    promised = operation["responses"][f"{answer.status}"]
    if "$ref" in promised:
        promised = components["responses"][promised["$ref"].rpartition("/")[2]]
    if "content" in promised:
        schema = promised["content"][answer.kind]["schema"]
        Draft202012Validator(schema | {"components": components}).validate(answer.json)
    assert ("content" in promised) == bool(answer.text)
    assert ("X-Durability" in promised.get("headers", {})) == ("X-Durability" in answer.headers)


@pytest.fixture(name="api")
def _api(client: FlaskClient) -> Api:
    return Api(client)


def test_description(api: Api) -> None:
    """Exactly the existing operations are described, and the schemas are valid."""
    rules = [rule for rule in api.client.application.url_map.iter_rules() if rule.endpoint.startswith("api.")]
    routes = {
        (method, rule.rule.removeprefix("/api/v1").replace("<name>", "{name}"))
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert routes == {(method, path) for method, path, _ in operations()}
    assert {*DESCRIPTION["components"]["schemas"]["NewToken"]["properties"]} == {
        *fields.FIELDS,
        "secret",
        "allow_weak",
    }
    for schema in DESCRIPTION["components"]["schemas"].values():
        meta.validate(schema)
    days = [datetime.now(UTC).date()]
    answer = api("GET", "/openapi.json").json
    days.append(datetime.now(UTC).date())  # differs around midnight
    assert answer in [describe(day, unset=make_settings().unset) for day in days]


def test_create(api: Api) -> None:
    """A new token is valid for its hosts; its secret is only in that response."""
    answer = api("POST", "/tokens", {"hosts": ["a.test", "*.b.test"], "comment": "ci"})
    secret, where = answer.json["token"], answer.headers["Location"]

    assert answer.status == 201
    assert [api.auth(secret, host) for host in ("a.test", "c.b.test", "b.test")] == [200, 200, 403]
    assert record_of(secret) == f"tokens:{answer.json['sha256']}"
    assert where == f"/api/v1/tokens/{answer.json['id']}"
    assert secret not in api("GET", where.removeprefix("/api/v1")).text + api("GET", "/tokens").text


def test_fields(api: Api) -> None:
    """Every field is returned with the value that was sent."""
    sent = {
        "hosts": ["a.test"],
        "email": "ops@example.com",
        "comment": "naïve ☃",
        "not_before": "2001-02-03T04:05:06Z",
        "expires_at": "2101-02-03T04:05:06Z",
        "rate_limit_max": 5,
        "rate_limit_window_sec": 60,
    }
    created = api.make(**sent)

    assert created | sent == created
    shown = api("GET", f"/tokens/{created['id']}").json
    assert shown | sent == shown
    assert api("GET", f"/tokens/{created['sha256']}").json["id"] == created["id"]


def test_lifetime_and_usage(api: Api, database: Any) -> None:
    """ttl_seconds sets the key's TTL, hosts may be a single string, and usage is counted."""
    created = api.make(hosts="a.test", ttl_seconds=60)
    assert api.auth(created["token"]) == 200

    shown = api("GET", f"/tokens/{created['id']}").json
    assert 58 < database.ttl(record_of(created["token"])) <= 60
    assert shown["usage"]["last_24_hours"] == {
        "allowed": 1,
        "wrong_host": 0,
        "rate_limited": 0,
        "inactive": 0,
    }
    assert shown["last_used_at"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hosts", []),
        ("hosts", None),
        ("hosts", 5),
        ("hosts", ["a.test", 5]),
        ("hosts", ["a b"]),
        ("hosts", ""),
        ("hosts", " , "),
        ("hosts", [""]),
        ("hosts", ["a.test", ""]),
        ("hosts", ["a.test", None]),
        ("hosts", ["a.test:80"]),
        ("hosts", ["[::1]."]),
        ("hosts", ["a.test"] * 101),
        ("hosts", "a.test:80, b.test"),
        ("hosts", ["a,b"]),
        ("hosts", {"a": 1}),
        ("email", "nobody"),
        ("email", 5),
        ("comment", "\ud800"),
        ("comment", ["a"]),
        ("comment", True),
        ("ttl_seconds", -1),
        ("ttl_seconds", 1.5),
        ("ttl_seconds", 1e300),
        ("ttl_seconds", float("inf")),
        ("ttl_seconds", float("nan")),
        ("rate_limit_max", 10_000.5),
        ("rate_limit_window_sec", False),
        ("expires_at", ""),
        ("expires_at", "2001-01-01T00:00:00Z"),
        ("not_before", "2001-01-01T24:00:00Z"),
        ("ttl_seconds", "60"),
        ("ttl_seconds", True),
        ("ttl_seconds", 10**30),
        ("expires_at", 1_900_000_000),
        ("expires_at", "tomorrow"),
        ("not_before", "2001-02-30T00:00:00Z"),
        ("rate_limit_max", 10_001),
        ("rate_limit_window_sec", 0),
        ("enabled", False),
        ("token", "mine"),
        ("", ""),
    ],
)
def test_invalid_field(api: Api, database: Any, field: str, value: Any) -> None:
    """An invalid value is refused with the field's name, and nothing is written."""
    answer = api("POST", "/tokens", {"hosts": ["a.test"], field: value})

    assert answer.status == 400
    assert set(answer.json["errors"]) == {field}
    assert not written(database)


@pytest.mark.parametrize(
    ("written_as", "number"),
    [
        ("60", 60),
        ("60.0", 60),
        ("6e1", 60),
        ("6.0E+1", 60),
        ("0.0", 0),
        ("-0", 0),
        ("-0.0", 0),
        ("10000.0", 10_000),
    ],
)
def test_whole_numbers(api: Api, written_as: str, number: int) -> None:
    """A whole number is accepted in each of its JSON spellings."""
    body = f'{{"hosts": ["a.test"], "rate_limit_max": {written_as}}}'
    created = api("POST", "/tokens", None, data=body, content_type="application/json", json=None)
    grace = f'{{"grace_seconds": {written_as}}}'
    path = f"/tokens/{created.json['id']}/rotate"

    assert (created.status, created.json["rate_limit_max"]) == (201, number)
    assert api("POST", path, None, data=grace, content_type="application/json", json=None).status == 201


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(
            ("GET", f"/tokens?{query}")
            for query in ("x=1", "Q=a.test", "q=a.test&q=b.test", "limit=1&limit=2")
        ),
        *(("GET", f"/tokens?{query}") for query in ("limit=acl_secret", "acl_secret=", "cursor=acl_secret")),
        *(("GET", f"/tokens?q={'a' * 5000}"), ("GET", f"/tokens?q={'a@' * 127}")),
        *(("POST", "/tokens?comment=x"), ("GET", "/openapi.json?v=1")),
        *((method, "/tokens/{}?dry_run=1") for method in ("GET", "PATCH", "DELETE")),
        ("POST", "/tokens/{}/rotate?grace_seconds=60"),
    ],
)
def test_unknown_parameter(api: Api, database: Any, method: str, path: str) -> None:
    """An unknown query parameter is refused, and a secret in it is not repeated."""
    created = api.make()
    before = {key: database.hgetall(key) for key in database.keys("tokens:*")}
    body = {"hosts": ["b.test"]} if method in {"POST", "PATCH"} else None
    answer = api(method, path.format(created["id"]), body)

    assert (answer.status, answer.kind) == (400, "application/problem+json")
    assert "acl_secret" not in answer.text
    assert {key: database.hgetall(key) for key in database.keys("tokens:*")} == before


@pytest.mark.parametrize(
    "fields",
    [
        {"not_before": "2101-01-01T00:00:00Z", "expires_at": "2100-01-01T00:00:00Z"},
        {"not_before": "2101-01-01T00:00:00Z", "ttl_seconds": 60},
    ],
)
def test_conflicting_fields(api: Api, fields: dict[str, Any]) -> None:
    """Fields that are valid by themselves but contradict each other or the token are a 409."""
    created = api.make(ttl_seconds=60)
    answers = [
        api("POST", "/tokens", {"hosts": ["a.test"]} | fields),
        api("PATCH", f"/tokens/{created['id']}", fields),
        api("PATCH", f"/tokens/{created['id']}", {"not_before": "2101-01-01T00:00:00Z"}),
    ]

    assert [answer.status for answer in answers] == [409, 409, 409]
    assert all(set(answer.json["errors"]) == {"not_before"} for answer in answers)


@pytest.mark.parametrize(
    "text", ["2099-12-31", "2090-01-31t18:00:00.5z", "2090-01-31 18:00+14:00", "2096-02-29T23:59:60Z"]
)
def test_described_expiries(api: Api, text: str) -> None:
    """The description accepts the expiry formats that the service accepts."""
    schemas = describe(datetime.now(UTC).date(), frozenset())["components"]["schemas"]
    pattern = schemas["NewToken"]["properties"]["expires_at"]["pattern"]

    assert re.search(pattern, text)
    assert api.make(expires_at=text)["expires_at"].startswith(("20", "21"))
    assert not any(
        re.search(pattern, bad) for bad in ("2026-11-26", "2001-01-01T00:00:00Z", "2199-01-01", "2030-02-30")
    )


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (415, "text/plain", b'{"hosts": ["a.test"]}'),
        (415, "application/x-www-form-urlencoded", b"hosts=a.test"),
        (415, None, b""),
        (400, "application/json", b""),
        (400, "application/json", b"{"),
        (400, "application/json", b'["a.test"]'),
        (400, "application/json", b'{"hosts": ["a.test"], "hosts": ["b.test"]}'),
        (400, "application/json", b'{"hosts": ["\xff"]}'),
        (400, "application/json", b"[" * 10_000),
        (413, "application/json", b'{"comment": "' + b"a" * 70_000),
    ],
)
def test_invalid_body(api: Api, database: Any, status: int, kind: str | None, body: bytes) -> None:
    """A body that is not a JSON object is refused."""
    answer = api("POST", "/tokens", None, data=body, content_type=kind, json=None)

    assert (answer.status, answer.kind) == (status, "application/problem+json")
    assert not written(database)


def test_longest_list_of_hosts(api: Api) -> None:
    """The longest valid list of hosts is not too large for a JSON body or for a form."""
    hosts = [f"{number:03}.{'.'.join(['a' * 61] * 4)}" for number in range(MAX_PATTERNS)]
    form = {"hosts": "\r\n".join(hosts), "comment": "\u00fc" * 500}

    assert api("POST", "/tokens", {"hosts": hosts}).status == 201
    assert api.client.post("/create_token", data=form, auth=OPERATOR).status_code == 200


@pytest.mark.parametrize("host", ["\u00ed\u00ad", "\u00b2", "\u3131", "a\u034f.de", "\u00fc\u200d", "\uff11"])
def test_invalid_hosts_beyond_ascii(api: Api, host: str) -> None:
    """Hosts that IDNA would change, refuse or read as a number are refused, as described."""
    (_, pattern) = DESCRIPTION["components"]["schemas"]["NewToken"]["properties"]["hosts"]["anyOf"][0][
        "items"
    ]["anyOf"]

    assert api("POST", "/tokens", {"hosts": [host]}).status == 400
    assert api("GET", "/tokens", query_string={"host": host}).status == 400
    assert not re.search(pattern["pattern"], host)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["a.test", "60"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
FIELDS = st.sampled_from(
    [*DESCRIPTION["components"]["schemas"]["Change"]["properties"], "grace_seconds", "id"]
)


@settings(max_examples=200)
@given(body=st.dictionaries(FIELDS, VALUES, max_size=4) | VALUES)
def test_any_body(api: Api, database: Any, body: Any) -> None:
    """Any JSON body is accepted or refused, and errors name only fields that were sent, or hosts."""
    database.hset(f"tokens:{OLD}", "hosts", "old.test")
    for method, path in (("POST", "/tokens"), ("PATCH", f"/tokens/{OLD}"), ("POST", f"/tokens/{OLD}/rotate")):
        answer = api(method, path, None, data=dumps(body), content_type="application/json", json=None)
        assert answer.status in {200, 201, 400, 404, 409}
        assert set(answer.json.get("errors", {})) <= {*(body if isinstance(body, dict) else ()), "hosts"}


def test_edit(api: Api) -> None:
    """An edit takes effect at once; null restores a default, and fields that were not sent are kept."""
    created = api.make(comment="a", rate_limit_max=1)
    path = f"/tokens/{created['id']}"

    assert api("PATCH", path, {"hosts": ["b.test"], "enabled": False}).json["status"] == "disabled"
    assert api.auth(created["token"], "b.test") == 401
    assert api("PATCH", path, {"enabled": True, "rate_limit_max": None}).json["rate_limit_max"] is None
    assert [api.auth(created["token"], host) for host in ("b.test", "b.test", "a.test")] == [200, 200, 403]
    assert api("GET", path).json["comment"] == "a"


def test_no_expiry(api: Api, database: Any) -> None:
    """Returned values may be sent back: a time keeps its meaning, and null means no expiry."""
    token = api.make(ttl_seconds=60)
    path = f"/tokens/{token['id']}"

    assert api("PATCH", path, {"expires_at": token["expires_at"]}).json["expires_at"] == token["expires_at"]
    assert api("PATCH", path, {"ttl_seconds": None, "comment": "a"}).json["expires_at"] == token["expires_at"]
    assert api("PATCH", path, {"expires_at": None}).json["expires_at"] is None
    assert database.ttl(record_of(token["token"])) == -1


@pytest.mark.parametrize("path", ["/tokens/{}/edit", "/api/v1/tokens/{}"])
def test_beyond_the_calendar(client: FlaskClient, database: Any, path: str) -> None:
    """A time beyond the calendar, written by another program, breaks neither page nor API."""
    database.hset(f"tokens:{OLD}", mapping={"hosts": "a.test", "not_before": "999999999999"})
    answer = client.get(path.format(OLD), auth=OPERATOR)

    assert answer.status_code == 200
    assert "9999-12-31T23:59:59Z" in answer.text


@pytest.mark.parametrize("body", [{"enabled": "yes"}, {"enabled": 1}, {"enabled": False, "comment": 5}])
def test_invalid_edit(api: Api, body: Any) -> None:
    """An edit is applied as a whole or not at all."""
    created = api.make()

    assert api("PATCH", f"/tokens/{created['id']}", body).status == 400
    assert api.auth(created["token"]) == 200


def test_rotate(api: Api) -> None:
    """A rotated token has a new secret at once; the old one is valid for the grace period, by default 0."""
    created = api.make()
    path = f"/tokens/{created['id']}/rotate"

    second = api("POST", path, {"grace_seconds": 60})
    assert [api.auth(secret) for secret in (created["token"], second.json["token"])] == [200, 200]
    third = api("POST", path)
    assert third.status == second.status == 201
    assert [api.auth(one["token"]) for one in (created, second.json, third.json)] == [401, 401, 200]
    assert third.json["id"] == created["id"]


@pytest.mark.parametrize(
    "body", [{"grace_seconds": 604_801}, {"grace_seconds": "60"}, {"grace": 60}, {"grace_seconds": -1}]
)
def test_invalid_rotation(api: Api, body: Any) -> None:
    """An invalid grace period leaves the token unchanged."""
    created = api.make()

    assert api("POST", f"/tokens/{created['id']}/rotate", body).status == 400
    assert api.auth(created["token"]) == 200


def test_rotation_of_a_disabled_token(api: Api) -> None:
    """A disabled token can't be rotated."""
    created = api.make()
    api("PATCH", f"/tokens/{created['id']}", {"enabled": False})

    assert api("POST", f"/tokens/{created['id']}/rotate").status == 409


def test_delete(api: Api, database: Any) -> None:
    """A deleted token is refused at once and can't be deleted again."""
    created = api.make()
    answer = api("DELETE", f"/tokens/{created['id']}")

    assert (answer.status, answer.text) == (204, "")
    assert answer.headers["X-Durability"] in {"confirmed", "unconfirmed", "no_file", "untold"}
    assert api.auth(created["token"]) == 401
    again = api("DELETE", f"/tokens/{created['id']}")
    assert (again.status, again.json["detail"].split(" on ")[0]) == (
        404,
        f"token {created['id']} ended: deleted",
    )
    marker = f"{{tokens:{created['sha256']}}}:ended"
    assert sorted(written(database)) == ["acl:audit", "acl:ended", "acl:peppers", marker]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_secret_in_an_address(api: Api, method: str) -> None:
    """A secret in an address finds no token and is not repeated."""
    created = api.make()
    answer = api(method, f"/tokens/{created['token']}", {} if method == "PATCH" else None)

    assert answer.status == 404
    assert created["token"] not in answer.text
    assert api.auth(created["token"]) == 200


def test_list(api: Api, database: Any) -> None:
    """The pages list every token once, newest first, including those of an older deployment."""
    database.hset(f"tokens:{OLD}", "hosts", "old.test")
    created = [api.make(comment=f"{number}")["id"] for number in range(7)]

    pages = [api("GET", "/tokens?limit=3").json]
    while cursor := pages[-1]["next_cursor"]:
        pages.append(api("GET", f"/tokens?limit=3&cursor={cursor}").json)

    assert [len(page["tokens"]) for page in pages] == [3, 3, 2]
    assert [token["id"] for page in pages for token in page["tokens"]][:7] == created[::-1]
    assert {page["total"] for page in pages} == {8}


@pytest.mark.parametrize("listed", ["", "&q=a.test", "&status=ended"])
def test_described_cursor(api: Api, listed: str) -> None:
    """Every cursor that a list returns is described and accepted, as are those of older versions."""
    created = [api.make() for _ in range(4)]
    for token in created[:2]:
        api("DELETE", f"/tokens/{token['id']}")
    parameters = DESCRIPTION["paths"]["/tokens"]["get"]["parameters"]
    (described,) = (parameter["schema"] for parameter in parameters if parameter["name"] == "cursor")
    cursor = api("GET", f"/tokens?limit=1{listed}").json["next_cursor"]

    of_another = 409 if "ended" in listed else 200
    for sent, status in ((cursor, 200), ("", 200), (created[0]["id"], of_another)):
        Draft202012Validator(described).validate(sent)
        assert api("GET", f"/tokens?cursor={sent}{listed}").status == status
    for refused in (cursor[:-1], cursor + "0", "here"):
        assert not Draft202012Validator(described).is_valid(refused)
        assert api("GET", f"/tokens?cursor={refused}{listed}").status == 400


@pytest.mark.parametrize(
    ("query", "status", "count"),
    [
        ("q=a.test", 200, 2),
        ("q=b.test", 200, 1),
        ("q=ops%40", 200, 1),
        ("q=nobody.test", 200, 0),
        ("q=a%20b", 200, 0),
        ("q=acl_secret", 400, None),
        ("limit=0", 400, None),
        ("limit=501", 400, None),
        ("limit=", 400, None),
        ("cursor=here", 400, None),
    ],
)
def test_search(api: Api, query: str, status: int, count: int | None) -> None:
    """Tokens are found by host and email; an invalid query is refused."""
    api.make(email="ops@example.com")
    api.make(hosts=["a.test", "b.test"])
    answer = api("GET", f"/tokens?{query}")

    assert answer.status == status
    assert len(answer.json.get("tokens", [])) == (count or 0)


@pytest.mark.parametrize(
    ("status", "method", "path", "more"),
    [
        (401, "GET", "/tokens", {"auth": None}),
        (401, "POST", "/tokens", {"auth": ("operator", "wrong")}),
        (401, "GET", "/openapi.json", {"auth": None}),
        (404, "GET", "/", {}),
        (404, "GET", "/nowhere", {}),
        (405, "PUT", "/tokens", {}),
        (405, "OPTIONS", "/tokens", {}),
        (403, "DELETE", f"/tokens/{'0' * 16}", {"headers": {"Sec-Fetch-Site": "cross-site"}}),
        (403, "GET", "/tokens", {"headers": {"X-Forwarded-Uri": "/"}}),
        (400, "GET", "/tokens?q=\xff", {}),
    ],
)
def test_refusals(client: FlaskClient, status: int, method: str, path: str, more: Any) -> None:
    """Every error is a problem document with an explanation."""
    environ = {"QUERY_STRING": path.partition("?")[2]} if "?" in path else {}
    options = {"auth": OPERATOR, "environ_overrides": environ} | more
    answer = ask(client, method, path.partition("?")[0], **options)

    assert (answer.status, answer.kind) == (status, "application/problem+json")
    assert answer.json["status"] == status
    assert answer.json["detail"]
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    assert ("Allow" in answer.headers) == (status == 405)


def test_redis_down(offline: FlaskClient) -> None:
    """Without Redis, nothing is changed and the response is a 503."""
    answer = Api(offline)("POST", "/tokens", {"hosts": ["a.test"]})

    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json["detail"].startswith("No token was created.")


def test_too_many_wrong_passwords(make_client: Callable[..., FlaskClient]) -> None:
    """A client that guesses passwords gets a 429 with Retry-After."""
    client = make_client()
    answers = [ask(client, "GET", "/tokens", auth=("operator", f"{number}")) for number in range(61)]

    assert (answers[-1].status, answers[-1].kind) == (429, "application/problem+json")
    assert int(answers[-1].headers["Retry-After"]) > 0


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_unknown_field(api: Api, method: str) -> None:
    """A problem with an unknown field names all that the request takes, with what is no field of a token."""
    path = "/tokens" if method == "POST" else f"/tokens/{api.make()['id']}"
    answer = api(method, path, {"hosts": [], "tll": 5})
    more = ["secret", "allow_weak"] if method == "POST" else ["enabled"]

    assert answer.status == 400
    known = answer.json["errors"]["tll"].removeprefix("unknown field; known are ").split(", ")
    assert known == [*fields.FIELDS, *more]
    assert "unknown" not in answer.json["errors"]["hosts"]
