"""The one place where trouble with Redis becomes StoreUnavailableError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import redis
from redis.exceptions import MasterDownError

from app.core.registry import StoreUnavailableError


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
        raise StoreUnavailableError(f"no answer within {deadline_s * 1000:.0f} ms") from None
    except (redis.RedisError, OSError) as error:
        raise StoreUnavailableError(f"{type(error).__name__}: {error}") from error


def is_no_primary(error: redis.ResponseError) -> bool:
    """Tell whether *error* says that its server is a replica."""
    return isinstance(error, (redis.ReadOnlyError, MasterDownError))
