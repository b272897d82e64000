"""Search queries and their results (docs/decisions/0011)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from app.core import hosts, tokens
from app.core.tokens import Token

MAX_CHARS = 253

# An id begins with a digit until the year 2318; a host that looks like one has no letter i, l, o or u.
_ID_START = re.compile(f"[0-9][{tokens.BASE32}]{{0,15}}", re.ASCII)
_SECRET_CHARS = 20
# A part of a text, a host, an id or a SHA-256, but nothing that may be a secret.
_SHORT = f"[A-Za-z0-9_](?:[A-Za-z0-9_-]{{0,{_SECRET_CHARS - 3}}}[A-Za-z0-9_])?"
_CASED = f"{hosts.LABEL.replace('A-Z', '')}|{hosts.LABEL.replace('a-z', '')}"
_HOST = hosts.grammar(f"(?:{_SHORT}|{_CASED})", _SHORT)
_SPACES = f"[{hosts.SPACES}]*"
_IN_SECRETS, _OTHERS = "[A-Za-z0-9._~-]", "[^A-Za-z0-9._~-]"
_DOTTED = f"(?:(?:{_SHORT}|{_CASED})[.])+(?![0-9]+[.]*(?:{_OTHERS}|$))(?:{_SHORT}|{_CASED})"
_FEW = f"[A-Za-z0-9_~-](?:{_IN_SECRETS}{{0,{_SECRET_CHARS - 3}}}[A-Za-z0-9_~-])?"
_DIGEST = "[0-9a-fA-F]{64}"
_PART = f"(?:[.]*(?:{_FEW}|{_DOTTED}|{_DIGEST})?[.]*)"
_IS_SECRET = f"{_SPACES}[A-Za-z0-9._~+/=-]{{{_SECRET_CHARS},}}{_SPACES}$"
_TEXT = f"(?!{_IS_SECRET})(?:{_PART}{_OTHERS})*{_PART}"
QUERY = f"{_SPACES}(?:[^@]*@[\\s\\S]*|{_HOST}|{_DIGEST}|{_TEXT}){_SPACES}"
HOST_QUERY = f"{_SPACES}(?:{_HOST}|){_SPACES}"
_SEPARATORS = re.compile("[^A-Za-z0-9._~-]+", re.ASCII)

# Where a search continues: an id with its SHA-256, since other programs may have stored one id twice.
CURSOR = re.compile(tokens.TOKEN_ID.pattern + tokens.DIGEST.pattern, re.ASCII)


class Kind(StrEnum):
    """What a query searches for."""

    ID = "id"
    DIGEST = "digest"
    HOST = "host"
    PATTERN = "pattern"
    EMAIL = "email"
    TEXT = "text"


class InvalidQueryError(ValueError):
    """A query that can match nothing; *shown* is the part of it that may be shown again."""

    def __init__(self, message: str, shown: str = "") -> None:
        super().__init__(message)
        self.shown = shown


@dataclass(frozen=True, slots=True)
class Query:
    """What a search looks for.

    *text* is an id, its beginning or a digest, or else what was typed, a host in canonical form. A token is
    found by one of *patterns* among its hosts, or by *part* in its comment or email, in upper or lower case.
    """

    kind: Kind
    text: str
    patterns: frozenset[str] = frozenset()
    part: str = ""

    def is_in_email(self, email: str) -> bool:
        """Return whether *part* is in *email*; the domain counts only after an @."""
        searched = email if "@" in self.part else email.partition("@")[0]
        return bool(self.part) and self.part in searched.lower()

    def is_in_comment(self, comment: str) -> bool:
        """Return whether *part* is in *comment*."""
        return bool(self.part) and self.part in comment.lower()


@dataclass(frozen=True, slots=True)
class Found:
    """The tokens that a list or a search found, and how far it got.

    It has looked at *searched* of *total* tokens, None if that is unknown, as in any order but newest first.
    It continues at the cursor *more*, or None at the end; *is_whole* is false while tokens that other
    programs wrote may not be indexed yet.
    """

    query: Query | None
    tokens: tuple[Token, ...]
    searched: int | None
    total: int
    more: str | None = None
    is_whole: bool = True

    @property
    def back_to(self) -> int | None:
        """Return when the oldest token searched was created, in seconds since the epoch; None if unknown."""
        return tokens.id_time_ms(self.more) // 1000 if self.more and self.more > "1" else None


def understand(typed: str, prefix: str) -> Query:
    """Return the query that *typed* means; raise InvalidQueryError if it can match nothing."""
    text = typed.strip()
    if may_be_secret(text, prefix):
        raise InvalidQueryError(
            "that may be a token, and a token does not belong in an address: look for its id, or give it to "
            "the standard input of flask --app wsgi tokens show -"
        )
    if len(text) > MAX_CHARS:
        raise InvalidQueryError(f"at most {MAX_CHARS} characters", text[:MAX_CHARS])
    if tokens.DIGEST.fullmatch(text.lower()):
        return Query(Kind.DIGEST, text.lower())
    if _ID_START.fullmatch(text.lower()):
        return Query(Kind.ID, text.lower())
    part = text.lower()
    if "@" in text:
        return Query(Kind.EMAIL, part, part=part)
    try:
        return replace(by_host(text), part=part)
    except InvalidQueryError:
        return Query(Kind.TEXT, part, part=part)


def is_start(text: str) -> bool:
    """Tell whether a search can continue at *text*: a CURSOR, or an id as in older URLs."""
    return bool(CURSOR.fullmatch(text) or tokens.TOKEN_ID.fullmatch(text))


def by_host(text: str) -> Query:
    """Return the query for the tokens that open the host *text*, or list the pattern *text*.

    Raises InvalidQueryError.
    """
    try:
        pattern = hosts.parse_pattern(text)
    except hosts.InvalidHostPatternError as error:
        raise InvalidQueryError(str(error), text) from None
    if pattern.startswith(hosts.ANY):
        return Query(Kind.PATTERN, pattern, frozenset({pattern}))
    return Query(Kind.HOST, pattern, frozenset(hosts.covering_patterns(pattern)))


def may_be_secret(text: str, prefix: str) -> bool:
    """Tell whether *text* may be or contain a secret, so that nothing may repeat it."""
    if has_beginning(text, prefix):
        return True
    parts = () if "@" in text else _SEPARATORS.split(text)
    return any(_is_secret_like(part) for part in (text, *(part.strip(".") for part in parts)))


def has_beginning(text: str, prefix: str) -> bool:
    """Tell whether *text* contains what secrets with *prefix* begin with, unless it is a host."""
    ours = tokens.beginning(prefix)
    is_host = ours.endswith("-") and _is_host_like(text.removeprefix("*."))
    return bool(re.search(f"(?<![A-Za-z0-9]){ours}", text)) and not is_host


def _is_secret_like(text: str) -> bool:
    if len(text) < _SECRET_CHARS or not tokens.CREDENTIAL.fullmatch(text):
        return False
    return not (_is_host_like(text) or tokens.DIGEST.fullmatch(text.lower()))


def _is_host_like(text: str) -> bool:
    labels = text.split(".")
    mixed = any(
        len(label) >= _SECRET_CHARS and label not in {label.lower(), label.upper()} for label in labels
    )
    return len(labels) > 1 and not mixed and hosts.normalize(text) is not None
