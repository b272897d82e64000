"""Malformed and unusual requests as bytes, for tests and for chaos/attacks.py.

Most of them are the end of a request, after its usual fields (Host, X-Forwarded-Host, Authorization).
"""

from __future__ import annotations

from collections.abc import Iterable

PLAIN = b"\r\n"
_END = b"\r\n\r\n"

_ALIASES = ["_", ".", "~", "+", "!", "#", "$", "%", "&", "'", "*", "^", "`", "|", " "]
_CODINGS = [
    *(
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
    ),
    *(b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: chunked, chunked"),
    *(b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding:\x00chunked", b'Transfer-Encoding: "chunked"'),
    *(
        b"Transfer-Encoding: chunked;q=1",
        b"Transfer-Encoding:\r\n chunked",
        b"X: y\nTransfer-Encoding: chunked",
    ),
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    *(b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked", b"transfer-encoding: CHUNKED"),
    *(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked"),
    *(b"Transfer-Encoding: ", b"Transfer-Encoding: chunked,", b"Transfer-Encoding:\xa0chunked"),
]
_LENGTHS = [
    *(b"+4", b"-1", b"-0", b"4,4", b"4, 4", b"0x4", b"4.0", b"4e0", b"1_0", b"4 4", b"four", b"", b'"4"'),
    *(
        b"\xb2",
        b"\xd9\xa4",
        b"4;",
        b"99999999999999999999",
        b"9" * 400,
        b"4\r\nContent-Length: 5",
        b"0\r\n 4",
    ),
    *(b"4\r\nContent-Length: 4", b"0\r\nContent-Length: 4", b"\x004", b"4\x00"),
]
_CHUNKS = [
    *(b"%x;a\rb\r\n", b"%x;a\nb\r\n", b"%x\n", b"%x \r\n", b" %x\r\n", b"0x%x\r\n", b"+%x\r\n", b"-%x\r\n"),
    *(
        b"%x;a=\x00\r\n",
        b'%x;a="\r\n"\r\n',
        b"%x\r",
        b"%x;\r\n",
        b"0%x\r\n",
        b"%x_0\r\n",
        b"ffffffffffffffff%x\r\n",
    ),
]
_HEADS = {
    "folded line": b"X-A: b\r\n c",
    "folded host": b"X-A: b\r\n\tX-Forwarded-Host: a.test",
    "bare LF": b"X-A: b\nX-Forwarded-Method: GET",
    "bare CR": b"X-A: b\rX-Forwarded-Host: a.test",
    "bare LF before the end": b"X-A: b\n",
    "CR CR LF": b"X-A: b\r\r\nX-B: c",
    "NUL in a value": b"X-A: b\0c",
    "NUL in a name": b"X-A\0: b",
    "space before the colon": b"X-A : b",
    "tab before the colon": b"X-A\t: b",
    "space before the name": b" X-A: b",
    "two hosts": b"Host: a.test",
    "no name": b": b",
    "no colon": b"nonsense",
    "a request line": b"GET /auth HTTP/1.1",
    "beyond ASCII in a name": b"X-\xc3\xa9: b",
    "a space in a name": b"X A: b",
    "long name": b"X" * 9_000 + b": b",
    "long value": b"X-A: " + b"b" * 9_000,
    "huge value": b"X-A: " + b"b" * 300_000,
    "many fields": b"\r\n".join(b"X-%d: a" % number for number in range(2_000)),
    "contradicting schemes": b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off",
    "two types": b"Content-Type: text/plain\r\nContent-Type: text/html",
    "unknown expectation": b"Expect: 200-ok",
    "two expectations": b"Expect: 100-continue\r\nExpect: 100-continue",
}
_OVERRIDES = (
    b"Script-Name SCRIPT_NAME PATH_INFO Path-Info REMOTE_USER Remote-User HTTP_AUTHORIZATION "
    b"REQUEST_METHOD X-HTTP-Method-Override X-HTTP-Method X-Method-Override X-Original-URL X-Rewrite-URL "
    b"X-Original-Method X-Original-Host X-Host X-Forwarded-Server X-Forwarded-User X-Forwarded-Prefix "
    b"X-Forwarded-For X-Real-Ip X-Auth-Token-Id X-Auth-Email Cookie Via X-Webauth-User X-Remote-User "
    b"Front-End-Https X-Forwarded-Scheme Proxy X-Request-Id"
).split()
_REMARKS = {
    "forwarded": b'Forwarded: host=a.test;proto=https, for="[::1]";host="a.test"',
    "hop-by-hop credential": b"Connection: Authorization",
    "hop-by-hop host": b"Connection: close, X-Forwarded-Host, Host",
    "hop-by-hop twice": b"Connection: keep-alive\r\nConnection: X-Forwarded-Host",
    "expect": b"Expect: 100-continue",
    "range": b"Range: bytes=0-0\r\nIf-Range: *",
    "conditions": b'If-None-Match: *\r\nIf-Match: "x"\r\nIf-Modified-Since: Tue, 24 Nov 2099 04:07:01 GMT',
    "upgrade to HTTP/2": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
    "upgrade to WebSocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13",
    "upgrade to TLS": b"Connection: Upgrade\r\nUpgrade: TLS/1.0",
    "alias of the coding": b"Transfer_Encoding: chunked",
    "trailer": b"Trailer: Authorization\r\nTE: trailers",
    "sibling site": b"Origin: null\r\nSec-Fetch-Site: cross-site",
    "preflight": b"Origin: https://a.test\r\nAccess-Control-Request-Method: GET",
    "many ranges": b"Range: bytes=" + b",".join(b"%d-" % number for number in range(1_000)),
}
# PATH is replaced by the path of the target.
LINES = {
    "HTTP/0.9": b"GET PATH",
    "HTTP/0.9 with a version": b"GET PATH HTTP/0.9",
    "HTTP/1.0": b"GET PATH HTTP/1.0",
    "HTTP/1.2": b"GET PATH HTTP/1.2",
    "HTTP/2.0": b"GET PATH HTTP/2.0",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM",
    "lower-case version": b"GET PATH http/1.1",
    "wide version": b"GET PATH HTTP/1.10",
    "another protocol": b"GET PATH ICAP/1.0",
    "lower-case method": b"get PATH HTTP/1.1",
    "method of many letters": b"G" * 3_000 + b" PATH HTTP/1.1",
    "NUL in the method": b"GE\0T PATH HTTP/1.1",
    "no method": b" PATH HTTP/1.1",
    "two spaces": b"GET  PATH HTTP/1.1",
    "tabs": b"GET\tPATH\tHTTP/1.1",
    "a space behind": b"GET PATH HTTP/1.1 ",
    "a space in the target": b"GET PATH x HTTP/1.1",
    "NUL in the target": b"GET PATH?\0 HTTP/1.1",
    "beyond ASCII": b"GET PATH?\xff\xfe HTTP/1.1",
    "CR in the target": b"GET PATH?\r HTTP/1.1",
    "blank lines first": b"\r\n\r\nGET PATH HTTP/1.1",
    "LF first": b"\nGET PATH HTTP/1.1",
    "absolute-form": b"GET http://a.testPATH HTTP/1.1",
    "absolute-form of another host": b"GET http://b.testPATH HTTP/1.1",
    "absolute-form without a host": b"GET http://PATH HTTP/1.1",
    "absolute-form with userinfo": b"GET http://x:y@a.testPATH HTTP/1.1",
    "absolute-form with a bad port": b"GET http://a.test:xPATH HTTP/1.1",
    "absolute-form of no scheme": b"GET ://a.testPATH HTTP/1.1",
    "absolute-form of a file": b"GET file://PATH HTTP/1.1",
    "unclosed bracket": b"GET http://[::1PATH HTTP/1.1",
    "authority-form": b"CONNECT a.test:443 HTTP/1.1",
    "authority-form to a path": b"CONNECT PATH HTTP/1.1",
    "asterisk of GET": b"GET * HTTP/1.1",
    "no slash": b"GET xPATH HTTP/1.1",
    "two slashes": b"GET //a.testPATH HTTP/1.1",
    "backslash": b"GET \\PATH HTTP/1.1",
    "dots": b"GET /..PATH/../.. HTTP/1.1",
    "parameter": b"GET PATH;/../x HTTP/1.1",
    "fragment": b"GET PATH#x HTTP/1.1",
    "bad percent": b"GET PATH?%zz% HTTP/1.1",
    "NUL encoded": b"GET PATH?%00 HTTP/1.1",
    "CR LF encoded": b"GET PATH?%0d%0aX-Forwarded-Host:%20a.test HTTP/1.1",
    "overlong UTF-8": b"GET /%c0%afPATH HTTP/1.1",
    "9 kB": b"GET PATH?" + b"q" * 9_000 + b" HTTP/1.1",
}

CREDENTIALS = [b"Bearer %b", b"bearer  %b", b"Bearer wrong", b"Basic eDp5", b"", b"Bearer %b,", b"Bearer"]
READ = [
    *(
        b"Host",
        b"Authorization",
        b"Connection",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Content-Type",
        b"Cookie",
    ),
    *(b"Expect", b"Upgrade", b"User-Agent", b"X-Forwarded-Proto", b"X-Forwarded-Method"),
]
HOSTS = [b"a.test", b"A.TEST:80", b"b.test", b"", b"*", b"a.test,b.test", b".a.test"]


def malformed() -> dict[str, bytes]:
    """Return ends of heads that violate the grammar of HTTP or a limit."""
    return {name: fields + _END for name, fields in _HEADS.items()}


def remarks() -> dict[str, bytes]:
    """Return ends of heads that are legal, or nearly so, and must not affect a decision."""
    overrides = {f"{name.decode()}: {value.decode()}": name + b": " + value for name in _OVERRIDES
                 for value in (b"/auth", b"a.test", b"OPTIONS")}  # fmt: skip
    aliases = {f"alias {name}": name.encode() + b": a.test" for name in alias_names("X-Forwarded-Host")}
    return {name: fields + _END for name, fields in (_REMARKS | overrides | aliases).items()}


def alias_names(name: str) -> list[str]:
    """Return spellings of *name* that CGI maps to the same variable."""
    whole = [name.replace("-", char) for char in _ALIASES]
    return [
        *whole,
        *(name[::-1].replace("-", char, 1)[::-1] for char in _ALIASES),
        f"{name} ",
        f"HTTP-{name}",
    ]


def smuggling(hidden: bytes) -> dict[str, bytes]:
    """Return ends of requests with bodies in which a careless parser finds the request *hidden*."""
    shapes: dict[str, bytes] = {}
    for coding in _CODINGS:
        shapes |= _framed(repr(coding)[2:-1], coding, hidden)
    for length in _LENGTHS:
        name = f"Content-Length: {repr(length)[2:30]}"
        field = b"Content-Length: " + length
        shapes[name] = field + _END + hidden
        shapes[f"{name}, chunked"] = field + b"\r\nTransfer-Encoding: chunked" + _END + b"0\r\n\r\n" + hidden
    for chunk in _CHUNKS:
        body = chunk % len(hidden) + hidden + b"\r\n0\r\n\r\n"
        shapes[f"chunk {repr(chunk)[2:-1]}"] = b"Transfer-Encoding: chunked" + _END + body
    return shapes | {
        "no end of a chunk": b"Transfer-Encoding: chunked" + _END + b"1\r\nxGET\r\n0\r\n\r\n" + hidden,
        "trailer": b"Transfer-Encoding: chunked" + _END + b"0\r\nAuthorization: Bearer x\r\n\r\n",
        "trailer that hides": b"Transfer-Encoding: chunked" + _END + b"0\r\nX: y\r\n " + hidden,
        "HTTP/0.9 in a body": b"Content-Length: 11" + _END + b"GET /auth\r\n",
    }


def _framed(name: str, coding: bytes, hidden: bytes) -> dict[str, bytes]:
    """Return the classic pairs for which one parser uses Content-Length and the other Transfer-Encoding."""
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden)
    size = chunked.index(b"\n") + 1
    behind = b"0\r\n\r\n" + hidden
    return {
        f"{name}": coding + _END + chunked,
        f"CL.TE {name}": b"Content-Length: %d\r\n%b" % (len(behind), coding) + _END + behind,
        f"TE.CL {name}": b"%b\r\nContent-Length: %d" % (coding, size) + _END + chunked,
    }


def pairs(values: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """Return every ordered pair of *values*, including pairs of the same value."""
    kept = list(values)
    return [(first, second) for first in kept for second in kept]
