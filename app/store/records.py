"""A token and the hash that keeps it, both directions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.core.tokens import DIGEST, TOKEN_ID, Fault, Token, TokenSpec, inherited_id

_MAX_DIGITS = 12
_MAX_BYTES = 65_536
_CUT_BYTES = 4096
# What PEXPIRETIME says if there is no such key.
NO_KEY = -2

FIELDS = (
    "hosts",
    "email",
    "comment",
    "id",
    "created_at",
    "enabled",
    "not_before",
    "rate_limit_max",
    "rate_limit_window_sec",
    "first_used_at",
    "last_used_at",
    "moved_to",
)

# take.lua knows no token whose record has none of these, and reads none in which they are longer in all.
_TELLING = ("id", "hosts", "email", "comment")
# It does not decide with another number, nor with one below these.
_DECIDING = {"not_before": 0, "rate_limit_max": 0, "rate_limit_window_sec": 1}


def to_fields(spec: TokenSpec) -> dict[str, str]:
    """Return the fields that an operator decides on; an empty value is not stored."""
    return {
        "hosts": ",".join(spec.hosts),
        "email": spec.email,
        "comment": spec.comment,
        "not_before": _digits(spec.not_before),
        "rate_limit_max": _digits(spec.rate_limit_max),
        "rate_limit_window_sec": _digits(spec.rate_limit_window_s),
    }


def from_fields(digest: str, values: Sequence[bytes | None], expires_at: int | None) -> Token:
    """Return the token whose record holds *values*, in the order of FIELDS."""
    kept = {name: value for name, value in zip(FIELDS, values, strict=True) if value is not None}
    if "moved_to" in kept:
        return unreadable(digest, expires_at)
    is_short = sum(len(kept.get(name, b"")) for name in _TELLING) <= _MAX_BYTES
    record = {name: _text(value, cut=not is_short) for name, value in kept.items()}
    created_at = _number(record, "created_at")
    return Token(
        digest=digest,
        id=id_of(digest, record.get("id")),
        hosts=hosts_of(record.get("hosts", "")),
        email=record.get("email", ""),
        comment=record.get("comment", ""),
        created_at=created_at,
        expires_at=expires_at,
        enabled=record.get("enabled", "1") == "1",
        not_before=_number(record, "not_before"),
        rate_limit_max=_number(record, "rate_limit_max"),
        rate_limit_window_s=_number(record, "rate_limit_window_sec"),
        first_used_at=_not_before(created_at, _number(record, "first_used_at")),
        last_used_at=_not_before(created_at, _number(record, "last_used_at")),
        fault=None if is_short and _makes_sense(record) else Fault.FIELDS,
    )


def unreadable(digest: str, expires_at: int | None = None) -> Token:
    """Return what stands for a key under *digest* that holds no record."""
    return Token(digest=digest, id=inherited_id(digest), hosts=(), expires_at=expires_at, fault=Fault.KEY)


def moved_to(digest: str, values: Any) -> str | None:
    """Return the digest to which the record of *digest* moved, that holds *values*; None if it did not."""
    text = None if isinstance(values, Exception) else values[FIELDS.index("moved_to")]
    return where(digest, text.decode(errors="replace")) if text is not None else None


def where(digest: str, text: str | None) -> str | None:
    """Return the digest that a record under *digest* names by *text* as its new place, if it is one."""
    return text if text and DIGEST.fullmatch(text) and text != digest else None


def id_of(digest: str, kept: str | None) -> str:
    """Return the id that a record keeps, or the one that a record without a proper one goes by."""
    return kept if kept and TOKEN_ID.fullmatch(kept) else inherited_id(digest)


def hosts_of(kept: str) -> tuple[str, ...]:
    """Return the patterns that a record keeps; an older deployment stored lists as they were typed."""
    return tuple(filter(None, map(str.strip, kept.lower().split(","))))


def _text(value: bytes, *, cut: bool) -> str:
    """Return a value as text; if it is to be cut, what fits into a record with all others, up to a comma."""
    if not cut or len(value) <= _CUT_BYTES:
        return value.decode(errors="replace")
    return value[:_CUT_BYTES].decode(errors="replace").rpartition(",")[0]


def _makes_sense(record: Mapping[str, str]) -> bool:
    """Tell whether take.lua can decide with a record that is short enough."""
    numbers = {name: _number(record, name) for name in _DECIDING if name in record}
    return any(name in record for name in _TELLING) and all(
        number is not None and number >= _DECIDING[name] for name, number in numbers.items()
    )


def _digits(number: int | None) -> str:
    return "" if number is None else str(number)


def _number(record: Mapping[str, str], name: str) -> int | None:
    text = record.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None


def _not_before(created_at: int | None, used_at: int | None) -> int | None:
    """Return a minute of use, but not before the token was made: in its first minute, or by another clock."""
    return used_at if used_at is None or created_at is None else max(used_at, created_at)
