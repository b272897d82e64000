"""Parse the values in the lines of an export; no error repeats a value, which may be a secret."""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from app.core import moments
from app.core.copies import LABELS, Columns, UsageCopy
from app.core.copy_lines import HOUR_S
from app.core.declared import KEY, KEY_RULE
from app.core.fields import KEPT
from app.core.quotas import Count
from app.core.tokens import DIGEST, TOKEN_ID
from app.core.usage import DAYS, HOURS, Counts

_FINGERPRINT = re.compile("[0-9a-f]{16}", re.ASCII)
_MAX_KEPT = 10**12
_MAX_ADMITTED = 10**13
_COUNT = "I"  # of array, and 32 bits
_NO_COUNT = f"usage: counts from 0 to {2**32 - 1}"
_KEPT = frozenset(field.name for field in KEPT)
_COUNTERS = frozenset(Counts._fields)

Members = Mapping[str, Any]


class Line(NamedTuple):
    """A line of a file, or the *problem* of one that is no text."""

    number: int
    text: str
    problem: str = ""


class LineError(ValueError):
    """A line can't be used; the text says which field is wrong, and what it should be."""


def stored(found: Members) -> dict[str, str]:
    """Return the fields as their record has them; raise LineError."""
    stored = found.get("stored", {})
    if not isinstance(stored, dict) or not stored.keys() <= _KEPT:
        raise LineError("stored: an object with the names of fields")
    if not all(is_text(value) and value for value in stored.values()):
        raise LineError("stored: an object of texts, none of them empty")
    return stored


def is_text(value: Any) -> bool:
    """Return whether *value* is a string that UTF-8, or bytes that are not UTF-8, can hold."""
    try:
        return isinstance(value, str) and value.encode(errors="surrogateescape") is not None
    except ValueError:
        return False


def is_fingerprint(value: Any) -> bool:
    """Return whether *value* is the fingerprint of a pepper."""
    return isinstance(value, str) and bool(_FINGERPRINT.fullmatch(value))


def labels(found: Members) -> dict[str, str]:
    """Return the LABELS; raise LineError."""
    labels = {name: found[name] for name in LABELS if found.get(name) is not None}
    if not is_fingerprint(labels.get("pepper", "0" * 16)):
        raise LineError("pepper: 16 hex digits")
    if (managed := labels.get("managed")) is not None and not is_key(managed):
        raise LineError(f"managed: {KEY_RULE}")
    return labels


def is_key(value: Any) -> bool:
    """Return whether a tokens file can declare a token as *value*."""
    return isinstance(value, str) and bool(KEY.fullmatch(value))


def digest(found: Members, name: str) -> str:
    """Return the digest in *name*; raise LineError."""
    value = found.get(name)
    if not isinstance(value, str) or not DIGEST.fullmatch(value):
        raise LineError(f"{name}: 64 hex digits in lower case")
    return value


def token_id(found: Members) -> str:
    """Return the token's id; raise LineError."""
    value = found.get("id")
    if not isinstance(value, str) or not TOKEN_ID.fullmatch(value):
        raise LineError("id: 16 characters, each a digit or a lower-case letter but i, l, o and u")
    return value


def enabled(found: Members) -> bool:
    """Return whether the token is enabled; raise LineError."""
    value = found.get("enabled", True)
    if not isinstance(value, bool):
        raise LineError("enabled: true or false")
    return value


_parsed = lru_cache(4096)(moments.parse)


def moment(found: Members, name: str) -> int | None:
    """Return a moment in seconds since the epoch, or None; raise LineError."""
    value = found.get(name)
    try:
        at = _parsed(value) if value is not None else None
    except (ValueError, TypeError):
        at = -1
    if at is not None and not 0 <= at < _MAX_KEPT:
        raise LineError(f"{name}: a moment such as {moments.EXAMPLE}, not before 1970, or null")
    return at


def needed(found: Members, name: str) -> int:
    """Return a moment in seconds since the epoch; raise LineError."""
    at = moment(found, name)
    if at is None:
        raise LineError(f"{name}: a moment such as {moments.EXAMPLE}")
    return at


def _whole(value: Any, below: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < below


def count(found: Any) -> Count | None:
    """Return the count of a quota, or None; raise LineError."""
    if found is None:
        return None
    if not isinstance(found, dict) or set(found) != {"starts_at", "ends_at", "admitted"}:
        raise LineError("quota_used: an object with starts_at, ends_at and admitted")
    if not _whole(found["admitted"], _MAX_ADMITTED):
        raise LineError("quota_used: a whole number of requests admitted")
    return Count(needed(found, "starts_at"), needed(found, "ends_at"), found["admitted"])


def usage(found: Any) -> UsageCopy | None:
    """Return the usage, or None; raise LineError."""
    if found is None:
        return None
    if not isinstance(found, dict) or set(found) != {"until", "hours", "days"}:
        raise LineError("usage: an object with until, hours and days")
    until = needed(found, "until") // HOUR_S
    return UsageCopy(until, _columns(found["hours"], HOURS), _columns(found["days"], DAYS))


def _columns(found: Any, slots: int) -> Columns:
    """Return a column for each of Counts; counts that are left out at the beginning are 0."""
    if not isinstance(found, dict) or not found.keys() <= _COUNTERS:
        raise LineError(f"usage: objects with lists of counts, named {', '.join(Counts._fields)}")
    none = (0,) * slots
    return tuple(_column(found[name], none) if name in found else none for name in Counts._fields)


def _column(found: Any, none: tuple[int, ...]) -> tuple[int, ...]:
    if not isinstance(found, list) or len(found) > len(none):
        raise LineError(f"usage: lists of at most {len(none)} counts")
    try:
        array(_COUNT, found)  # checks each much faster than Python could
    except (TypeError, OverflowError):
        raise LineError(_NO_COUNT) from None
    if bool in map(type, found):
        raise LineError(_NO_COUNT)
    return none[len(found) :] + tuple(found)
