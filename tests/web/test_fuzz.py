"""Random requests to every route cause no 500, and no change without the password."""

from __future__ import annotations

import random
import re
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings, strategies as st
from werkzeug.test import TestResponse

from app.core.tokens import mint_id
from app.web.basic_auth import matches
from devkit.builders import make_settings
from devkit.waiting import at_best
from tests.web.conftest import OPERATOR
from tests.web.test_auth import RECORD, TOKEN

PUBLIC = re.compile("/(healthz|livez|metrics|static/.*)")
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "X"]
RIGHT = "Basic " + b64encode(":".join(OPERATOR).encode()).decode()
ID = mint_id(1_795_492_982_000)
fuzzed = settings(max_examples=150)

words = st.sampled_from(
    [
        *(
            ID,
            TOKEN,
            RECORD[7:],
            "*",
            "a.test",
            "0",
            "1",
            "-1",
            "60",
            "9" * 30,
            "1e3",
            "nan",
            "..",
            "../x",
            "a/b",
        ),
        *(
            "2030-01-01",
            "2030-01-01T00:00",
            "a@b.example",
            "<script>",
            "{{7*7}}",
            "%s%n",
            "\0",
            "日本",
            "\u202e",
            "x" * 600,
        ),
    ]
).map(str.encode)
scraps = st.one_of(words, st.binary(max_size=12), st.just(b"\xed\xa0\x80"), st.just(b"\xff\xfe"))
names = st.sampled_from(
    [
        *(
            b"hosts",
            b"email",
            b"comment",
            b"ttl_seconds",
            b"token",
            b"form",
            b"page",
            b"grace_seconds",
            b"expires_at",
        ),
        *(
            b"not_before",
            b"rate_limit_max",
            b"rate_limit_window_sec",
            b"enabled",
            b"deleted",
            b"done",
            b"cursor",
            b"x",
        ),
    ]
)
fields = st.lists(st.tuples(names, scraps), max_size=6)
FORM = "application/x-www-form-urlencoded"
KINDS = [
    *(
        FORM,
        f"{FORM}; charset=utf-7",
        f"{FORM}; charset=\xe9",
        "multipart/form-data",
        "multipart/form-data; boundary=",
    ),
    *(
        "multipart/form-data; boundary=b",
        'multipart/form-data; boundary="\xff"',
        "application/json",
        "text/plain",
        ";",
    ),
]


def quoted(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """Return *pairs* as a query string."""
    return "&".join(f"{quote_from_bytes(n)}={quote_from_bytes(v)}" for n, v in pairs).encode()


def multipart(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """Return *pairs* as a multipart form in which some parts are files."""
    part = b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    files = (b"", b'; filename="x"', b"\r\nContent-Type: text/plain; charset=utf-16")
    return b"".join(part % (n, files[len(v) % 3], v) for n, v in pairs) + b"--b--\r\n"


json = st.recursive(
    st.sampled_from(["null", "true", "0", "-1", "1e999", "NaN", '"a.test"', '"\\ud800"', '"\\u0000"', '""']),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda each: f"[{','.join(each)}]"),
        st.lists(st.tuples(names, inner), max_size=4).map(
            lambda each: "{" + ",".join(f'"{n.decode()}":{v}' for n, v in each) + "}"
        ),
    ),
    max_leaves=6,
).map(str.encode)
bodies = st.one_of(
    fields.map(quoted), fields.map(multipart), json, scraps, st.binary(max_size=60), st.just(b"[" * 9_000)
)
typed = st.one_of(
    fields.map(lambda pairs: (quoted(pairs), FORM)),
    fields.map(lambda pairs: (multipart(pairs), "multipart/form-data; boundary=b")),
    json.map(lambda text: (text, "application/json")),
    st.tuples(bodies, st.sampled_from(KINDS)),
)
headers = st.dictionaries(
    st.sampled_from(
        ["HOST", "ORIGIN", "SEC_FETCH_SITE", "RANGE", "IF_NONE_MATCH", "IF_MATCH", "COOKIE", "ACCEPT"]
    ),
    st.one_of(
        st.sampled_from(["", "*", "same-origin", "bytes=0-", "\xff", "[::1", "a:b:c", "null"]),
        st.text("a:/,é\x00"),
    ),
    max_size=2,
)
wrong = st.one_of(
    st.none(),
    st.just(b""),
    st.binary(max_size=30).map(lambda data: b"Basic " + b64encode(data)),
    st.tuples(scraps, scraps).map(lambda pair: b"Basic " + b64encode(b":".join(pair))),
    scraps.map(lambda password: b"Basic " + b64encode(OPERATOR[0].encode() + b":" + password)),
    st.binary(max_size=30),
    scraps.map(lambda scrap: b"Basic " + scrap),
    st.sampled_from([b"Basic", b"Bearer x", b"Digest a=b, c", b"basic " + b"A" * 9_000]),
).map(lambda sent: None if sent is None else sent.decode("latin-1"))


