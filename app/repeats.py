"""A log handler that writes a few of many similar lines, and one summary of the rest."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TextIO

import gevent

PERIOD_S = 10
# Full lines in a period: of one kind (a message, and a verdict if it has one), and of one source of it.
MAX_OF_KIND = 10
MAX_OF_SOURCE = 3
MAX_KINDS = 32
# A summary counts at most this many different clients, hosts and tokens.
MAX_COUNTED = 256

_MAX_KEPT = 80
_COUNTED = {"client": "clients", "host": "hosts", "token": "tokens"}
_NONE: Mapping[str, object] = {}


def fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    """Return the named arguments of our lines, not those of gunicorn's access log, which have secrets."""
    return record.args if type(record.args) is dict else _NONE


def sums_of(record: logging.LogRecord) -> Mapping[str, int]:
    """Return how many lines, clients, hosts and tokens *record* sums up; empty if it is not a summary."""
    sums: Mapping[str, int] = getattr(record, "sums", {})
    return sums


class LazyText:
    """A string that is computed only if it is written or counted."""

    def __init__(self, make: Callable[..., str], *args: object) -> None:
        self._make = make
        self._args = args

    @cached_property
    def _text(self) -> str:
        return self._make(*self._args)

    def __str__(self) -> str:
        return self._text


class _Kind:
    """The lines of one kind in a period."""

    def __init__(self) -> None:
        self.in_full = 0
        self.held: logging.LogRecord | None = None  # the last one that was not written
        self.count = 0
        self._sources: dict[str, int] = {}
        self._seen: dict[str, set[str]] = {name: set() for name in _COUNTED}

    def admits(self, record: logging.LogRecord, fields: Mapping[str, object]) -> bool:
        """Return whether *record* should be written in full."""
        if self.in_full == MAX_OF_KIND:
            return False
        source = (
            f"{fields['client']} {fields.get('token')}"
            if "client" in fields
            else str(record.args)[:_MAX_KEPT]
        )
        times = self._sources.get(source, 0)
        if times == MAX_OF_SOURCE:
            return False
        self._sources[source] = times + 1
        self.in_full += 1
        return True

    def hold(self, record: logging.LogRecord, fields: Mapping[str, object]) -> None:
        """Count *record* instead of writing it."""
        self.held, self.count = record, self.count + 1
        for name, seen in self._seen.items():
            if name in fields and len(seen) < MAX_COUNTED:
                seen.add(str(fields[name])[:_MAX_KEPT])

    def summary(self) -> logging.LogRecord | None:
        """Return the last held record with the counts of all, or unchanged if it is the only one."""
        if self.held is None or self.count == 1:
            return self.held
        now = time.time()
        summary = logging.makeLogRecord(vars(self.held) | {"created": now, "msecs": now % 1 * 1000})
        summary.exc_info = summary.exc_text = None
        numbers = {_COUNTED[name]: len(seen) for name, seen in self._seen.items() if seen}
        summary.__dict__["sums"] = {"count": self.count} | numbers
        return summary


class Handler(logging.StreamHandler[TextIO]):
    """Writes to stderr and sums up frequent lines, so that a flood of requests can't fill the disk."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[object, _Kind] = {}
        self._end = 0.0
        self._pid = os.getpid()
        self._is_waiting = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write *record*, or count it; lines for debugging and of the access log are always written."""
        try:
            if self._is_due(record):
                super().emit(record)
        except Exception:  # noqa: BLE001 - a line that can't be written harms no request
            self.handleError(record)

    def _is_due(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.INFO or record.name == "gunicorn.access":
            return True
        if time.monotonic() >= self._end or self._pid != os.getpid():
            self._begin()
        fields = fields_of(record)
        kind = self._kind(record.name, record.msg, fields.get("verdict"))
        if kind.admits(record, fields):
            return True
        kind.hold(record, fields)
        self._wait()
        return False

    def _kind(self, *names: object) -> _Kind:
        """Return the kind of a logger, a message and a verdict; beyond MAX_KINDS, one for each logger."""
        if names not in self._kinds and len(self._kinds) >= MAX_KINDS:
            names = names[:1]
        if names not in self._kinds:
            self._kinds[names] = _Kind()
        return self._kinds[names]

    def _wait(self) -> None:
        """Schedule the summary at the end of the period, in case no further line triggers it."""
        if not self._is_waiting:
            self._is_waiting = True
            gevent.spawn_later(max(0, self._end - time.monotonic()), self.settle)

    def _begin(self) -> None:
        """Begin a period and write the summaries of the last; after a fork those belong to the parent."""
        kinds, self._kinds = self._kinds, {}
        pid, self._pid = self._pid, os.getpid()
        self._end, self._is_waiting = time.monotonic() + PERIOD_S, False
        for summary in (kind.summary() for kind in kinds.values() if pid == self._pid):
            if summary:
                super().emit(summary)

    def settle(self) -> None:
        """Write the summaries of the held lines."""
        self.acquire()
        try:
            self._begin()
        finally:
            self.release()

    def close(self) -> None:
        """Write the summaries when the process ends."""
        self.settle()
        super().close()
