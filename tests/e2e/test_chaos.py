"""A short version of ``make chaos``: the guarantees hold while things fail."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from chaos import cases, faults, limits, mixups, trails
from chaos.stage import BUSY, QUICK, Fault
from chaos.trial import try_out

pytestmark = pytest.mark.e2e


def passes_eventually(drill: Callable[[], Iterable[str]], tries: int = 5) -> None:
    """Run *drill* until it reports no broken guarantee, as a busy machine may miss a time limit."""
    reports = []
    for _ in range(tries):
        reports.append(list(drill()))
        if not reports[-1]:
            return
        assert not any("without right" in broken for broken in reports[-1]), reports
    raise AssertionError(reports)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", [f for f in faults.FAULTS if f.in_quick], ids=lambda fault: fault.name)
def test_fault(fault: Fault) -> None:
    """During a Redis fault nothing is allowed wrongly, answers are prompt, and service resumes afterwards."""
    passes_eventually(lambda: try_out(fault, QUICK)[1])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", [c for c in cases.CASES if c.in_quick], ids=lambda case: case.name)
def test_case(case: cases.Case) -> None:
    """Every single-case guarantee holds."""

    def broken() -> Iterable[str]:
        report, is_kept = cases.try_out(case, slack=BUSY)
        return [] if is_kept else [report]

    passes_eventually(broken)


@pytest.mark.timeout(600)
def test_mixups() -> None:
    """Corrupting the bytes between the service and Redis never gives a client another client's answer."""
    (table,) = mixups.tables(quick=True)

    assert table.failures == []


@pytest.mark.timeout(300)
def test_trails() -> None:
    """After kill -9 of Redis or of a writer, every token is as its audit entries tell."""
    assert [table.failures for table in trails.tables(quick=True)] == [[]]


@pytest.mark.timeout(300)
def test_limits() -> None:
    """The rate limiter keeps its guarantees in every drill."""
    assert [table.failures for table in limits.tables(quick=True)] == [[]]


def test_spoiler_corrupts_bytes() -> None:
    """The corrupting relay does drop and repeat bytes; otherwise the mix-up drill would prove nothing."""
    done = Counter[str]()
    harm = mixups.Harm("both", drop=0.1, repeat=0.1)
    spoil = mixups.Spoiler(harm, random.Random(1), done)
    lengths = [sum(len(piece) for _, piece in spoil(b"x" * 5000)) for _ in range(100)]

    assert min(lengths) < 5000 < max(lengths)
    assert min(done["drop"], done["repeat"]) > 3
