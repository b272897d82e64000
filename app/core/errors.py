"""Why something that an operator or a client asked for was not done."""

from __future__ import annotations


class StoreUnavailableError(Exception):
    """Redis did not answer in time, or refused; nothing was changed."""


class UnknownOutcomeError(StoreUnavailableError):
    """Redis did not answer in time; whether it made the change is not known."""


class NoSuchTokenError(LookupError):
    """No token has that id, digest or text."""


class AlreadyIssuedError(Exception):
    """That form was sent before; the text of a token that it made can't be shown again."""


class ConflictError(Exception):
    """The token is not in the state that the change needs; nothing was changed."""
