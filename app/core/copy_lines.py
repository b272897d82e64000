"""The lines of an export: JSON objects, the first of which describes the file (docs/decisions/0029)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from app.core.copies import Columns, Copy, RedirectCopy, TokenCopy, UsageCopy
from app.core.ended import EndedToken
from app.core.fields import FIELDS, KEPT
from app.core.moments import rfc3339
from app.core.quotas import Count
from app.core.usage import Counts

FORMAT, FORMAT_VERSION = "acl-auth-service tokens", 1
TIMES = ("created_at", "expires_at", "first_used_at", "last_used_at")
HOUR_S = 3600

_encode = json.JSONEncoder(separators=(",", ":")).encode
_moment = lru_cache(4096)(rfc3339)


def header(fingerprints: Sequence[str], now_s: int, service_version: str) -> str:
    """Return the first line; *fingerprints* are those of the peppers of the tokens."""
    return _line(
        {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "exported_at": _moment(now_s),
            "service_version": service_version,
            "peppers": list(fingerprints),
        }
    )


def line(copy: Copy) -> str:
    """Return the line of *copy*."""
    match copy:
        case TokenCopy():
            return _line(_of_token(copy))
        case RedirectCopy():
            return _line(_of_redirect(copy))
        case _:
            return _line(_of_ended(copy))


def breaks_rules(name: str, value: Any) -> bool:
    """Return whether no operator could give the field *name* this value."""
    return _breaks_rules(name, value) if value else False


@lru_cache(4096)
def _breaks_rules(name: str, value: Any) -> bool:
    kind = FIELDS[name].kind
    try:
        return bool(kind.parse(kind.format(value)) != value)
    except ValueError:
        return True


def _line(members: dict[str, Any]) -> str:
    return _encode(members) + "\n"


def _of_token(copy: TokenCopy) -> dict[str, Any]:
    token = copy.token
    used, usage = token.quota_used, copy.usage
    return {
        "kind": "token",
        "id": token.id,
        "sha256": token.digest,
        **{field.name: field.kind.to_json(getattr(token, field.name)) for field in KEPT},
        "enabled": token.enabled,
        **{name: _moment(getattr(token, name)) or None for name in TIMES},
        **({"quota_used": _of_count(used)} if used else {}),
        **({"usage": _of_usage(usage)} if usage else {}),
        **copy.labels,
        **({"stored": dict(copy.stored)} if copy.stored else {}),
    }


def _of_count(used: Count) -> dict[str, Any]:
    return {
        "starts_at": _moment(used.starts_at),
        "ends_at": _moment(used.ends_at),
        "admitted": used.admitted,
    }


def _of_usage(usage: UsageCopy) -> dict[str, Any]:
    return {
        "until": _moment(usage.until_hour * HOUR_S),
        "hours": dict(_of_columns(usage.hours)),
        "days": dict(_of_columns(usage.days)),
    }


def _of_columns(columns: Columns) -> Iterator[tuple[str, list[int]]]:
    """Yield the columns that are not all zeros, each from its first count on."""
    for name, column in zip(Counts._fields, columns, strict=True):
        if any(column):
            first = next(number for number, count in enumerate(column) if count)
            yield name, list(column[first:])


def _of_redirect(copy: RedirectCopy) -> dict[str, Any]:
    members: dict[str, Any] = {
        "kind": "redirect",
        "id": copy.id,
        "sha256": copy.digest,
        "moved_to": copy.moved_to,
    }
    if ended := copy.replaced:
        members |= {"hosts": list(ended.hosts), "email": ended.email, "comment": ended.comment}
        members |= {"status": ended.ending}
    return members | {"expires_at": _moment(copy.expires_at) or None}


def _of_ended(ended: EndedToken) -> dict[str, Any]:
    return {"kind": "ended", **ended.described()}
