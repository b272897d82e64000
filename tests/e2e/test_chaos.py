"""The drills of make chaos, in short: what is promised holds while things go wrong."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from chaos import cases, faults, limits, mixups
from chaos.stage import BUSY, QUICK, Fault, try_out

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("fault", [f for f in faults.FAULTS if f.in_quick], ids=lambda fault: fault.name)
def test_fault(fault: Fault) -> None:
    """A fault of Redis opens nothing, is answered at once, and is over when it ends."""
    _, broken = try_out(fault, QUICK)

    assert broken == []


@pytest.mark.parametrize("case", [c for c in cases.CASES if c.in_quick], ids=lambda case: case.name)
def test_case(case: cases.Case) -> None:
    """What is promised of a single case is kept."""
    seen, is_kept = cases.try_out(case, slack=BUSY)

    assert is_kept, seen


def test_mixups() -> None:
    """Whatever is done to the bytes between the service and Redis, nobody gets another's answer."""
    (table,) = mixups.tables(quick=True)

    assert table.failures == []


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
