"""The end of a token that is given more time."""

from __future__ import annotations

from app.core import moments
from app.core.errors import ConflictError
from app.core.fields import InvalidFieldsError
from app.core.tokens import Token


def extended_by(token: Token, span_s: int, now_s: int) -> str:
    """Return, as it is typed, the moment *span_s* after the end of *token*, or after now if that is later.

    Raises ConflictError if the token has no end.
    """
    return moments.rfc3339(max(now_s, _end(token)) + span_s)


def extended_to(token: Token, typed: str) -> str:
    """Return *typed* if it is a moment after the end of *token*.

    Raises ConflictError if the token has no end or a later one, and InvalidFieldsError.
    """
    end = _end(token)
    try:
        wanted = moments.parse(typed.strip())
    except ValueError as error:
        raise InvalidFieldsError({"expires_at": str(error)}) from None
    if wanted < end:
        raise ConflictError(
            f"this token ends later than that already, on {moments.rfc3339(end)}; "
            "an edit of expires_at can shorten its life"
        )
    return typed


def _end(token: Token) -> int:
    if token.expires_at is None:
        raise ConflictError("this token has no end, so there is nothing to extend")
    return token.expires_at
