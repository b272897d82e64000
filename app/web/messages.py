"""Messages for changes that Redis did not make, or may not have made (docs/decisions/0010)."""

from __future__ import annotations

import logging
from functools import cache

from app.core.durability import WARNINGS, Durability
from app.core.errors import StoreUnavailableError, UnknownOutcomeError

log = logging.getLogger(__name__)

_UNDONE = {
    "create_token": "No token was created.",
    "edit_token": "Nothing was changed.",
    "disable_token": "The token was not disabled: requests with it are still allowed.",
    "enable_token": "The token was not enabled.",
    "extend_token": "The token was not extended.",
    "rotate_token": "The token was not rotated: it has its old secret.",
    "delete_token": "The token was not deleted: requests with it are still allowed.",
    "try_token": "Nothing was decided.",
    "bulk_tokens": "No token was changed.",
    "rotate_self": "The token was not rotated: it has the secret that you sent.",
    "end_self": "The secret was not ended: requests with it are still allowed.",
}
_UNKNOWN = {
    "create_token": "Whether the token was created is not known. If it is in the table, delete it: "
    "its secret is lost.",
    "edit_token": "Whether the token was changed is not known. Look at it before you rely on it.",
    "disable_token": "Whether the token was disabled is not known. Disable it again to be sure.",
    "enable_token": "Whether the token was enabled is not known. Enable it again to be sure.",
    "extend_token": "Whether the token was extended is not known. Look at its end before you try again.",
    "rotate_token": "Whether the token was rotated is not known. Rotate it again: a new secret is lost.",
    "delete_token": "Whether the token was deleted is not known. Delete it again to be sure.",
    "bulk_tokens": "Whether the first token was changed is not known; no other one was. "
    "Do it again to be sure.",
    "rotate_self": "Whether the token was rotated is not known. If GET /self refuses your secret, or shows "
    "that it was replaced, the new one is lost, and only the operator can rotate the token.",
    "end_self": "Whether the secret was ended is not known. Send the request again to be sure.",
}


def why(error: StoreUnavailableError, endpoint: str | None) -> str:
    """Return which change *endpoint* did not make, or may not have made, and why; log the error."""
    effect = logged_effect(error, endpoint)
    return f"{effect} {error}." + (
        "" if isinstance(error, UnknownOutcomeError) else " Try again in a moment."
    )


def logged_effect(error: StoreUnavailableError, endpoint: str | None) -> str:
    """Return which change *endpoint* did not make, or may not have made; log the error."""
    log.warning("no page, redis unavailable: %(error)s page=%(page)s", {"error": error, "page": endpoint})
    view = (endpoint or "").rpartition(".")[2]
    if isinstance(error, UnknownOutcomeError):
        return _UNKNOWN.get(view, "Whether it was done is not known.")
    return _UNDONE.get(view, "Nothing can be shown or changed.")


def log_durability(durability: Durability) -> None:
    """Log that a crash of Redis may undo a change; what holds for every change is logged once per process."""
    if durability is Durability.UNCONFIRMED:
        log.warning(WARNINGS[durability])
    elif durability in WARNINGS:
        _log_once(durability)


@cache
def _log_once(durability: Durability) -> None:
    log.warning(WARNINGS[durability])
