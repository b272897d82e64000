"""Request targets that a proxy or a backend may take for other ones, and what they may be taken for."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import product
from urllib.parse import quote, unquote_to_bytes

LISTED = ("/v1/models", "/v1/chat/*", "/api/generate")

_OPEN = ("/v1/models", "/v1/chat/", "/v1/chat/completions", "/v1/chat/a/b", "/api/generate")
_SHUT = ("/admin", "/v1/chat", "/v1/files", "/v1/models/x", "/api/delete")
_ORDINARY = "abcxyzABCXYZ0189-._~!$&'()+,=:@"
_PLAIN = re.compile(r"[\w/.~!$&'()+,=:@-]*(\?[\w=/?]*)?", re.ASCII)
_QUERIES = ("", "", "?", "?a=b", "?a=/../admin", "?%2f..;//x", "?a?b")
_SLASHES = (
    *("/", "//", "/./", "/;/", "/;a=b/", "\\", "/\\", "%2f", "%2F", "%5c", "%5C", "%252f", "%255c"),
    *("%c0%af", "%e0%80%af", "%ef%bc%8f", "%u2215", "/%00/", "/%20/", "\xc0\xaf", "\xef\xbc\x8f"),
)
_DOTS = (
    *("..", ".", "...", "%2e%2e", "%2E%2e", ".%2e", "%2e.", "%2e", "%252e%252e", "%25%32%65%2e", "..;"),
    *("..;a=b", ";..", "..%00", "..%20", "..%09", ".. ", "..\t", "..%0d%0a", "..#", "..?", "%c0%ae%c0%ae"),
    *("%e0%80%ae.", "%ef%bc%8e%ef%bc%8e", "%u002e.", "\xc0\xae\xc0\xae", "\xef\xbc\x8e\xef\xbc\x8e", ".\0."),
)
_ODD = (
    *("/", "//", "/.", "/./", "/..", "/../", "\\", "\\..\\", "/..\\", "/..;/", ".", "..", "...", ". ", "*"),
    *(";", ";a=b", ";a=b;c", ";jsessionid=1", "?", "??", "#", "#/", "?#", "&", "=", ",", "|", '"', "<", "`"),
    *("{", "}", "^", "[", "]", "~", "'", " ", "\t", "\0", "\x01", "\x0b", "\x0c", "\x1f", "\x7f", "\r", "\n"),
    *("\x80", "\x85", "\xa0", "\xe9", "\xff", "\xc3\xa9", "\xe2\x80\xae", "\xef\xbb\xbf", "\xe2\x88\x95"),
    *("%", "%%", "%2", "%zz", "%g0", "%u0041", "%00", "%01", "%09", "%0a", "%0d", "%0d%0a", "%20", "%23"),
    *("%25", "%2525", "%2e", "%2e%2e/", "/%2e%2e/", "%2f", "%2F", "%252f", "%3b", "%3B", "%3f", "%3F", "%5c"),
    *("%7f", "%80", "%c0%ae", "%c0%af", "%c3%a9", "%ff", "admin", "/admin", "/../admin", "v1", "V1", "chat"),
)
_BEGINNINGS = ("/v1/chat/", "/v1/chat/", "/v1/chat", "/v1/models", "/api/generate", "/api/", "/", "")
_LENGTHS = (499, 500, 501, 502, 4_000, 7_000, 20_000, 60_000)


def spellings(host: str, count: int, prefix: str = "", seed: int = 12) -> Iterator[str]:
    """Yield *count* targets, which *seed* decides: ordinary ones, systematic ones, and random ones.

    *prefix* is what clients write in front of a path; a twentieth of the targets lack it or spell it oddly.
    """
    draw = random.Random(seed)
    chosen = {*_simple(), *(_ordinary(draw) for _ in range(count // 8))}
    room = count - len(chosen)
    for kind, share in (
        *((_recoded(), 6), (_interrupted(), 5), (_climbing(), 4)),
        *((_forms(host), 10), (_long(), 100)),
    ):
        chosen |= {*draw.sample(kind, min(len(kind), room // share))}
    while len(chosen) < count:
        chosen.add(_drawn(draw, host))
    shuffled = sorted(chosen)
    draw.shuffle(shuffled)
    return (_prefixed(draw, text, prefix) for text in shuffled)


def is_ordinary(target: str, prefix: str = "") -> bool:
    """Return whether *target* is listed and no proxy has a reason to refuse or to change it."""
    path = target.partition("?")[0].removeprefix(prefix)
    is_plain = target.startswith(f"{prefix}/") and re.fullmatch(_PLAIN, target)
    return bool(is_plain) and is_listed(path) and readings(path) == {path} and len(path) < 450


def is_listed(path: str) -> bool:
    """Return whether LISTED has *path*."""
    return any(path == text or (text.endswith("/*") and path.startswith(text[:-1])) for text in LISTED)


def readings(target: str) -> set[str]:
    """Return every path for which a backend may take *target*: decoded, resolved, cut, in any order."""
    found = {re.sub(r"^\w+://[^/?#]*", "", target).partition("?")[0] or "/"}
    todo = list(found)
    while todo:
        path = todo.pop()
        new = {change(path) for change in _CHANGES} - found
        found |= new
        todo += new
    return found


def _resolved(path: str) -> str:
    """Return *path* without dot segments (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join([*kept, ""] if segments and segments[-1] in {".", ".."} and kept else kept)


_CHANGES: tuple[Callable[[str], str], ...] = (
    lambda path: unquote_to_bytes(path.encode("latin-1")).decode("latin-1"),
    _resolved,
    lambda path: re.sub("/+", "/", path),
    lambda path: path[path.rfind("//") + 1 :],  # as a reference to another root, or by os.path.join
    lambda path: re.sub(";[^/]*", "", path),
    lambda path: path.replace("\\", "/"),
    lambda path: re.split("[?#\0]", path, maxsplit=1)[0],
    lambda path: re.sub(r"[\t\r\n]", "", path),  # as parsers of URLs in browsers do
    lambda path: re.sub(r"(?<![/.])[. ]+(?=/|$)", "", path),  # as Windows opens files
)


def _codings(character: str) -> Iterator[str]:
    """Yield spellings of one character."""
    code = ord(character)
    digits = f"{code:02x}"
    yield from (f"%{digits}", f"%{digits.upper()}", f"%25{digits}", f"%2525{digits}", f"%u00{digits}")
    yield "%" + "".join(f"%{ord(digit):x}" for digit in digits)
    yield from (f"\\x{digits}", f"&#{code};", character.swapcase(), character * 2)
    for data in (
        bytes([0xC0 | code >> 6, 0x80 | code & 0x3F]),  # overlong UTF-8
        bytes([0xE0, 0x80 | code >> 6, 0x80 | code & 0x3F]),
        chr(code + 0xFEE0).encode(),  # fullwidth
    ):
        yield from (quote(data), quote(data).lower(), data.decode("latin-1"))


@cache
def _recoded() -> list[str]:
    """Return paths of which one character, or each, is encoded."""
    places = [(path, at) for path in (*_OPEN, *_SHUT) for at in range(len(path))]
    single = (path[:at] + text + path[at + 1 :] for path, at in places for text in _codings(path[at]))
    each = ("".join(texts) for path in (*_OPEN, *_SHUT) for texts in zip(*map(_codings, path), strict=True))
    return list(dict.fromkeys((*single, *each)))


@cache
def _interrupted() -> list[str]:
    """Return paths with something odd at one place."""
    places = [(path, at) for path in (*_OPEN, *_SHUT) for at in range(len(path) + 1)]
    return list(dict.fromkeys(path[:at] + text + path[at:] for path, at in places for text in _ODD))


def _simple() -> Iterator[str]:
    """Yield a way out of a listed directory for each part, so that even a short run has it."""
    yield from (f"/v1/chat/x{slash}..{slash}..{slash}admin" for slash in _SLASHES)
    yield from (f"/v1/chat/x/{dots}/{dots}/admin" for dots in _DOTS)
    yield from (f"/v1/chat/x/..{odd}/..{odd}/admin" for odd in _ODD)
    yield "/v1/chat//admin"


@cache
def _climbing() -> list[str]:
    """Return ways from a listed path to one that is not."""
    starts = ("/v1/chat", "/v1/chat/x", "/v1/models", "/api/generate")
    ways = (
        start + (before + dots) * depth + after + end[1:]
        for start, before, dots, after, end, depth in product(
            starts, _SLASHES, _DOTS, _SLASHES, ("/admin", "/v1/files"), (1, 2)
        )
    )
    return list(dict.fromkeys(ways))


def _forms(host: str) -> list[str]:
    """Return targets in other forms than a path: absolute, authority, asterisk, and faulty ones."""
    fronts = (
        *(f"http://{host}", f"HTTP://{host.upper()}", f"http://{host}:80", f"http://{host}:8080"),
        *(
            f"http://{host}.",
            f"http://user@{host}",
            f"http://user:a@{host}",
            f"https://{host}",
            f"ws://{host}",
        ),
        *(
            f"//{host}",
            f"///{host}",
            f"http:/{host}",
            f"http:///{host}",
            f"http:\\\\{host}",
            f"http://{host}\\",
        ),
        *(f"http://{host}%2f", f"http://{host}#", f"http://{host}?", f"http://{host};", f"http://{host}\0"),
        *(
            "http://other.example",
            "http://",
            "file://",
            "javascript:",
            "*",
            "**",
            host,
            f"{host}:80",
            "",
            "x",
        ),
    )
    ends = (
        "",
        *_OPEN,
        *_SHUT,
        "/v1/chat/../../admin",
        "/v1//models",
        "/v1/chat/%2e%2e/files",
        "@other.example/",
    )
    return list(dict.fromkeys(front + end for front, end in product(fronts, ends) if front + end))


def _long() -> list[str]:
    """Return paths about as long as this service and proxies take."""
    bodies = (
        start + (part * length)[: length - len(start)]
        for start, part, length in product(
            ("/v1/chat/", "/v1/models", "/"), ("a", "a/", "../", "%2e/"), _LENGTHS
        )
    )
    return list(dict.fromkeys(body + end for body in bodies for end in ("", "/../../admin")))


def _ordinary(draw: random.Random) -> str:
    """Return a listed path as most clients write it."""
    rest = "/".join("".join(draw.choices(_ORDINARY, k=draw.randint(1, 9))) for _ in range(draw.randint(1, 3)))
    below = re.sub(r"(^|/)\.+(?=/|$)", r"\1dots", rest)
    return draw.choice([*_OPEN, f"/v1/chat/{below}", f"/v1/chat/{below}/"]) + draw.choice(_QUERIES)


def _drawn(draw: random.Random, host: str) -> str:
    """Return a target of random parts."""
    front = f"http://{host}" if draw.random() < 0.05 else ""
    parts = draw.choices(draw.choice((_ODD, _SLASHES + _DOTS + _ODD)), k=draw.randint(1, 5))
    return "".join([front, draw.choice(_BEGINNINGS), *parts])


def _prefixed(draw: random.Random, target: str, prefix: str) -> str:
    """Return *target* with *prefix* in front, as a rule."""
    if not prefix or not target.startswith("/"):
        return target
    odd: Iterable[str] = (
        "",
        prefix * 2,
        prefix.upper(),
        f"/{prefix}",
        f"{prefix}/",
        f"/x/..{prefix}",
        f"/.{prefix}",
    )
    return (prefix if draw.random() < 0.95 else draw.choice([*odd, *_codings(prefix[1])])) + target
