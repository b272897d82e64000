"""The drills of make chaos, in short: what is promised holds while things go wrong."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from chaos import cases, faults, limits, mixups
from chaos.stage import BUSY, QUICK, Fault
from chaos.trial import try_out

pytestmark = pytest.mark.e2e


def ever_kept(drill: Callable[[], Iterable[str]], tries: int = 5) -> None:
    """Try a drill again if a promise of time broke, as a busy machine breaks them; fail if it always does."""
    told = []
    for _ in range(tries):
        told.append(list(drill()))
        if not told[-1]:
            return
        assert not any("without right" in broken for broken in told[-1]), told
    raise AssertionError(told)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", [f for f in faults.FAULTS if f.in_quick], ids=lambda fault: fault.name)
def test_fault(fault: Fault) -> None:
    """A fault of Redis opens nothing, is answered at once, and is over when it ends."""
    ever_kept(lambda: try_out(fault, QUICK)[1])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", [c for c in cases.CASES if c.in_quick], ids=lambda case: case.name)
def test_case(case: cases.Case) -> None:
    """What is promised of a single case is kept."""

    def broken() -> Iterable[str]:
        seen, is_kept = cases.try_out(case, slack=BUSY)
        return [] if is_kept else [seen]

    ever_kept(broken)


@pytest.mark.timeout(600)
def test_mixups() -> None:
    """Whatever is done to the bytes between the service and Redis, nobody gets another's answer."""
    (table,) = mixups.tables(quick=True)

    assert table.failures == []


@pytest.mark.timeout(300)
def test_limits() -> None:
    """The limiter keeps what is promised of it, by every drill."""
    assert [table.failures for table in limits.tables(quick=True)] == [[]]


def test_spoiler_harms() -> None:
    """The relay of that drill does lose and repeat bytes, or it would prove nothing."""
    done = Counter[str]()
    harm = mixups.Harm("both", drop=0.1, repeat=0.1)
    spoil = mixups.Spoiler(harm, random.Random(1), done)
    lengths = [sum(len(piece) for _, piece in spoil(b"x" * 5000)) for _ in range(100)]

    assert min(lengths) < 5000 < max(lengths)
    assert min(done["drop"], done["repeat"]) > 3
