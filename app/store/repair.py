"""Repair keys that other programs replaced by keys of another type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import redis

from app.store.transport.deadlines import is_wrong_type

_T = TypeVar("_T")


def repaired(call: Callable[[], _T], repair: Callable[[], None]) -> _T:
    """Return the result of *call*, which is repeated after *repair* if its key has another type."""
    try:
        return call()
    except redis.ResponseError as error:
        if not is_wrong_type(error):
            raise
    repair()
    return call()
