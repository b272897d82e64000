"""Parameters of the lists of tokens, and what the API returns of those that ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.core import ended
from app.core.ended import FoundEnded
from app.core.fields import FIELDS, ClashingFieldsError, InvalidFieldsError
from app.core.kinds import Text
from app.core.listing import CURSOR, NEWEST_FIRST, NO_CURSOR, OF_ANOTHER_LIST, Filter, Order
from app.core.search import (
    MAX_CHARS,
    InvalidQueryError,
    Query,
    by_host,
    has_beginning,
    is_start,
    may_be_secret,
    understand,
)
from app.core.tokens import Status

ENDED = "ended"
MAX_CHARS_OF = {name: field.kind.max_chars for name, field in FIELDS.items() if isinstance(field.kind, Text)}
_NOT_OF_ENDED = ("host", "email", "comment", "sort")
_NOT_FOR_ENDED = f"not together with status={ENDED}, which takes q, cursor and limit"
_SECRET = "that may be a token, and a token does not belong in an address"  # noqa: S105 - a message
_PAGE = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


def page_number(sent: Mapping[str, str]) -> int:
    """Return the number in the parameter ``page``, as older versions had it, or 1 if it is not one."""
    number = sent.get("page", "")
    return int(number) if _PAGE.fullmatch(number) else 1


def wants_ended(sent: Mapping[str, str]) -> bool:
    """Return whether the parameter ``status`` selects the ended tokens; raise InvalidFieldsError."""
    status = sent.get("status", "")
    if status not in {"", ENDED, *Status}:
        raise InvalidFieldsError({"status": f"one of {', '.join([*Status, ENDED])}"})
    return status == ENDED


def ended_cursor(sent: Mapping[str, str]) -> str | None:
    """Return the cursor of the list of ended tokens.

    Raises InvalidFieldsError, or ClashingFieldsError for a cursor or a parameter of the other list.
    """
    if refused := {name: _NOT_FOR_ENDED for name in _NOT_OF_ENDED if sent.get(name)}:
        raise ClashingFieldsError(refused)
    cursor = sent.get("cursor", "")
    if cursor and not ended.CURSOR.fullmatch(cursor):
        is_of_others = is_start(cursor) or CURSOR.fullmatch(cursor)
        raise ClashingFieldsError(OF_ANOTHER_LIST) if is_of_others else InvalidFieldsError(NO_CURSOR)
    return cursor or None


def order(sent: Mapping[str, str]) -> Order:
    """Return the order that the parameter ``sort`` names; raise InvalidFieldsError."""
    return Order.parse(sent["sort"]) if sent.get("sort") else NEWEST_FIRST


def wanted(sent: Mapping[str, str], prefix: str) -> Filter:
    """Return the filter that the parameters are; raise InvalidFieldsError and InvalidQueryError.

    *prefix* is that of secrets, which do not belong in an address.
    """
    typed, host = sent.get("q", "").strip(), sent.get("host", "").strip()
    return Filter(
        query=understand(typed, prefix) if typed else None,
        status=Status(sent["status"]) if sent.get("status") else None,
        host=_host(host, prefix) if host else None,
        email=_part(sent, "email", prefix),
        comment=_part(sent, "comment", prefix),
    )


def _part(sent: Mapping[str, str], name: str, prefix: str) -> str:
    """Return a part of a text, which may look like a secret unless it begins like one."""
    text = sent.get(name, "")
    if len(text) > MAX_CHARS_OF[name]:
        raise InvalidFieldsError({name: f"at most {MAX_CHARS_OF[name]} characters"})
    if has_beginning(text, prefix):
        raise InvalidFieldsError({name: _SECRET})
    return text


def _host(text: str, prefix: str) -> Query:
    if may_be_secret(text, prefix):
        raise InvalidFieldsError({"host": _SECRET})
    if len(text) > MAX_CHARS:
        raise InvalidFieldsError({"host": f"at most {MAX_CHARS} characters"})
    try:
        return by_host(text)
    except InvalidQueryError as error:
        raise InvalidFieldsError({"host": str(error)}) from None


def shown(found: FoundEnded) -> dict[str, Any]:
    """Return *found* as the API returns it."""
    return {
        "tokens": [token.described() for token in found.tokens],
        "next_cursor": found.more,
        "total": found.total,
    }
