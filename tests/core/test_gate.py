"""What the gate decides alone, and what it asks."""

from collections.abc import Sequence

import pytest

from app.core.gate import Gate
from app.core.peppers import Peppers
from app.core.tokens import mint
from app.core.verdicts import Attempt, Decision, Verdict


class Notebook:
    """A ledger that allows everything and writes down what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Sequence[str], Sequence[str]]] = []

    def take(self, digests: Sequence[str], candidates: Sequence[str]) -> Decision:
        """Allow."""
        self.asked.append((digests, candidates))
        return Decision(Verdict.ALLOWED)


def check(attempt: Attempt) -> tuple[Verdict, list[tuple[Sequence[str], Sequence[str]]]]:
    """Return the verdict on *attempt* and what was asked for it."""
    ledger = Notebook()
    return Gate(ledger, Peppers("p"), "acl").check(attempt).verdict, ledger.asked


@pytest.mark.parametrize("fault", [Verdict.NO_CREDENTIAL, Verdict.MALFORMED_CREDENTIAL])
def test_fault(fault: Verdict) -> None:
    """A faulty attempt is refused unasked."""
    assert check(Attempt("", "a.test", fault)) == (fault, [])


def test_mistyped_token() -> None:
    """A token of ours with a wrong checksum is refused unasked."""
    assert check(Attempt("acl_" + "x" * 38, "a.test")) == (Verdict.MISTYPED_TOKEN, [])


@pytest.mark.parametrize("token", [mint("acl"), "from-an-older-deployment"])
def test_plausible_token(token: str) -> None:
    """Any other token is asked about once, with every pattern that covers its host."""
    expected = (Peppers("p").digests(token), (",a.test,*.test,*,", "", "", ""))

    assert check(Attempt(token, "A.test:80")) == (Verdict.ALLOWED, [expected])


def test_host_that_is_none() -> None:
    """For a broken host the ledger is asked with no pattern, so that an unknown token still hears 401."""
    assert check(Attempt("t", "a,b"))[1] == [(Peppers("p").digests("t"), ("",) * 4)]
