"""Several servers asked the same thing at once, so that one which does not answer costs no time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import gevent

T = TypeVar("T")


def at_once(asks: Sequence[Callable[[], T]]) -> Iterator[T | Exception]:
    """Yield what comes of *asks* as it comes, trouble included; drop the rest when nobody listens."""
    jobs: list[Any] = [gevent.spawn(_outcome, ask) for ask in asks]
    try:
        for job in gevent.iwait(jobs):
            yield job.value
    finally:
        gevent.killall(jobs, block=False)


def _outcome(ask: Callable[[], T]) -> T | Exception:
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - it is raised, or not, by whoever listens
        return error
