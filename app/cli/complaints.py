"""What commands print, and exit with, when something was refused or failed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from io import UnsupportedOperation
from traceback import extract_tb

import click
from click.exceptions import Exit

from app.core.errors import (
    BusyError,
    ConflictError,
    ManagedError,
    NoSuchTokenError,
    StoreUnavailableError,
    UnknownOutcomeError,
)
from app.core.fields import ClashingFieldsError, InvalidFieldsError
from app.core.search import InvalidQueryError
from app.core.text import visible


class Code(IntEnum):
    """The exit codes; docs/cli.md says what they mean."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    NO_SUCH_TOKEN = 3
    CONFLICT = 4
    UNAVAILABLE = 5
    UNKNOWN_OUTCOME = 6
    INTERRUPTED = 130  # as of any program that SIGINT ends
    CLOSED_PIPE = 141  # likewise SIGPIPE


# The first that an error is an instance of; what follows its text.
_ERRORS: tuple[tuple[type[Exception], Code, str], ...] = (
    (
        UnknownOutcomeError,
        Code.UNKNOWN_OUTCOME,
        ". The change may have been made; check before you continue.",
    ),
    (StoreUnavailableError, Code.UNAVAILABLE, ". Nothing was changed."),
    (NoSuchTokenError, Code.NO_SUCH_TOKEN, ""),
    (ManagedError, Code.CONFLICT, ". If its secret has leaked, tokens disable --force stops it at once."),
    (ConflictError, Code.CONFLICT, ""),
    (BusyError, Code.CONFLICT, ""),
    (ClashingFieldsError, Code.CONFLICT, ""),
    (InvalidFieldsError, Code.REFUSED, ""),
    (InvalidQueryError, Code.REFUSED, ""),
)
EXPECTED = tuple(kind for kind, _, _ in _ERRORS)


def report(error: Exception, place: str = "") -> Code:
    """Print one of the EXPECTED errors, and where it happened, on standard error; return its exit code."""
    _, code, more = next(known for known in _ERRORS if isinstance(error, known[0]))
    _print(f"{place}{error}{more}")
    return code


def _print(message: str) -> None:
    click.echo(f"Error: {visible(message)}", err=True)


@contextmanager
def complaints() -> Iterator[None]:
    """Let every error end the command with one line at most, and without a traceback."""
    try:
        yield
    except EXPECTED as error:
        raise Exit(report(error)) from None
    except click.UsageError as error:
        raise click.UsageError(visible(error.format_message()), error.ctx) from None
    except (click.ClickException, Exit, click.Abort, EOFError):
        raise
    except KeyboardInterrupt:
        raise Exit(Code.INTERRUPTED) from None
    except BrokenPipeError:
        _discard_output()
        raise Exit(Code.CLOSED_PIPE) from None
    except OSError as error:
        _discard_output()
        _print(f"{error.filename or 'output'}: {error.strerror or error}")
        raise Exit(Code.REFUSED) from None
    except Exception as error:  # noqa: BLE001 - whoever runs a command can do nothing with a traceback
        place = extract_tb(error.__traceback__)[-1]
        _print(f"a bug, please report it: {error!r} at {place.filename}:{place.lineno}")
        raise Exit(Code.REFUSED) from None


def _discard_output() -> None:
    """Let nothing more be written, so that Python does not fail again when it exits."""
    with suppress(UnsupportedOperation), open(os.devnull, "wb") as nothing:  # noqa: PTH123 - no path of ours
        os.dup2(nothing.fileno(), sys.stdout.fileno())
