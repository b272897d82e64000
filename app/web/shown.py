"""What programs receive: a token in JSON, the outcome of a change, and the errors of the core as problems.

See docs/decisions/0015.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from app.core.changes import Change
from app.core.errors import ConflictError, NoSuchTokenError, StoreUnavailableError
from app.core.fields import ClashingFieldsError, InvalidFieldsError
from app.web.messages import log_durability, why
from app.web.problems import problem

Shown = dict[str, Any]
Answer = tuple[Shown | str, int, dict[str, str]]


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
