"""Errors that explain why a requested action was not carried out."""

from __future__ import annotations


class StoreUnavailableError(Exception):
    """Redis did not answer in time, or refused; nothing was changed."""


class UnknownOutcomeError(StoreUnavailableError):
    """Redis did not answer in time, so the change may or may not have been made."""


class NoSuchTokenError(LookupError):
    """No token has that id, digest or secret."""


class AlreadyIssuedError(Exception):
    """The idempotency key was used before; the secret of the token created then can't be shown again."""


class TooManyRotationsError(Exception):
    """The holder of the token rotated it too often; nothing was changed."""


class ConflictError(Exception):
    """The token is not in the state that the change requires; nothing was changed."""


class BusyError(Exception):
    """Another process makes the same kind of change; nothing was changed."""
