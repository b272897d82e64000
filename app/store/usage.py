"""The layout of the usage string that take.lua writes (docs/decisions/0006).

All numbers are big-endian u32: the hour (since the epoch) of the last use, then a ring of 48 hours and a ring
of 90 days, each slot four counters in the order of core.usage.Counts.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from struct import iter_unpack, unpack_from
from typing import Any

import redis

from app.core.copies import Columns, UsageCopy
from app.core.limits import Limit
from app.core.usage import DAYS, HOURS, Counts, Usage
from app.pauses import paced
from app.store import keys
from app.store.transport.deadlines import is_wrong_type
from app.store.transport.scripts import Script

_HOUR_S = 3600
_HEAD_BYTES, _SLOT_BYTES = 4, 16
_RING_AT = {HOURS: _HEAD_BYTES, DAYS: _HEAD_BYTES + HOURS * _SLOT_BYTES}
MAX_BYTES = _RING_AT[DAYS] + DAYS * _SLOT_BYTES
_ADMITTED = Script("admitted")
_COUNTERS = len(Counts._fields)
_NUMBER, _NUMBER_BYTES = "I", 4


def read(client: Any, digest: str, now_s: int) -> Usage:
    """Return the usage of a token; a key of another type has none."""
    try:
        return parse(client.getrange(keys.usage(digest), 0, MAX_BYTES - 1), now_s)
    except redis.ResponseError as error:
        if not is_wrong_type(error):
            raise
        return Usage()


def admitted(client: Any, digest: str, limit: Limit) -> int:
    """Return how many requests *limit*, a token's rate limit, counts now; a key of another type has none."""
    try:
        args = [limit.max_requests, limit.window_s]
        return int(_ADMITTED.run(client, [keys.window(digest)], args))
    except redis.ResponseError as error:
        if not is_wrong_type(error):
            raise
        return 0


def read_hours(client: Any, digests: Sequence[str], now_s: int) -> list[Usage]:
    """Return the usage of each token without its days, in one round trip; a key of another type has none."""
    pipe = client.pipeline(transaction=False)
    for digest in digests:
        pipe.getrange(keys.usage(digest), 0, _RING_AT[DAYS] - 1)
    replies = pipe.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, Exception) and not is_wrong_type(reply):
            raise reply
    return [Usage(_hours(reply, now_s), days=()) for reply in paced(replies)]


def _hours(reply: object, now_s: int) -> tuple[Counts, ...]:
    if not isinstance(reply, bytes) or not reply:
        return (Counts(),) * HOURS
    text = reply.ljust(_RING_AT[DAYS], b"\0")
    (last,) = unpack_from(">I", text)
    return _ring(text, HOURS, last, now_s // _HOUR_S)


def parse(text: bytes | None, now_s: int) -> Usage:
    """Return the usage in *text* up to *now_s*, in seconds since the epoch."""
    if not text:
        return Usage()
    text = text.ljust(MAX_BYTES, b"\0")
    (last,) = unpack_from(">I", text)
    hour = now_s // _HOUR_S
    return Usage(_ring(text, HOURS, last, hour), _ring(text, DAYS, last // 24, hour // 24))


def _ring(text: bytes, slots: int, last: int, now: int) -> tuple[Counts, ...]:
    """Return the counts of the periods up to *now*; the ring holds those up to *last*."""
    start = _RING_AT[slots]
    ring = [Counts(*slot) for slot in iter_unpack(">4I", text[start : start + slots * _SLOT_BYTES])]
    return tuple(
        ring[period % slots] if last - slots < period <= last else Counts()
        for period in range(now - slots + 1, now + 1)
    )


def copy(text: bytes | None) -> UsageCopy | None:
    """Return all counters in *text* as columns, or None if nothing was counted."""
    known = (text or b"")[:MAX_BYTES]
    if not known.strip(b"\0"):
        return None
    numbers = _swapped(array(_NUMBER, known.ljust(MAX_BYTES, b"\0")))
    hour = numbers[0]
    return UsageCopy(hour, _columns(numbers, HOURS, hour), _columns(numbers, DAYS, hour // 24))


def compose(usage: UsageCopy) -> bytes:
    """Return the string that ``copy`` returned *usage* for."""
    hour = usage.until_hour
    numbers = array(_NUMBER, bytes(MAX_BYTES))
    numbers[0] = hour
    _fill(numbers, usage.hours, HOURS, hour)
    _fill(numbers, usage.days, DAYS, hour // 24)
    return _swapped(numbers).tobytes()


def _swapped(numbers: array[int]) -> array[int]:
    """Return *numbers* after converting them from the order of bytes of this machine, or to it."""
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def _place(slots: int, number: int) -> slice:
    """Return where a ring has the counters with that *number*."""
    start = _RING_AT[slots] // _NUMBER_BYTES
    return slice(start + number, start + slots * _COUNTERS, _COUNTERS)


def _columns(numbers: array[int], slots: int, last: int) -> Columns:
    oldest = (last + 1) % slots
    columns = (tuple(numbers[_place(slots, number)]) for number in range(_COUNTERS))
    return tuple(column[oldest:] + column[:oldest] for column in columns)


def _fill(numbers: array[int], columns: Columns, slots: int, last: int) -> None:
    first = slots - (last + 1) % slots
    for number, column in enumerate(columns):
        if any(column):
            numbers[_place(slots, number)] = array(_NUMBER, column[first:] + column[:first])