@st.composite
def requests(draw: Any, rules: list[str]) -> dict[str, Any]:
    """Draw an environ for one of *rules*: its arguments, method, query, body and headers."""
    path = re.sub("<[^>]*>", lambda _: draw(scraps).decode("latin-1"), draw(st.sampled_from(rules)))
    body, kind = draw(typed)
    return {
        "PATH_INFO": path,
        "REQUEST_METHOD": draw(st.sampled_from(METHODS)),
        "QUERY_STRING": draw(st.one_of(st.just(b""), fields.map(quoted), scraps)).decode("latin-1"),
        "CONTENT_TYPE": kind,
        "body": body,
    } | {f"HTTP_{name}": value for name, value in draw(headers).items()}


def rules_of(app: Flask) -> list[str]:
    """Return every route, so that new ones are included."""
    return sorted(str(rule) for rule in app.url_map.iter_rules())


def ask(client: FlaskClient, environ: dict[str, Any], authorization: str | None) -> TestResponse:
    """Send the environ unmodified, which the test client would not do."""
    sent = dict(environ)
    body = sent.pop("body")
    credential = {} if authorization is None else {"HTTP_AUTHORIZATION": authorization}
    return client.open("/", data=body, environ_overrides=sent | credential, buffered=True)


def stored_tokens(database: Any) -> dict[str, Any]:
    """Return all tokens."""
    return {key: database.hgetall(key) for key in database.keys("tokens:*")}


@pytest.fixture(name="records")
def _records(database: Any) -> dict[str, Any]:
    """Store a token of an older deployment and a new one; return all tokens."""
    database.hset(RECORD, "hosts", "a.test")
    database.hset(f"tokens:{'ab' * 32}", mapping={"hosts": "a.test", "id": ID, "created_at": "1795492982"})
    return stored_tokens(database)


@fuzzed
@given(data=st.data())
def test_without_the_password(client: FlaskClient, database: Any, records: Any, data: Any) -> None:
    """Without the right credential no page is shown, no token is changed and no error occurs."""
    environ, authorization = data.draw(requests(rules_of(client.application))), data.draw(wrong)
    answer = ask(client, environ, authorization)

    assert 300 <= answer.status_code < 500 or PUBLIC.fullmatch(environ["PATH_INFO"])
    assert answer.status_code < 500
    assert stored_tokens(database) == records


@fuzzed
@given(data=st.data())
def test_with_the_password(client: FlaskClient, records: Any, data: Any) -> None:
    """With the password no request causes a 500 or breaks a page."""
    assert records
    answer = ask(client, data.draw(requests(rules_of(client.application))), RIGHT)
    table = client.get("/", auth=OPERATOR)

    assert answer.status_code < 500
    assert table.status_code == 200
    for page in re.findall('href="(/tokens/[^"]+)"', table.text)[:3]:
        assert client.get(page, auth=OPERATOR).status_code == 200


