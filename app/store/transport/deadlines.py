"""The one place where trouble with Redis becomes StoreUnavailableError, a missed deadline among it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import gevent
import redis
from gevent import get_hub
from redis.exceptions import MasterDownError

from app.core.errors import StoreUnavailableError

_log = logging.getLogger(__name__)

DECISION = "REDIS_DEADLINE_MS"
_SPARED_S = 0.25
_NONSENSE = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
_ADVICE = {
    "WRONGPASS": "check REDIS_USERNAME and REDIS_PASSWORD, or those in REDIS_URL",
    "NOAUTH": "set REDIS_PASSWORD, or a password in REDIS_URL",
    "NOPERM": "the ACL user of this service lacks a right; docs/redis.md says which it needs",
    "READONLY": "this server is a replica; the service needs its primary",
    "OOM": "its memory is full; raise its maxmemory",
    "MISCONF": "it can't save to its disk; its own log says why",
    "NOREPLICAS": "it has fewer replicas than its min-replicas-to-write",
}
_REPEATED = ", with args beginning with"  # of a command that it does not know: those of AUTH are a password
_FORBIDDEN_IN_SCRIPT = ("The user executing the script", "ACL failure in script")


class StillConnectingError(redis.TimeoutError):
    """The connection is not there yet, and is still being made."""


class TooOldError(redis.ConnectionError):
    """The server is of a version that does not know our scripts."""

    def __init__(self, version: str) -> None:
        super().__init__(f"the service needs 7.0 or newer, this is {version}")


@contextmanager
def bounded(deadline_s: float, setting: str = "") -> Iterator[None]:
    """Give everything inside *deadline_s* seconds in all: waiting, connecting, sending, reading.

    Raises StoreUnavailableError for a deadline missed, naming the *setting* that it comes from, and for
    whatever Redis refuses, or answers without sense. gevent.Timeout is no Exception, so it is named here.
    """
    try:
        with gevent.Timeout(deadline_s):
            yield
    except gevent.Timeout:
        raise _late(deadline_s, setting) from None
    except (redis.RedisError, OSError) as error:
        raise _trouble(error, deadline_s, setting) from error
    except _NONSENSE as error:
        _log.error("an answer of Redis makes no sense", exc_info=error)
        raise StoreUnavailableError("an answer of Redis makes no sense") from error


class Deadlines:
    """What ``bounded`` does, for one event loop and thousands of times a second.

    All last equally long, so they end in the order in which they began, and one timer serves them.
    """

    def __init__(self, deadline_s: float, setting: str) -> None:
        self.deadline_s = deadline_s
        self.setting = setting
        self._running: deque[_Deadline] = deque()
        self._timer: Any = None

    def __call__(self) -> _Deadline:
        """Begin one."""
        begun = _Deadline(self)
        self._running.append(begun)
        if self._timer is None:
            self._wake_after(self.deadline_s)
        return begun

    def _wake_after(self, seconds: float) -> None:
        self._timer = get_hub().loop.timer(seconds)
        self._timer.start(self._expire)

    def _expire(self) -> None:
        """End those that are due; sleep until the next one is."""
        now = time.monotonic()
        while self._running and (self._running[0].is_met or self._running[0].due <= now):
            self._running.popleft().miss()
        self._timer.close()
        self._timer = None
        if self._running:
            self._wake_after(self._running[0].due - now)


class _Deadline:
    """One caller's."""

    __slots__ = ("_greenlet", "_of", "due", "is_met")

    def __init__(self, of: Deadlines) -> None:
        self._of = of
        self._greenlet = gevent.getcurrent()
        self.due = time.monotonic() + of.deadline_s
        self.is_met = False

    def miss(self) -> None:
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
            raise _late(self._of.deadline_s, self._of.setting) from None
        if isinstance(error, redis.RedisError | OSError):
            raise _trouble(error, self._of.deadline_s, self._of.setting) from error


def _late(deadline_s: float, setting: str) -> StoreUnavailableError:
    text = f"Redis gave no answer within {deadline_s * 1000:.0f} ms"
    return StoreUnavailableError(f"{text}; if it is that far away, raise {setting}" if setting else text)


def _trouble(error: Exception, deadline_s: float, setting: str) -> StoreUnavailableError:
    if isinstance(error, StillConnectingError):
        text = f"Redis was not reached within {deadline_s * 1000:.0f} ms"
        return StoreUnavailableError(f"{text}{f' ({setting})' if setting else ''}; connecting goes on")
    if isinstance(error, TooOldError):
        return StoreUnavailableError(f"Redis is too old: {error}")
    verb = "refused" if isinstance(error, redis.ResponseError) else "is unavailable"
    said = str(error).partition(_REPEATED)[0]
    text = f"Redis {verb}: {type(error).__name__}: {said.rstrip('.')}"
    return StoreUnavailableError("; ".join(filter(None, [text, _advice(error, setting)])))


def _advice(error: Exception, setting: str) -> str | None:
    """Return what to do about *error*."""
    if isinstance(error, redis.TimeoutError) and setting:
        return f"a Redis that is farther away than {setting} can't be used"
    text = str(error)
    if "Error compiling script" in text:
        return "the service needs Redis 7.0 or newer"
    if text.removeprefix("ERR ").startswith(_FORBIDDEN_IN_SCRIPT):
        return _ADVICE["NOPERM"]
    return _ADVICE.get(getattr(error, "status_code", None) or text.partition(" ")[0])


@contextmanager
def spared() -> Iterator[None]:
    """Try what can be made up for later: that it fails is no failure of the change before it."""
    with suppress(StoreUnavailableError), bounded(_SPARED_S):
        yield


def is_wrong_type(error: Exception) -> bool:
    """Tell whether *error* says that a key holds another type than the command is for."""
    return isinstance(error, redis.ResponseError) and "WRONGTYPE" in str(error)


def is_no_primary(error: redis.ResponseError) -> bool:
    """Tell whether *error* says that its server is a replica."""
    return isinstance(error, (redis.ReadOnlyError, MasterDownError))
