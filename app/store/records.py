"""A token and the hash that keeps it, both directions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.core.fields import KEPT, TokenSpec
from app.core.kinds import Moment, Number, kept_number
from app.core.restrictions import RESTRICTIONS
from app.core.tokens import DIGEST, TOKEN_ID, Fault, Token, inherited_id

_MAX_BYTES = 65_536
_CUT_BYTES = 4096
_LEFT_CHARS = 100
# What PEXPIRETIME says if there is no such key.
NO_KEY = -2

FIELDS = (
    *(field.name for field in KEPT),
    "id",
    "created_at",
    "enabled",
    "first_used_at",
    "last_used_at",
    "moved_to",
)

# take.lua finds no token in a record without any of these, and reads no record in which they are longer.
IDENTIFYING = ("id", "email", "comment", *(restriction.field for restriction in RESTRICTIONS))
# take.lua refuses to decide with another value than a number, or with one below its bound.
DECIDING = {field.name: field.kind.low for field in KEPT if isinstance(field.kind, Number | Moment)}


def to_fields(spec: TokenSpec) -> dict[str, str]:
    """Return the fields that an operator decides on; an empty value is not stored."""
    return {field.name: field.kind.to_record(getattr(spec, field.name)) for field in KEPT}


def from_fields(digest: str, values: Sequence[bytes | None], expires_at: int | None) -> Token:
    """Return the token whose record holds *values*, in the order of FIELDS."""
    kept = {name: value for name, value in zip(FIELDS, values, strict=True) if value is not None}
    if "moved_to" in kept:
        return unreadable(digest, expires_at)
    is_short = sum(len(kept.get(name, b"")) for name in IDENTIFYING) <= _MAX_BYTES
    is_cut = sum(map(len, kept.values())) > _MAX_BYTES
    record = {name: _text(value, cut=is_cut) for name, value in kept.items()}
    created_at = _number(record, "created_at")
    return Token(
        **{field.name: field.kind.from_record(record.get(field.name, "")) for field in KEPT},
        digest=digest,
        id=id_of(digest, record.get("id")),
        created_at=created_at,
        expires_at=expires_at,
        enabled=record.get("enabled", "1") == "1",
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


def _text(value: bytes, *, cut: bool) -> str:
    """Return a value as text; if it is to be cut, what fits into a record with all others, up to a comma.

    Something remains of every value, because a list that is empty restricts nothing.
    """
    if not cut or len(value) <= _CUT_BYTES:
        return value.decode(errors="replace")
    start = value[:_CUT_BYTES].decode(errors="replace")
    return start.rpartition(",")[0] or start[:_LEFT_CHARS]


def _makes_sense(record: Mapping[str, str]) -> bool:
    """Return whether take.lua can decide with a record that is short enough."""
    numbers = {name: _number(record, name) for name in DECIDING if name in record}
    return any(name in record for name in IDENTIFYING) and all(
        number is not None and number >= DECIDING[name] for name, number in numbers.items()
    )


def _number(record: Mapping[str, str], name: str) -> int | None:
    return kept_number(record.get(name, ""))


def _not_before(created_at: int | None, used_at: int | None) -> int | None:
    """Return a minute of use, but not before the token was made: in its first minute, or by another clock."""
    return used_at if used_at is None or created_at is None else max(used_at, created_at)
