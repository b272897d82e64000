"""Valid and malformed HTTP requests to every route of a running service."""

from __future__ import annotations

import random
import re
from base64 import b64encode
from collections.abc import Iterator

import pytest

from app import create_app
from app.core.tokens import mint_id
from devkit.builders import make_settings
from devkit.http import first_answer
from devkit.service import BASIC, Gunicorn
from devkit.wire import exchange

pytestmark = pytest.mark.e2e

FORM = b"Content-Type: application/x-www-form-urlencoded"
PASSWORD = b"Authorization: " + BASIC.encode()
HOSTS = [
    *(b"a..b", b"", b"x" * 300, b"\xff\xfe", b"[::1", b"[::1]:x", b"a b", b"a@b", b"a:1:2", b"a:99999", b"*"),
    *(
        b"b\xc3\xbccher.test",
        b"xn--\xff",
        b"xn--a",
        b"." * 70,
        b"a." * 150,
        b"%",
        b"a/b",
        b"a?b",
        b"a#b",
        b"\t",
    ),
]
FIELDS = [
    *(b"Host: " + host for host in HOSTS),
    *(
        b"Authorization: Basic " + word
        for word in (b"", b"!", b"====", b"\xff", b"AA==", b64encode(b"\0:\0"))
    ),
    *(
        b"Authorization: " + word
        for word in (b"", b"Basic", b"Bearer", b"Digest a=b, c", b"\xff", b"Basic\tx")
    ),
    *(
        b"Content-Type: " + kind
        for kind in (b"", b";", b"\xff", b"a/b; charset=\xff", b"text/plain; charset=no")
    ),
    *(b"Content-Type: multipart/form-data" + more for more in (b"", b"; boundary=", b'; boundary="\xff"')),
    FORM + b"; charset=utf-7",
    *(b"Content-Type: application/json; charset=" + name for name in (b"utf-16", b"x", b"\xff")),
    *(b"Cookie: " + word for word in (b"\xff", b"=", b";;;", b'a="\\777"', b"a=" + b"b" * 4000)),
    *(
        b"Accept: " + word
        for word in (
            b"",
            b"\xff",
            b",;q=,",
            b"a/b;q=x",
            b"*/*;version=",
            b"application/openmetrics-text;version=9.9.9",
            b"a," * 500,
        )
    ),
    *(
        b"Accept: application/openmetrics-text; " + word
        for word in (b"version=x", b"escaping=x", b"=;=", b"q=\xff")
    ),
    *(b"Accept-Encoding: " + word for word in (b"\xff", b"gzip;q=x")),
    *(b"Range: " + word for word in (b"bytes=0-", b"bytes=9-1", b"bytes=-", b"x", b"bytes=" + b"0-1," * 300)),
    *(b"If-None-Match: " + word for word in (b"\xff", b'"', b"*", b'W/"')),
    *(b"If-Modified-Since: " + word for word in (b"x", b"Thu, 99 Jan 99999 00:00:00 GMT", b"\xff", b"-1")),
    *(b"If-Range: " + word for word in (b"x", b'"x', b"\xff")),
    *(b"X-Forwarded-" + name + b": \xff, \x0b" for name in (b"For", b"Host", b"Proto", b"Port", b"Prefix")),
    *(b"X-Forwarded-For: " + word for word in (b"", b",,,", b"[::", b"1.2.3.4:x", b"a," * 500)),
    *(
        b"Origin: " + word
        for word in (b"", b"null", b"http://[::1", b"http://a:x", b"\xff", b"http://a:99999")
    ),
    *(b"Content-Length: " + word for word in (b"0", b"5", b"-1", b"x", b"99999999999999999999")),
    *(b"Connection: upgrade\r\nUpgrade: " + word for word in (b"websocket", b"\xff", b"h2c")),
    *(b"Expect: " + word for word in (b"100-continue", b"x")),
    b"Transfer-Encoding: chunked",
]
METHODS = [b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"FOO"]
TARGETS = [
    *(
        b"*",
        b"//",
        b"/%ff",
        b"/%00",
        b"/%",
        b"/%zz",
        b"/\xff",
        b"/..",
        b"/%2e%2e/",
        b"a:80",
        b"http://",
        b"?",
        b"#",
    ),
    *(b"http://evil.test/tokens/x", b"http://[::1/", b"//evil.test//", b"/static/%00", b"/static/../app.py"),
    *(
        b"/static/" + b"a" * 3000,
        b"/tokens/" + b"%f0" * 50,
        b"/?q=%ff",
        b"/?page=" + b"9" * 500,
        b"/?from=%00",
    ),
    *(
        b"/api/v1/tokens?limit=" + b"9" * 500,
        b"/api/v1/tokens?q=%00",
        b"/api/v1/tokens?cursor=%ff",
        b"/?;&=&%",
    ),
]
BODIES = [
    *(b"", b"\xff", b"a=%", b"&=&;" * 50, b"hosts=%00", b"token=%ff&token=", b"ttl_seconds=" + b"9" * 5000),
    *(b'{"hosts":["a..b"]}', b'{"hosts":["\\ud800"]}', b'{"ttl_seconds":1e999,"hosts":["a"]}', b"[" * 9000),
    *(b"hosts=a&" * 1500, b"--b\r\n\r\n\r\n--b", b"--b\r\nContent-Disposition: \xff\r\n\r\n"),
]
KINDS = [FORM, b"Content-Type: application/json", b"Content-Type: multipart/form-data; boundary=b"]


