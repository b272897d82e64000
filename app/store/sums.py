"""What one look at every token adds up to, and the fields in which the census keeps it.

The fields are the number of tokens of each status, the traffic as JSON, and when that was. See
docs/decisions/0027.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

from app.core.listing import Counts, State
from app.core.tokens import Status
from app.core.totals import Totals, Traffic, Unused
from app.store import keys
from app.store.traffic import TrafficSum, UsageReader

_TAKEN_AT, _TRAFFIC = "taken_at", "traffic"


class Sum:
    """The tokens that were added, by their status at *now_s*, and what they were used if *usage* is given."""

    def __init__(self, now_s: int, usage: UsageReader | None) -> None:
        self._now_s = now_s
        self._usage = usage
        self._counted = Counter[Status]()
        self._unused = Unused()
        self._traffic = TrafficSum(now_s)

    def add(self, entries: Sequence[bytes], states: Sequence[State | None]) -> None:
        """Add the tokens of *entries* that have a state."""
        self._counted.update(state.status(self._now_s) for state in states if state)
        if self._usage:
            self._unused = self._unused.plus(states, self._now_s)
            names = {
                keys.digest_of_entry(entry): keys.id_of_entry(entry)
                for entry, state in zip(entries, states, strict=True)
                if state
            }
            read = self._usage.read([*names], self._traffic.first_hour)
            for digest, text in read.items():
                self._traffic.add(names[digest], digest, text)

    @property
    def by_status(self) -> Mapping[Status, int]:
        """Return the number of tokens by status, zero for a status that none has."""
        return {status: self._counted.get(status, 0) for status in Status}

    def totals(self) -> Totals:
        """Return everything that was added up."""
        return Totals(self.by_status, self._now_s, self._traffic.result(self._unused))


def fields(found: Totals, taken_at: int) -> dict[str, int | str]:
    """Return the fields of *found*, a census that was finished at *taken_at*."""
    traffic = json.dumps(found.traffic.described(), separators=(",", ":"))
    by_status = {str(status): count for status, count in found.by_status.items()}
    return {**by_status, _TRAFFIC: traffic, _TAKEN_AT: taken_at}


def counts(read: Mapping[bytes, bytes]) -> Counts | None:
    """Return the numbers in the fields of a census, None if there are none."""
    numbers = {name.decode(errors="replace"): int(value) for name, value in read.items() if value.isdigit()}
    if numbers.keys() >= {*Status, _TAKEN_AT}:
        return Counts({status: numbers[status] for status in Status}, numbers[_TAKEN_AT])
    return None


def totals(read: Mapping[bytes, bytes]) -> Totals | None:
    """Return everything in the fields of a census; None if it did not add up, as those of older versions."""
    found = counts(read)
    with suppress(ValueError, TypeError, KeyError):
        traffic = Traffic.parse(json.loads(read[_TRAFFIC.encode()]))
        return Totals(*found, traffic) if found else None
    return None
