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
        id=id_of(digest, values[FIELDS.index("id")]),
        hosts=tuple(filter(None, map(str.strip, record.get("hosts", "").lower().split(",")))),
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


def id_of(digest: str, kept: bytes | None) -> str:
    """Return the id that a record keeps, or the one that a record without a proper one goes by."""
    text = (kept or b"").decode(errors="replace")
    return text if TOKEN_ID.fullmatch(text) else inherited_id(digest)


def _digits(number: int | None) -> str:
    return "" if number is None else str(number)


def _number(record: Mapping[str, str], name: str) -> int | None:
    text = record.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None
