"""A token and the hash that keeps it, both directions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.core.limits import Limit
from app.core.tokens import Token, TokenSpec, inherited_id

FIELDS = (
    "hosts",
    "email",
    "comment",
    "id",
    "created_at",
    "enabled",
    "rate_limit_max",
    "rate_limit_window_sec",
)


def to_fields(spec: TokenSpec, token_id: str, created_at: int) -> dict[str, str]:
    """Return the fields of a new record; what is empty is not stored."""
    fields = {
        "hosts": ",".join(spec.hosts),
        "email": spec.email,
        "comment": spec.comment,
        "id": token_id,
        "created_at": str(created_at),
    }
    return {name: value for name, value in fields.items() if value}


def from_spec(digest: str, token_id: str, created_at: int, spec: TokenSpec) -> Token:
    """Return the token that to_fields has just described."""
    expires_at = created_at + spec.ttl_s if spec.ttl_s else None
    return Token(
        digest,
        token_id,
        spec.hosts,
        spec.email,
        spec.comment,
        created_at,
        expires_at,
        enabled=True,
        limit=spec.limit,
    )


def from_fields(digest: str, values: Sequence[bytes | None], expires_at: int | None) -> Token | None:
    """Return the token whose record holds *values*, in the order of FIELDS; None if all are missing."""
    record = {
        name: value.decode(errors="replace")
        for name, value in zip(FIELDS, values, strict=True)
        if value is not None
    }
    if not record:
        return None
    created_at = record.get("created_at", "")
    return Token(
        digest=digest,
        id=record.get("id") or inherited_id(digest),
        hosts=tuple(filter(None, map(str.strip, record.get("hosts", "").lower().split(",")))),
        email=record.get("email", ""),
        comment=record.get("comment", ""),
        created_at=int(created_at) if created_at.isdecimal() else None,
        expires_at=expires_at,
        enabled=record.get("enabled", "1") == "1",
        limit=_limit(record),
    )


def _limit(record: Mapping[str, str]) -> Limit | None:
    most, window_s = record.get("rate_limit_max", ""), record.get("rate_limit_window_sec", "")
    return Limit(int(most), int(window_s)) if most.isdecimal() and window_s.isdecimal() else None
