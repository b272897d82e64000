"""Why something that an operator or a client asked for was not done."""

from __future__ import annotations


class StoreUnavailableError(Exception):
    """Redis did not answer in time, or refused; nothing was changed."""


class UnknownOutcomeError(StoreUnavailableError):
    """Redis did not answer in time, so that the change may or may not have been made."""


class NoSuchTokenError(LookupError):
    """No token has that id, digest or secret."""


class AlreadyIssuedError(Exception):
    """That idempotency key was used before; the secret of the token that it made can't be shown again."""


class ConflictError(Exception):
    """The token is not in the state that the change requires; nothing was changed."""