def pairs_of(client: FlaskClient) -> Iterator[tuple[str, str]]:
    """Yield every route with every method, its arguments filled in."""
    for rule in rules_of(client.application):
        for method in METHODS:
            yield re.sub("<[^>]*>", "style.css" if "static" in rule else ID, rule), method


def test_every_route_requires_the_password(client: FlaskClient, database: Any, records: Any) -> None:
    """Every other route requires the password for every method, and changes nothing without it."""
    form = {"token": ID, "hosts": "*"}
    answers = {
        pair: client.open(pair[0], method=pair[1], data=form, buffered=True) for pair in pairs_of(client)
    }
    opened = {path for (path, _), answer in answers.items() if answer.status_code < 400}

    assert {path for path in opened if not PUBLIC.fullmatch(path)} == set()
    assert {"/healthz", "/livez"} <= opened
    assert stored_tokens(database) == records


@pytest.mark.usefixtures("records")
def test_every_response_has_security_headers(client: FlaskClient) -> None:
    """Every response but /auth's, including errors, forbids caching, framing, sniffing and scripts."""
    for path, method in pairs_of(client):
        for auth in (None, OPERATOR):
            with client.open(path, method=method, auth=auth) as answer:
                guards = {
                    "Content-Security-Policy",
                    "X-Frame-Options",
                    "X-Content-Type-Options",
                    "Cache-Control",
                }
                is_auth = path == "/auth" or path.startswith("/auth/")
                assert is_auth or guards <= set(answer.headers.keys()), (path, method, answer.status)


BIG = {
    "urlencoded": (b"hosts=" + b"a" * 1_000_000, FORM),
    "multipart": (multipart([(b"hosts", b"a" * 1_000_000)]), "multipart/form-data; boundary=b"),
    "no end of a part": (b"--b\r\n" + b"a" * 1_000_000, "multipart/form-data; boundary=b"),
    "JSON": (b'{"hosts":["' + b"a" * 1_000_000 + b'"]}', "application/json"),
    "5 000 fields": (quoted([(b"f%d" % number, b"") for number in range(5_000)]), FORM),
    "5 000 times one field": (b"a=&" * 5_000, FORM),
    "5 000 parts": (multipart([(b"f", b"")] * 5_000), "multipart/form-data; boundary=b"),
    "deep JSON": (b"[" * 15_000, "application/json"),
}


def refused_in_s(client: FlaskClient, path: str, **more: Any) -> float:
    """Send a request that is refused; return its CPU seconds, which load on the machine does not affect."""
    began = time.process_time()
    status = client.open(path, auth=OPERATOR, buffered=True, **more).status_code
    took_s = time.process_time() - began
    assert 400 <= status < 500, (path, more["method"], status)
    return took_s


LIMIT_S = 0.5 if "coverage" in sys.modules else 0.05  # tracing takes several times as long


@pytest.mark.parametrize(("body", "kind"), BIG.values(), ids=BIG.keys())
def test_oversized(client: FlaskClient, database: Any, records: Any, body: bytes, kind: str) -> None:
    """Every route refuses an oversized request within 50 ms and changes nothing."""
    for path, method in pairs_of(client):
        if method in {"POST", "PUT", "PATCH"}:
            more = {"method": method, "data": body, "content_type": kind}
            at_best(partial(refused_in_s, client, path, **more), LIMIT_S)
    assert stored_tokens(database) == records


def test_timing_of_the_password() -> None:
    """A refusal takes the same time whether or not the user exists."""
    configured = make_settings()

    def difference() -> float:
        times: dict[str, list[int]] = {"operator": [], "opera-or": []}
        for user in random.Random(1).sample([*times] * 2_000, 4_000):
            began = time.perf_counter_ns()
            matches(user, "wrong horse", configured)
            times[user].append(time.perf_counter_ns() - began)
        known, unknown = (median(each) for each in times.values())
        return abs(known - unknown) / max(known, unknown)

    at_best(difference, 0.1)
