"""What programs receive: a token in JSON, the outcome of a change, and the errors of the core as problems.

See docs/decisions/0015.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from app.core.changes import Change
from app.core.errors import ConflictError, NoSuchTokenError, StoreUnavailableError
from app.core.fields import FIELDS, ClashingFieldsError, InvalidFieldsError
from app.core.kinds import Moment
from app.core.moments import rfc3339
from app.core.tokens import Token
from app.core.usage import Period, Usage, days, hours, total
from app.web.messages import log_durability, why
from app.web.problems import problem

Shown = dict[str, Any]
Answer = tuple[Shown | str, int, dict[str, str]]

_MOMENTS = (
    *(field.name for field in FIELDS.values() if isinstance(field.kind, Moment)),
    *("created_at", "first_used_at", "last_used_at"),
)


def shown(token: Token, now_s: int) -> Shown:
    """Return *token* as JSON has it."""
    described = token.described(now_s)
    moments = {name: rfc3339(described[name]) or None for name in _MOMENTS}
    return described | moments | {"enabled": token.enabled}


def shown_quota(token: Token, now_s: int) -> Shown | None:
    """Return the quota of *token* and what is left of it, None if it has none."""
    quota = token.quota(now_s)
    return quota.described() | {"resets_at": rfc3339(quota.resets_at)} if quota else None


def shown_usage(usage: Usage, now_s: int) -> Shown:
    """Return *usage*, which was read at *now_s*, as sums and by hour and day, oldest first."""
    return {
        "last_24_hours": total(usage.hours[-24:])._asdict(),
        "last_90_days": total(usage.days)._asdict(),
        "hours": [_shown_period(hour) for hour in hours(usage, now_s)],
        "days": [_shown_period(day) for day in days(usage, now_s)],
    }


def _shown_period(period: Period) -> Shown:
    counts = period.counts
    return {"start": rfc3339(period.start), "refused": counts.refused, **counts._asdict()}


def durability_of(change: Change) -> dict[str, str]:
    """Return the header that tells whether *change* is on disk, and log it."""
    log_durability(change.durability)
    return {"X-Durability": change.durability.value}


def answer_with_problems(bp: Blueprint) -> None:
    """Answer the errors that the core raises in the views of *bp* with problems."""
    bp.register_error_handler(InvalidFieldsError, _show_invalid)
    bp.register_error_handler(ClashingFieldsError, _show_clash)
    bp.register_error_handler(NoSuchTokenError, _show_missing)
    bp.register_error_handler(ConflictError, _show_conflict)
    bp.register_error_handler(StoreUnavailableError, _show_unavailable)


def _show_invalid(error: InvalidFieldsError) -> Response:
    return problem(400, str(error), errors=error.problems)


def _show_clash(error: ClashingFieldsError) -> Response:
    return problem(409, str(error), errors=error.problems)


def _show_missing(error: NoSuchTokenError) -> Response:
    return problem(404, str(error))


def _show_conflict(error: ConflictError) -> Response:
    return problem(409, str(error))


def _show_unavailable(error: StoreUnavailableError) -> Response:
    return problem(503, why(error, request.endpoint), {"Retry-After": "1"})
