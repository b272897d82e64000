"""What an operator typed, from any skin, into values or one message per field."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.core import hosts, moments
from app.core.limits import MAX_REQUESTS, MAX_WINDOW_S
from app.core.text import FLAGS, HIDDEN, JOINERS, SELECTORS, SURROGATES
from app.core.tokens import Leave, Token, TokenSpec

MAX_TTL_S = 100 * 365 * 86_400
MAX_GRACE_S = 7 * 86_400
MAX_COMMENT_CHARS = 500
MAX_EMAIL_CHARS = 254

_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)
_SPACES = " \xa0\u1680\u2000-\u200a\u202f\u205f\u3000"


def _grammar(hidden: str) -> str:
    """Return a pattern of text in which all can be seen.

    A joiner or a selector says something of the character before it. Rows of them would hide text.
    """
    return f"(?:(?:{FLAGS}|[^{hidden}{JOINERS}{SELECTORS}])[{SELECTORS}]?[{JOINERS}]?)*"


TEXT = _grammar(HIDDEN)
_IN_EMAIL = f"[^@{HIDDEN}{JOINERS}{SELECTORS}{_SPACES}]+"
EMAIL = f"{_IN_EMAIL}@{_IN_EMAIL}"
BLANKS = "[ \t\r\n]*"

_TEXT = re.compile(_grammar(HIDDEN + SURROGATES))
_EMAIL = re.compile(EMAIL)


class InvalidFieldsError(ValueError):
    """Some fields can't be used; *problems* maps each one's name to what is wrong and what to do."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in problems.items()))
        self.problems = dict(problems)


class ClashingFieldsError(InvalidFieldsError):
    """Each field can be used, but not together with the others or with what the token has."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A spec, and the end that goes with it, in seconds since the epoch; None is never."""

    spec: TokenSpec
    expires_at: int | Leave | None


def parse_new(typed: Mapping[str, str], default_ttl_s: int, now_s: int) -> Draft:
    """Return what *typed* says of a token to be made; raises InvalidFieldsError naming every bad field."""
    values, problems = _parse(typed, FIELDS)
    end = _end(values, problems, now_s)
    expires_at = _after(default_ttl_s, now_s) if end is Leave.LEAVE else end
    return _draft(values, problems, expires_at, expires_at)


def parse_edit(token: Token, typed: Mapping[str, str], now_s: int) -> Draft:
    """Return what *token* is to be: what *typed* leaves out stays; raises InvalidFieldsError."""
    values, problems = _parse(typed, [name for name in FIELDS if name in typed])
    kept = {name: getattr(token, attribute) for name, attribute in _ATTRIBUTES.items()}
    end = _end(values, problems, now_s)
    return _draft(kept | values, problems, end, token.expires_at if end is Leave.LEAVE else end)


def parse_grace(text: str) -> int:
    """Return the seconds that a replaced secret stays valid, at most a week; raises InvalidFieldsError."""
    try:
        return whole_number(text.strip() or "0", 0, MAX_GRACE_S)
    except ValueError as error:
        raise InvalidFieldsError({"grace_seconds": str(error)}) from None


def whole_number(text: str, low: int, high: int) -> int:
    """Return a number written in plain digits; raises ValueError with the range allowed."""
    if not _DIGITS.fullmatch(text) or not low <= int(text) <= high:
        raise ValueError(f"a whole number from {low} to {high}, not {text!r}")
    return int(text)


def _parse(typed: Mapping[str, str], names: Any) -> tuple[dict[str, Any], dict[str, str]]:
    problems = {name: f"unknown field; known are {', '.join(FIELDS)}" for name in typed.keys() - FIELDS}
    values = {}
    for name in names:
        try:
            values[name] = FIELDS[name](typed.get(name, ""))
        except ValueError as error:
            problems[name] = str(error)
    return values, problems


def _end(values: Mapping[str, Any], problems: dict[str, str], now_s: int) -> int | Leave | None:
    """Return the end that *values* ask for, None for never: one moment for whoever keeps or shows it."""
    ttl_s, expires_at = values.get("ttl_seconds"), values.get("expires_at")
    if expires_at is None:
        return Leave.LEAVE if ttl_s is None else _after(ttl_s, now_s)
    if ttl_s is not None:
        problems["expires_at"] = "set this or ttl_seconds, not both"
    elif not now_s < expires_at <= now_s + MAX_TTL_S:
        problems["expires_at"] = "a moment in the future, within a hundred years"
    return int(expires_at)


def _after(ttl_s: int, now_s: int) -> int | None:
    return now_s + ttl_s if ttl_s else None


def _draft(
    values: dict[str, Any], problems: dict[str, str], expires_at: int | Leave | None, ends_at: int | None
) -> Draft:
    """Return the draft of a token that will end at *ends_at*; raises InvalidFieldsError."""
    if problems:
        raise InvalidFieldsError(problems)
    starts = values.get("not_before")
    if starts and ends_at and starts >= ends_at:
        raise ClashingFieldsError({"not_before": "after the end of the token's life"})
    spec = TokenSpec(**{attribute: values[name] for name, attribute in _ATTRIBUTES.items()})
    return Draft(spec, expires_at)


def _email(text: str) -> str:
    email = _visible(text)
    if email and (len(text) > MAX_EMAIL_CHARS or not _EMAIL.fullmatch(email)):
        raise ValueError("not an email address, such as ops@example.com")
    return email


def _comment(text: str) -> str:
    if len(text) > MAX_COMMENT_CHARS:
        raise ValueError(f"at most {MAX_COMMENT_CHARS} characters, not {len(text)}")
    return _visible(text)


def _optional(low: int, high: int) -> Callable[[str], int | None]:
    return lambda text: whole_number(text.strip(), low, high) if text.strip() else None


def _moment(text: str) -> int | None:
    return moments.parse(text.strip()) if text.strip() else None


def _visible(text: str) -> str:
    """Return *text* without the blanks around it; raises ValueError if not all of it can be seen."""
    bare = text.strip(" \t\r\n")
    seen = _TEXT.match(bare)
    end = seen.end() if seen else 0
    if end < len(bare):
        raise ValueError(f"contains the unprintable character U+{ord(bare[end]):04X}")
    return bare.strip()


FIELDS: Mapping[str, Callable[[str], Any]] = {
    "hosts": hosts.parse_patterns,
    "email": _email,
    "comment": _comment,
    "ttl_seconds": _optional(0, MAX_TTL_S),
    "expires_at": _moment,
    "not_before": _moment,
    "rate_limit_max": _optional(0, MAX_REQUESTS),
    "rate_limit_window_sec": _optional(1, MAX_WINDOW_S),
}

_ATTRIBUTES = {
    "hosts": "hosts",
    "email": "email",
    "comment": "comment",
    "not_before": "not_before",
    "rate_limit_max": "rate_limit_max",
    "rate_limit_window_sec": "rate_limit_window_s",
}
