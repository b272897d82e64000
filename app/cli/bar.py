"""A bar that shows how far an export or an import is, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def progress(length: int, label: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that moves the bar on standard error by so many of *length* steps."""
    is_shown = length > 0 and sys.stderr is not None and sys.stderr.isatty()
    if not is_shown:
        yield lambda _: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield bar.update
