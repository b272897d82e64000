"""A token and the hash that keeps it, both directions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.core.tokens import TOKEN_ID, Token, TokenSpec, inherited_id

_MAX_DIGITS = 12

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
)

# A record that has none of these is no token.
TELLING = ("id", "hosts", "email", "comment")


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


def from_fields(digest: str, values: Sequence[bytes | None], expires_at: int | None) -> Token | None:
    """Return the token whose record holds *values*, in the order of FIELDS; None if all are missing."""
    record = {
        name: value.decode(errors="replace")
        for name, value in zip(FIELDS, values, strict=True)
        if value is not None
    }
    if not record:
        return None
    return Token(
        digest=digest,
        id=id_of(digest, record.get("id")),
        hosts=hosts_of(record.get("hosts", "")),
        email=record.get("email", ""),
        comment=record.get("comment", ""),
        created_at=_number(record, "created_at"),
        expires_at=expires_at,
        enabled=record.get("enabled", "1") == "1",
        not_before=_number(record, "not_before"),
        rate_limit_max=_number(record, "rate_limit_max"),
        rate_limit_window_s=_number(record, "rate_limit_window_sec"),
        first_used_at=_number(record, "first_used_at"),
        last_used_at=_number(record, "last_used_at"),
    )


def is_token(values: Sequence[str | None]) -> bool:
    """Tell whether the record that holds *values*, TELLING among them, is a token's."""
    return any(value is not None for value in values)


def id_of(digest: str, kept: str | None) -> str:
    """Return the id that a record keeps, or the one that a record without a proper one goes by."""
    return kept if kept and TOKEN_ID.fullmatch(kept) else inherited_id(digest)


def hosts_of(kept: str) -> tuple[str, ...]:
    """Return the patterns that a record keeps; an older deployment stored lists as they were typed."""
    return tuple(filter(None, map(str.strip, kept.lower().split(","))))


def _digits(number: int | None) -> str:
    return "" if number is None else str(number)


def _number(record: Mapping[str, str], name: str) -> int | None:
    text = record.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None
