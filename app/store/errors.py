"""The one place where trouble with Redis becomes StoreUnavailableError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import gevent
import redis

from app.core.registry import StoreUnavailableError

_SPARED_S = 0.25


@contextmanager
def bounded(deadline_s: float) -> Iterator[None]:
    """Give everything inside *deadline_s* seconds in all: waiting, connecting, sending, reading.

    Raises StoreUnavailableError for a deadline missed and for whatever Redis refuses. gevent.Timeout
    is no Exception, so it is named here.
    """
    try:
        with gevent.Timeout(deadline_s):
            yield
    except gevent.Timeout:
        raise StoreUnavailableError(f"Redis gave no answer within {deadline_s * 1000:.0f} ms") from None
    except redis.ResponseError as error:
        said = str(error).rstrip(".")
        raise StoreUnavailableError(f"Redis refused: {type(error).__name__}: {said}") from error
    except (redis.RedisError, OSError) as error:
        raise StoreUnavailableError(f"Redis is unavailable: {type(error).__name__}: {error}") from error


@contextmanager
def spared() -> Iterator[None]:
    """Try what can be made up for later: that it fails is no failure of the change before it."""
    with suppress(StoreUnavailableError), bounded(_SPARED_S):
        yield
