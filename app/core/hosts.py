"""Host names, the patterns that a token lists, and which pattern covers which host."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import idna

from app.core.cache import BoundedCache
from app.core.text import HIDDEN, JOINERS, SELECTORS

ANY = "*"
MAX_PATTERNS = 100

_MAX_NAME = 253
_MAX_SENT = _MAX_NAME + len(".:65535")
SPACES = "\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
SEPARATOR = re.compile(f"[,{SPACES}]+")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+?)\.?(?::[0-9]{0,5})?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)

# The ASCII part of the grammar as regular expressions, for clients that validate before they send.
LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IPV4 = f"{OCTET}(?:[.]{OCTET}){{3}}"
_HEX = "[0-9A-Fa-f]{1,4}"
_TAIL = f"(?:{_HEX}:{_HEX}|{IPV4})"
IPV6 = "|".join(
    [
        f"(?:{_HEX}:){{6}}{_TAIL}",
        *(
            f"(?:{_HEX}(?::{_HEX}){{0,{before - 1}}})?::(?:{_HEX}:){{{5 - before}}}{_TAIL}"
            for before in range(1, 6)
        ),
        f"::(?:{_HEX}:){{5}}{_TAIL}",
        f"(?:{_HEX}(?::{_HEX}){{0,5}})?::{_HEX}",
        f"(?:{_HEX}(?::{_HEX}){{0,6}})?::",
    ]
)
ADDRESS = f"{IPV4}|{IPV6}"
# Everything else is up to IDNA, which drops these characters, refuses them, or maps them to digits.
_UNSEEN = f"{HIDDEN}{JOINERS}{SELECTORS}"
_REFUSED = f"{_UNSEEN}\u1100-\u11ff\u20d0-\u20f0\u3131-\u318e\ua960-\ua97c\ud7b0-\ud7fb\uffa1-\uffdc"
_DIGITS = "\xb2\xb3\xb9\u2070-\u2089\u2460-\u2473\u24ea\u3251-\u32bf\uff10-\uff19\U0001d7ce-\U0001d7ff"
BEYOND_ASCII = f"[^{_REFUSED}]*[^\x00-\x7f{_REFUSED}{_DIGITS}][^{_REFUSED}]*"
_INVISIBLE = re.compile(f"[{_UNSEEN}]")


def grammar(label: str, only_label: str) -> str:
    """Return a regular expression for the ASCII input of parse_pattern; *only_label* is for single labels."""
    last = f"(?![0-9]+[.]?(?:[,{SPACES}]|$))"
    name = f"(?:(?:{label}[.])+{last}{label}|{last}{only_label})"
    return f"(?:[*]|(?:[*][.])?{name}[.]?|{IPV4}[.]?|\\[(?:{IPV6})\\])"


PATTERN = grammar(LABEL, LABEL)


class InvalidHostPatternError(ValueError):
    """A pattern that no host could match; the message says why and what to write."""


def covering_patterns(sent: str | None) -> tuple[str, ...]:
    """Return every pattern that covers the host *sent* by the proxy, none if it is not a valid host."""
    return _covering(sent) if sent and len(sent) <= _MAX_SENT else ()


def _cover(sent: str) -> tuple[str, ...]:
    host = normalize(sent)
    if host is None:
        return ()
    labels = host.split(".")
    if _is_address(labels):
        return (host, ANY)
    parents = (f"*.{'.'.join(labels[i:])}" for i in range(1, len(labels)))
    return (host, *parents, ANY)


def _size(sent: str, patterns: tuple[str, ...]) -> int:
    return 200 + len(sent) + sum(64 + len(pattern) for pattern in patterns)


_covering = BoundedCache(_cover, _size, 1024 * 1024)


def normalize(sent: str) -> str | None:
    """Return the host lower-case, without one port and one trailing dot; None if it is not a valid host."""
    if len(sent) > _MAX_SENT or not (match := _HOST.fullmatch(sent)):
        return None
    name = match[1].lower()
    return _canonical_ipv6(name) if name.startswith("[") else _checked(name)


def parse_patterns(text: str) -> tuple[str, ...]:
    """Return the patterns of a comma, space or line separated list, canonical and each once.

    Raises InvalidHostPatternError.
    """
    patterns = tuple(dict.fromkeys(map(parse_pattern, SEPARATOR.split(text.strip(", \t\r\n")))))
    if len(patterns) > MAX_PATTERNS:
        raise InvalidHostPatternError(f"at most {MAX_PATTERNS} hosts, not {len(patterns)}")
    return patterns


def parse_pattern(text: str) -> str:
    """Return one pattern in the form that is stored; raises InvalidHostPatternError."""
    if text == ANY:
        return ANY
    if not text:
        raise InvalidHostPatternError("name at least one host, such as example.com")
    if "/" in text:
        raise InvalidHostPatternError(f"{text!r}: write the host alone, without scheme or path")
    wildcard, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    if "*" in name:
        raise InvalidHostPatternError(f"{text!r}: a * may only stand alone or lead, as *.example.com")
    host = normalize(_ascii(name, text))
    if host is None:
        raise InvalidHostPatternError(f"{text!r} is not a host name")
    if _has_port(name):
        raise InvalidHostPatternError(f"{text!r}: ports are not compared; write {wildcard}{host}")
    if wildcard and _is_address(host.split(".")):
        raise InvalidHostPatternError(f"{text!r}: an address has no subdomains")
    if wildcard and len(host) > _MAX_NAME - len("a."):
        raise InvalidHostPatternError(f"{text!r}: too long for any subdomain")
    return wildcard + host


def _has_port(name: str) -> bool:
    return not name.endswith("]") if name.startswith("[") else ":" in name


def _ascii(name: str, text: str) -> str:
    if name.isascii():
        return name
    if not name.isprintable() or _INVISIBLE.search(name):  # IDNA would drop them
        raise InvalidHostPatternError(f"{text!r} contains invisible characters")
    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError as error:
        raise InvalidHostPatternError(f"{text!r} is not a host name: {error}") from None


def _checked(name: str) -> str | None:
    labels = name.split(".")
    if len(name) > _MAX_NAME or not all(map(_LABEL.fullmatch, labels)):
        return None
    return name if not labels[-1].isdigit() or _is_address(labels) else None


def _is_address(labels: list[str]) -> bool:
    if labels[0].startswith("["):
        return True
    try:
        IPv4Address(".".join(labels))
    except AddressValueError:
        return False
    return True


def _canonical_ipv6(literal: str) -> str | None:
    try:
        return f"[{IPv6Address(literal[1:-1])}]"
    except AddressValueError:
        return None
