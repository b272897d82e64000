"""Which attempts the gate refuses by itself, and what it asks the ledger."""

from collections.abc import Sequence

import pytest

from app.core.gate import Gate
from app.core.peppers import Peppers
from app.core.tokens import mint
from app.core.verdicts import Attempt, Decision, Verdict


class RecordingLedger:
    """A ledger that allows everything and records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Sequence[str], Sequence[str]]] = []

    def take(self, digests: Sequence[str], candidates: Sequence[str]) -> Decision:
        """Record the call and allow the request."""
        self.calls.append((digests, candidates))
        return Decision(Verdict.ALLOWED)


def check(attempt: Attempt) -> tuple[Verdict, list[tuple[Sequence[str], Sequence[str]]]]:
    """Return the verdict on *attempt* and the calls to the ledger."""
    ledger = RecordingLedger()
    return Gate(ledger, Peppers("p"), "acl").check(attempt).verdict, ledger.calls


@pytest.mark.parametrize("fault", [Verdict.NO_CREDENTIAL, Verdict.MALFORMED_CREDENTIAL])
def test_fault(fault: Verdict) -> None:
    """A faulty attempt is refused without asking the ledger."""
    assert check(Attempt("", "a.test", fault)) == (fault, [])


def test_mistyped_token() -> None:
    """A token with our prefix and a wrong checksum is refused without asking the ledger."""
    assert check(Attempt("acl_" + "x" * 38, "a.test")) == (Verdict.MISTYPED_TOKEN, [])


@pytest.mark.parametrize("token", [mint("acl"), "from-an-older-deployment"])
def test_plausible_token(token: str) -> None:
    """Any other token causes one call, with every pattern that covers its host."""
    expected = (Peppers("p").digests(token), (",a.test,*.test,*,", "", "", ""))

    assert check(Attempt(token, "A.test:80")) == (Verdict.ALLOWED, [expected])


def test_malformed_host() -> None:
    """For a malformed host the ledger gets no patterns, so that an unknown token is still a 401."""
    assert check(Attempt("t", "a,b"))[1] == [(Peppers("p").digests("t"), ("",) * 4)]
