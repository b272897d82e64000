"""Errors that explain why a requested action was not carried out."""

from __future__ import annotations


class StoreUnavailableError(Exception):
    """Redis did not answer in time, or refused; nothing was changed."""


class UnknownOutcomeError(StoreUnavailableError):
    """Redis did not answer in time, so the change may or may not have been made."""


class NoSuchTokenError(LookupError):
    """No token has that id, digest or secret; *digest* is that of the one that had it last, "" if unknown."""

    def __init__(self, message: str, digest: str = "") -> None:
        super().__init__(message)
        self.digest = digest


class AlreadyIssuedError(Exception):
    """The request was sent before with its idempotency key; nothing was changed.

    *token_id* is that of the token whose secret can't be shown again, "" while the other request is not done.
    """

    def __init__(self, message: str, token_id: str = "") -> None:
        super().__init__(message)
        self.token_id = token_id


class ReusedKeyError(AlreadyIssuedError):
    """The idempotency key was used for another request; nothing was changed."""


class PreconditionFailedError(Exception):
    """The token is not as the change requires, because another change came first; nothing was changed."""


class TooManyRotationsError(Exception):
    """The holder of the token rotated it too often; nothing was changed."""


class ConflictError(Exception):
    """The token is not in the state that the change requires; nothing was changed."""


class ManagedError(ConflictError):
    """A file manages the token; nothing was changed."""


class BusyError(Exception):
    """Another process makes the same kind of change; nothing was changed."""
