"""Deadlines, and the one place that turns every failure of Redis into StoreUnavailableError.

See docs/decisions/0018.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePath
from traceback import extract_tb
from types import TracebackType
from typing import Any

import gevent
import redis
from gevent import get_hub
from redis.exceptions import MasterDownError

from app.core.errors import StoreUnavailableError

_log = logging.getLogger(__name__)

DECISION = "REDIS_DEADLINE_MS"
_BEST_EFFORT_S = 0.25
_PARSE_ERRORS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
_ADVICE = {
    "WRONGPASS": "check REDIS_USERNAME and REDIS_PASSWORD, or those in REDIS_URL",
    "NOAUTH": "set REDIS_PASSWORD, or a password in REDIS_URL",
    "NOPERM": "the ACL user of this service lacks a right; docs/redis.md says which it needs",
    "READONLY": "this server is a replica; the service needs its primary",
    "OOM": "its memory is full; raise its maxmemory",
    "MISCONF": "it can't save to its disk; its own log says why",
    "NOREPLICAS": "it has fewer replicas than its min-replicas-to-write",
}
_ARGS_OF_UNKNOWN_COMMAND = ", with args beginning with"  # those of AUTH are a password
_FORBIDDEN_IN_SCRIPT = ("The user executing the script", "ACL failure in script")


class StillConnectingError(redis.TimeoutError):
    """The connection is not established yet; the attempt continues in the background."""


class TooOldError(redis.ConnectionError):
    """The server is too old to run the scripts."""

    def __init__(self, version: str) -> None:
        super().__init__(f"the service needs 7.0 or newer, this is {version}")


@contextmanager
def bounded(deadline_s: float, setting: str = "") -> Iterator[None]:
    """Limit everything inside to *deadline_s* seconds in total: waiting, connecting, sending and reading.

    Raises StoreUnavailableError if the deadline is missed (the message names its *setting*), if Redis refuses
    a command, and if a reply can't be parsed. gevent.Timeout is not an Exception, so it needs its own clause.
    """
    try:
        with gevent.Timeout(deadline_s):
            yield
    except gevent.Timeout:
        raise _missed_deadline(deadline_s, setting) from None
    except (redis.RedisError, OSError) as error:
        raise _unavailable(error, deadline_s, setting) from error
    except _PARSE_ERRORS as error:
        _log.debug("Redis sent an invalid reply", exc_info=error)
        raise StoreUnavailableError(_invalid(error)) from error


class Deadlines:
    """Does what ``bounded`` does at less cost, for thousands of decisions a second on one event loop.

    All deadlines are equally long, so they expire in the order in which they start, and one timer is enough.
    """

    def __init__(self, deadline_s: float, setting: str) -> None:
        self.deadline_s = deadline_s
        self.setting = setting
        self._running: deque[_Deadline] = deque()
        self._timer: Any = None

    def __call__(self) -> _Deadline:
        """Start a deadline for the current greenlet."""
        deadline = _Deadline(self)
        self._running.append(deadline)
        if self._timer is None:
            self._start_timer(self.deadline_s)
        return deadline

    def _start_timer(self, seconds: float) -> None:
        self._timer = get_hub().loop.timer(seconds)
        self._timer.start(self._expire)

    def _expire(self) -> None:
        """Interrupt the callers whose deadlines have passed, and set the timer to the next deadline."""
        now = time.monotonic()
        while self._running and (self._running[0].is_met or self._running[0].due <= now):
            self._running.popleft().interrupt()
        self._timer.close()
        self._timer = None
        if self._running:
            self._start_timer(self._running[0].due - now)


class _Deadline:
    """The deadline of one caller."""

    __slots__ = ("_greenlet", "_group", "due", "is_met")

    def __init__(self, group: Deadlines) -> None:
        self._group = group
        self._greenlet = gevent.getcurrent()
        self.due = time.monotonic() + group.deadline_s
        self.is_met = False

    def interrupt(self) -> None:
        if not (self.is_met or self._greenlet.dead):
            self._greenlet.throw(gevent.Timeout)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_met = True
        if error is None:
            return
        if isinstance(error, gevent.Timeout):
            raise _missed_deadline(self._group.deadline_s, self._group.setting) from None
        if isinstance(error, redis.RedisError | OSError):
            raise _unavailable(error, self._group.deadline_s, self._group.setting) from error


def _invalid(error: Exception) -> str:
    """Return a message with the place in the code that could not use a reply."""
    place = extract_tb(error.__traceback__)[-1]
    where = f"{PurePath(place.filename).name}:{place.lineno}"
    return f"Redis sent an invalid reply: {type(error).__name__} at {where}"


def _missed_deadline(deadline_s: float, setting: str) -> StoreUnavailableError:
    text = f"Redis gave no answer within {deadline_s * 1000:.0f} ms"
    return StoreUnavailableError(f"{text}; if it is that far away, raise {setting}" if setting else text)


def _unavailable(error: Exception, deadline_s: float, setting: str) -> StoreUnavailableError:
    if isinstance(error, StillConnectingError):
        text = f"Redis was not reached within {deadline_s * 1000:.0f} ms"
        return StoreUnavailableError(f"{text}{f' ({setting})' if setting else ''}; connecting continues")
    if isinstance(error, TooOldError):
        return StoreUnavailableError(f"Redis is too old: {error}")
    verb = "refused" if isinstance(error, redis.ResponseError) else "is unavailable"
    reason = str(error).partition(_ARGS_OF_UNKNOWN_COMMAND)[0].rstrip(".")
    text = f"Redis {verb}: {type(error).__name__}: {reason}"
    return StoreUnavailableError("; ".join(filter(None, [text, _advice(error, setting)])))


def _advice(error: Exception, setting: str) -> str | None:
    """Return what the operator can do about *error*, if that is known."""
    if isinstance(error, redis.TimeoutError) and setting:
        return f"a Redis that is farther away than {setting} can't be used"
    text = str(error)
    if "Error compiling script" in text:
        return "the service needs Redis 7.0 or newer"
    if text.removeprefix("ERR ").startswith(_FORBIDDEN_IN_SCRIPT):
        return _ADVICE["NOPERM"]
    return _ADVICE.get(getattr(error, "status_code", None) or text.partition(" ")[0])


@contextmanager
def best_effort() -> Iterator[None]:
    """Try work that can be repeated later; its failure does not fail the change before it."""
    with suppress(StoreUnavailableError), bounded(_BEST_EFFORT_S):
        yield


def is_wrong_type(error: Exception) -> bool:
    """Tell whether *error* means that a key holds a type other than the one that the command needs."""
    return isinstance(error, redis.ResponseError) and "WRONGTYPE" in str(error)


def is_no_primary(error: redis.ResponseError) -> bool:
    """Tell whether *error* means that the server is a replica."""
    return isinstance(error, (redis.ReadOnlyError, MasterDownError))
