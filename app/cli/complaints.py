"""What commands print, and exit with, when something was refused or failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from app.core.declared import InvalidFileError
from app.core.errors import (
    BusyError,
    ConflictError,
    NoSuchTokenError,
    StoreUnavailableError,
    UnknownOutcomeError,
)
from app.core.fields import InvalidFieldsError
from app.core.search import InvalidQueryError
from app.core.text import visible


@contextmanager
def complaints() -> Iterator[None]:
    """Turn the errors of the core into one line on standard error and an exit code."""
    try:
        yield
    except (InvalidFieldsError, InvalidQueryError, NoSuchTokenError, ConflictError, BusyError) as error:
        raise _complaint(str(error)) from None
    except InvalidFileError as error:
        lines = ["the file can't be used; nothing was changed:", *str(error).splitlines()]
        raise click.ClickException("\n  ".join(map(visible, lines))) from None
    except UnknownOutcomeError as error:
        raise _complaint(f"{error}. The change may have been made; check before you continue.") from None
    except StoreUnavailableError as error:
        raise _complaint(f"{error}. Nothing was changed.") from None


def _complaint(message: str) -> click.ClickException:
    return click.ClickException(visible(message))
