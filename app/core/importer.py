"""Import copies of tokens: check every row of a file, then write those that are new (docs/decisions/0029)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from app.core.arrivals import Fate, Judge, Judged, Row, peppers_of
from app.core.audit import Actor
from app.core.copies import Copy, CopyStore, Here, RedirectCopy, TokenCopy, Written
from app.core.peppers import Peppers
from app.core.tokens import Token

_BATCH = 250
_FATES = {Written.DONE: Fate.NEW, Written.ENDED: Fate.ENDED}


@dataclass(frozen=True, slots=True)
class Options:
    """Which rows are left out rather than refused, and whether what ended here is brought back."""

    keep_going: bool = False
    skip_existing: bool = False
    restore_ended: bool = False


Counts = Counter[tuple[str, Fate]]


@dataclass(slots=True)
class Report:
    """How many rows of each kind have each fate, and the problems of those that prevent an import."""

    counts: Counts = field(default_factory=Counter)
    problems: list[tuple[int, str]] = field(default_factory=list)

    @property
    def is_conflict(self) -> bool:
        """Return whether every line is valid, and some only differ from what is here."""
        return not any(fate is Fate.BAD for _, fate in self.counts)


def left_out(counts: Counts) -> int:
    """Return how many lines can't be imported."""
    return sum(count for (_, fate), count in counts.items() if fate in {Fate.BAD, Fate.TAKEN})


OnDone = Callable[[Sequence[Row]], None]


class Importer:
    """Imports rows; each method raises StoreUnavailableError when the store can't answer."""

    def __init__(self, copies: CopyStore, peppers: Peppers) -> None:
        self._copies = copies
        self._peppers = peppers

    def knows(self, fingerprints: Iterable[str]) -> bool:
        """Return whether any of the peppers of a file is set here."""
        return not set(self._peppers.fingerprints).isdisjoint(fingerprints)

    def check(self, rows: Iterable[Row], options: Options, now_s: int) -> Report:
        """Judge all *rows* and change nothing."""
        report = Report()
        for judged in (judged for batch in self._judged(rows, options, now_s) for judged in batch):
            report.counts[_noun(judged.row), judged.fate] += 1
            if judged.fate is Fate.BAD or (judged.fate is Fate.TAKEN and not options.skip_existing):
                report.problems.append((judged.row.number, judged.problem))
        return report

    def run(self, actor: Actor, rows: Iterable[Row], options: Options, now_s: int, on_done: OnDone) -> Counts:
        """Write the rows that are new, and return how many have each fate; *on_done* is told of them.

        If this is interrupted, every token is either there, with all that belongs to it, or not.
        """
        counts: Counts = Counter()
        recorded = set[str]()

        def finish(batch: Sequence[Judged], wait: Callable[[], list[Written]]) -> None:
            fates = _fates(batch, wait())
            rows_of = [judged.row for judged in batch]
            counts.update(zip(map(_noun, rows_of), fates, strict=True))
            on_done([row for row, fate in zip(rows_of, fates, strict=True) if fate is Fate.NEW])

        with ExitStack() as unfinished:  # while the store writes a batch, the next one is read and judged
            for batch in self._judged(rows, options, now_s):
                unfinished.close()
                self._record_peppers(batch, recorded)
                unfinished.callback(finish, batch, self._begin(actor, batch, options))
        return counts

    def _record_peppers(self, batch: Sequence[Judged], recorded: set[str]) -> None:
        """Note the peppers of *batch* that are not *recorded* yet."""
        peppers = {pepper for judged in batch if judged.copy for pepper in peppers_of(judged.row)}
        if peppers - recorded:
            self._copies.record_peppers([*peppers])
            recorded |= peppers

    def _judged(self, rows: Iterable[Row], options: Options, now_s: int) -> Iterator[list[Judged]]:
        judge = Judge(self._peppers.fingerprints, now_s, restore_ended=options.restore_ended)
        for batch in _batches(rows):
            problems = [judge.problem_of(row) for row in batch]
            good = [row for row, problem in zip(batch, problems, strict=True) if not problem]
            found = dict(zip((row.number for row in good), self._look(judge, good), strict=True))
            yield [
                Judged(row, Fate.BAD, problem) if problem else found[row.number]
                for row, problem in zip(batch, problems, strict=True)
            ]

    def _look(self, judge: Judge, rows: Sequence[Row]) -> list[Judged]:
        here = self._copies.look([row.copy for row in rows if row.copy])
        earlier = self._under_previous(rows)
        found = (
            Here(held=earlier.get(row.number, each.held)) if row.also else each
            for row, each in zip(rows, here, strict=True)
        )
        return [judge.judged(row, each) for row, each in zip(rows, found, strict=True)]

    def _under_previous(self, rows: Sequence[Row]) -> dict[int, Any]:
        """Return what is stored under the secrets of *rows* and a previous pepper, by the numbers of rows."""
        pairs = [
            (row.number, _under(row.copy, digest))
            for row in rows
            if isinstance(row.copy, TokenCopy)
            for digest in row.also
        ]
        here = self._copies.look([copy for _, copy in pairs]) if pairs else []
        return {
            number: each.held
            for (number, _), each in zip(pairs, here, strict=True)
            if isinstance(each.held, Token | RedirectCopy)
        }

    def _begin(self, actor: Actor, batch: Sequence[Judged], options: Options) -> Callable[[], list[Written]]:
        copies: list[Copy] = [judged.copy for judged in batch if judged.copy]
        return self._copies.write(actor, copies, restore_ended=options.restore_ended)


def _noun(row: Row) -> str:
    match row.copy:
        case TokenCopy():
            return "tokens"
        case RedirectCopy():
            return "redirects"
        case None:
            return "lines"
    return "ended tokens"


def _under(copy: TokenCopy, digest: str) -> TokenCopy:
    return replace(copy, token=replace(copy.token, digest=digest))


def _fates(batch: Sequence[Judged], written: Sequence[Written]) -> list[Fate]:
    """Return the fate of each row: another writer may have been there first."""
    outcomes = iter(written)
    return [_fate(judged, next(outcomes)) if judged.copy else judged.fate for judged in batch]


def _fate(judged: Judged, written: Written) -> Fate:
    return judged.fate if written is Written.DONE else _FATES.get(written, Fate.TAKEN)


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while batch := list(islice(left, _BATCH)):
        yield batch