def routes() -> list[bytes]:
    """Return one URL path for every route of the app."""
    rules = sorted({str(rule) for rule in create_app(make_settings()).url_map.iter_rules()})
    name = mint_id(1_795_492_982_000)
    return [re.sub("<[^>]*>", "style.css" if "static" in rule else name, rule).encode() for rule in rules]


def heads() -> Iterator[bytes]:
    """Yield every odd header, method and body for every route, and every odd target."""
    rng = random.Random(5)
    for route in routes():
        for field in FIELDS:
            # The host is part of what a page shows, so each has to be shown.
            method = b"GET" if field.startswith(b"Host") else rng.choice(METHODS[:6])
            yield request(method, route, [field])
        for method in METHODS:
            yield request(method, route, [])
        for body in BODIES:
            kind = rng.choice(KINDS)
            yield request(rng.choice([b"POST", b"PATCH", b"PUT"]), route, [kind], body)
    for target in TARGETS:
        for method in METHODS:
            yield request(method, target, [rng.choice(FIELDS)])


def request(method: bytes, target: bytes, fields: list[bytes], body: bytes = b"") -> bytes:
    """Return an HTTP/1.1 request, or an HTTP/1.0 request without a Host for DELETE."""
    old = method == b"DELETE"
    host = [] if old or any(field.startswith(b"Host") for field in fields) else [b"Host: a.test"]
    length = [b"Content-Length: %d" % len(body)] if body else []
    line = b"%b %b HTTP/1.%b" % (method, target, b"0" if old else b"1")
    return b"\r\n".join([line, *host, *fields, *length, b"Connection: close", b"", body])


def status(port: int, data: bytes) -> int | None:
    """Send *data*, close the sending side, and return the status of the response or None."""
    answer = first_answer(exchange(port, data), head=data.startswith(b"HEAD "), ended=True)
    return answer and answer[0].status


@pytest.mark.parametrize("credential", [b"", PASSWORD], ids=["anybody", "operator"])
def test_no_request_gets_a_500(service: Gunicorn, credential: bytes) -> None:
    """No request gets a 500 or leaves a traceback in the log."""
    for data in heads():
        line, _, rest = data.partition(b"\r\n")
        authorization = b"" if b"Authorization" in rest else credential + b"\r\n" * bool(credential)
        answered = status(service.port, line + b"\r\n" + authorization + rest)
        assert answered is None or answered < 500, data[:500]

    assert "Traceback" not in service.log
    assert status(service.port, request(b"GET", b"/livez", [])) == 200


@pytest.mark.parametrize(
    ("version", "hosts", "expected"),
    [
        (b"1.0", [], 200),
        (b"1.1", [b"a.test"], 200),
        (b"1.1", [], 400),
        (b"1.1", [b""], 400),
        (b"1.1", [b"a.test", b"b.test"], 400),
        (b"1.1", [b"a.test", b"a.test"], 400),
    ],
)
def test_number_of_hosts(service: Gunicorn, version: bytes, hosts: list[bytes], expected: int) -> None:
    """HTTP/1.1 requires exactly one Host; HTTP/1.0 requires none."""
    fields = [b"Host: " + host for host in hosts]
    lines = [b"GET /livez HTTP/" + version, *fields, b"Connection: close", b"", b""]

    assert status(service.port, b"\r\n".join(lines)) == expected
