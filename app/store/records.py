"""Convert a token to the hash that stores it, and back (docs/decisions/0021)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from app.core.audit import RECORDED
from app.core.declared import KEY
from app.core.fields import KEPT, TokenSpec
from app.core.kinds import Moment, Number, kept_number
from app.core.listing import State
from app.core.quotas import PERIODS, Count
from app.core.restrictions import RESTRICTIONS
from app.core.tokens import DIGEST, TOKEN_ID, Fault, Token, inherited_id

_MAX_BYTES = 65_536
_CUT_BYTES = 4096
_COUNT = re.compile("([0-9]{1,12}) ([0-9]{1,12}) ([0-9]{1,13})", re.ASCII)
_LEFT_CHARS = 100
# The reply of PEXPIRETIME if the key does not exist.
NO_KEY = -2

FIELDS = (
    *(field.name for field in KEPT),
    "id",
    "created_at",
    "enabled",
    "first_used_at",
    "last_used_at",
    "moved_to",
    "moved_id",
    "quota_used",
    "managed",
)

# What an operator can change, besides the expiry.
STATED = tuple(name for name in RECORDED if name in FIELDS)
# take.lua finds no token in a record without any of these, and reads no record in which they are longer.
IDENTIFYING = ("id", "email", "comment", *(restriction.field for restriction in RESTRICTIONS))
# take.lua refuses to decide if one of these is not a number, or is below its bound.
DECIDING = {field.name: field.kind for field in KEPT if isinstance(field.kind, Number | Moment)}

# The state of a token depends on these, its expiry and the size of IDENTIFYING; many have the same _DECIDING.
_DECIDING = ("enabled", "moved_to", *DECIDING, "quota_period", "quota_used")
STATE = ("id", "moved_to", "created_at", "last_used_at", *_DECIDING)


def to_fields(spec: TokenSpec) -> dict[str, str]:
    """Return the stored form of the fields that an operator sets; an empty value is not stored."""
    return {field.name: field.kind.to_record(getattr(spec, field.name)) for field in KEPT}


def new(token: Token) -> dict[str, str]:
    """Return everything that is stored of a new token."""
    fields = to_fields(token) | {"id": token.id, "created_at": str(token.created_at)}
    fields |= marks(enabled=token.enabled, managed=token.managed)
    return {name: value for name, value in fields.items() if value}


def marks(*, enabled: bool | None = None, managed: str | None = None) -> dict[str, str]:
    """Return the stored form of what is not None; an empty value is not stored."""
    switched = {} if enabled is None else {"enabled": "" if enabled else "0"}
    return switched | ({} if managed is None else {"managed": managed})


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
        quota_used=_count(record),
        managed=_key(record.get("managed", "")),
        fault=None if is_short and _is_valid(record) else Fault.FIELDS,
    )


def state(digest: str, expires_ms: str, size: str, values: Sequence[str]) -> tuple[str, State] | None:
    """Return the id and the state of the token of *digest*, None if it has no record or has moved.

    *values* are those of STATE, each after "=", or "" if it is missing. *size* is that of IDENTIFYING, "" if
    all of them are missing, and "-" for a key that holds no record.
    """
    stored_id, moved, created, used, *deciding = values
    if expires_ms == str(NO_KEY) or where(digest, moved[1:]):
        return None
    is_short = size.isdigit() and int(size) <= _MAX_BYTES
    fault, enabled, not_before = _decided(tuple(deciding), has_record=size != "-", is_short=is_short)
    created_at = kept_number(created[1:])
    return id_of(digest, stored_id[1:]), State(
        fault,
        enabled,
        not_before,
        expires_at=int(expires_ms) // 1000 if len(expires_ms) > len("-1") else None,
        created_at=created_at,
        last_used_at=_not_before(created_at, kept_number(used[1:])),
    )


@lru_cache(maxsize=1024)
def _decided(
    values: Sequence[str], *, has_record: bool, is_short: bool
) -> tuple[Fault | None, bool, int | None]:
    """Return the fault, whether it is enabled, and the start of a token with these *values* of _DECIDING."""
    record = {name: value[1:] for name, value in zip(_DECIDING, values, strict=True) if value}
    enabled, not_before = record.get("enabled", "1") == "1", _number(record, "not_before")
    if not has_record or "moved_to" in record:
        return Fault.KEY, enabled, not_before
    return None if is_short and _can_decide(record) else Fault.FIELDS, enabled, not_before


def unreadable(digest: str, expires_at: int | None = None) -> Token:
    """Return a token that stands for a key under *digest* that holds no record."""
    return Token(digest=digest, id=inherited_id(digest), hosts=(), expires_at=expires_at, fault=Fault.KEY)


def moved_to(digest: str, values: Any) -> str | None:
    """Return the digest to which the record of *digest*, with these *values*, has moved; else None."""
    text = None if isinstance(values, Exception) else values[FIELDS.index("moved_to")]
    return where(digest, text.decode(errors="replace")) if text is not None else None


def moved_id(values: Any) -> str | None:
    """Return the id of the token whose redirect has these *values*, None if it does not tell."""
    text = values[FIELDS.index("moved_id")]
    return text.decode(errors="replace") if text is not None else None


def where(digest: str, text: str | None) -> str | None:
    """Return *text* if it is a valid redirect of the record under *digest*, else None."""
    return text if text and DIGEST.fullmatch(text) and text != digest else None


def stated(values: Any, expires_ms: int) -> str:
    """Return what trail.lua compares of a record with these *values* of FIELDS and this expiry, in hex."""
    kept = {} if isinstance(values, Exception) else dict(zip(FIELDS, values, strict=True))
    texts = [kept.get(name) or b"" for name in STATED]
    return b",".join([b"%d" % expires_ms, *(b"%d:%b" % (len(text), text) for text in texts)]).hex()


def id_of(digest: str, kept: str | None) -> str:
    """Return the stored id *kept* if it is valid, else the id derived from *digest*."""
    return kept if kept and TOKEN_ID.fullmatch(kept) else inherited_id(digest)


def _text(value: bytes, *, cut: bool) -> str:
    """Return *value* as text; if *cut* is set, at most _CUT_BYTES of it, up to a comma.

    Something remains of every value, because a list that is empty restricts nothing.
    """
    if not cut or len(value) <= _CUT_BYTES:
        return value.decode(errors="replace")
    start = value[:_CUT_BYTES].decode(errors="replace")
    return start.rpartition(",")[0] or start[:_LEFT_CHARS]


def _key(kept: str) -> str:
    """Return the stored key of a managed token, "" for anything that no file can declare."""
    return kept if KEY.fullmatch(kept) else ""


def _is_valid(record: Mapping[str, str]) -> bool:
    """Return whether take.lua finds a token in a record that is short enough, and can decide on it."""
    return any(name in record for name in IDENTIFYING) and _can_decide(record)


def _can_decide(record: Mapping[str, str]) -> bool:
    """Return whether what take.lua compares and counts is valid."""
    numbers = {name: kind.from_record(record[name]) for name, kind in DECIDING.items() if name in record}
    return all(number is not None and number >= DECIDING[name].low for name, number in numbers.items()) and (
        not numbers.get("quota_max") or _can_be_counted(record)
    )


def _can_be_counted(record: Mapping[str, str]) -> bool:
    """Return whether take.lua can count requests against the quota in a record."""
    is_counted = "quota_used" in record
    return record.get("quota_period") in PERIODS and (not is_counted or _count(record) is not None)


def _count(record: Mapping[str, str]) -> Count | None:
    """Return the count of a quota, which take.lua keeps as the bounds of the period and the requests."""
    numbers = _COUNT.fullmatch(record.get("quota_used", ""))
    return Count(*map(int, numbers.groups())) if numbers else None


def _number(record: Mapping[str, str], name: str) -> int | None:
    return kept_number(record.get(name, ""))


def _not_before(created_at: int | None, used_at: int | None) -> int | None:
    """Return a time of use, raised to the creation if that is later: rounding or another clock causes it."""
    return used_at if used_at is None or created_at is None else max(used_at, created_at)
