"""Add up the usage of many tokens, for the census (docs/decisions/0027).

A usage string is added as one large integer, with room for each sum: adding its 552 counters one by one takes
ten times as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappush, heapreplace
from itertools import compress
from struct import unpack
from typing import Any

from app.core.totals import TOP, Traffic, Unused, Use
from app.core.usage import DAYS, HOURS, Counts
from app.store import keys, usage
from app.store.transport.cluster import Client, by_server
from app.store.transport.scripts import Script

_HOUR_S = 3600
_PER_BATCH = 125
_DAY_SLOT, _COUNTER, _SLOT = 24, 32, 128  # hours, bits and bits
_RINGS_BYTES = usage.MAX_BYTES - 4
_LANES = _RINGS_BYTES // 8
_LOW = int.from_bytes(b"\0\0\0\0\xff\xff\xff\xff" * _LANES)  # every second counter
_ALL_OF_SLOT = (1 << _SLOT) - 1
_RECENT_HOURS = 24

Ranks = list[tuple[int, str, str, int]]


class UsageReader:
    """Reads usage strings in batches."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client
        self._script = Script("tally")

    def read(self, digests: Sequence[str], first_hour: int) -> dict[str, bytes]:
        """Return the usage of each token that was used, or refused, since *first_hour*."""
        found: dict[str, bytes] = {}
        for client, served in by_server(self._client, digests, keys.usage):
            for i in range(0, len(served), _PER_BATCH):
                batch = served[i : i + _PER_BATCH]
                args = ["".join(batch), usage.MAX_BYTES, first_hour]
                flags, joined = self._script.run(client, [], args)
                found |= zip(compress(batch, map(int, flags.decode())), _split(joined), strict=True)
        return found


def _split(joined: bytes) -> Iterator[bytes]:
    return (joined[i : i + usage.MAX_BYTES] for i in range(0, len(joined), usage.MAX_BYTES))


class TrafficSum:
    """The sum of the usage that was added, as of *now_s* in seconds since the epoch."""

    def __init__(self, now_s: int) -> None:
        self._hour = now_s // _HOUR_S
        self._masks: dict[int, int] = {}
        self._recent = _mask_of_ring(range(self._hour - _RECENT_HOURS + 1, self._hour + 1), HOURS)
        self._high, self._low = 0, 0
        self._busiest: Ranks = []
        self._most_refused: Ranks = []

    @property
    def first_hour(self) -> int:
        """Return the first hour that still counts."""
        return self._hour - DAYS * _DAY_SLOT

    def add(self, token_id: str, digest: str, text: bytes) -> None:
        """Add the usage string of a token."""
        last = int.from_bytes(text[:4])
        if last > self._hour + DAYS * _DAY_SLOT:  # by a clock that was far ahead
            return
        rings = int.from_bytes(text[4:]) & self._mask(last)
        self._low += rings & _LOW
        self._high += rings >> _COUNTER & _LOW
        if last > self._hour - _RECENT_HOURS:
            self._rank(token_id, digest, rings >> DAYS * _SLOT & self._recent)

    def _rank(self, token_id: str, digest: str, ring: int) -> None:
        counters = unpack(f">{HOURS * 4}I", ring.to_bytes(HOURS * 16))
        allowed = sum(counters[::4])
        refused = sum(counters) - allowed
        _keep(self._busiest, (allowed, token_id, digest, refused))
        _keep(self._most_refused, (refused, token_id, digest, allowed))

    def _mask(self, last: int) -> int:
        """Return ones for the slots that count of a usage whose rings end in the hour *last*."""
        if last not in self._masks:
            hours, days = (
                _mask_of_ring(range(max(last, now) - slots + 1, min(last, now) + 1), slots)
                for last, now, slots in (
                    (last, self._hour, HOURS),
                    (last // _DAY_SLOT, self._hour // _DAY_SLOT, DAYS),
                )
            )
            self._masks[last] = hours << DAYS * _SLOT | days
        return self._masks[last]

    def result(self, unused: Unused) -> Traffic:
        """Return the sums, and the tokens with the highest numbers first."""
        high, low = (unpack(f">{_LANES}Q", each.to_bytes(_RINGS_BYTES)) for each in (self._high, self._low))
        slots = [Counts(*row) for row in zip(high[::2], low[::2], high[1::2], low[1::2], strict=True)]
        days = _in_order(slots[HOURS:], self._hour // _DAY_SLOT)
        busiest = [Use(name, digest, most, rest) for most, name, digest, rest in _ranked(self._busiest)]
        refused = [Use(name, digest, rest, most) for most, name, digest, rest in _ranked(self._most_refused)]
        return Traffic(_in_order(slots[:HOURS], self._hour), days, tuple(busiest), tuple(refused), unused)


def _mask_of_ring(periods: range, slots: int) -> int:
    mask = 0
    for period in periods:
        mask |= _ALL_OF_SLOT << (slots - 1 - period % slots) * _SLOT
    return mask


def _in_order(ring: Sequence[Counts], now: int) -> tuple[Counts, ...]:
    oldest = (now + 1) % len(ring)
    return (*ring[oldest:], *ring[:oldest])


def _keep(ranks: Ranks, row: tuple[int, str, str, int]) -> None:
    """Keep *row* if it is among the TOP highest."""
    if row[0] and len(ranks) < TOP:
        heappush(ranks, row)
    elif row[0] and row > ranks[0]:
        heapreplace(ranks, row)


def _ranked(ranks: Ranks) -> Ranks:
    return sorted(ranks, reverse=True)
