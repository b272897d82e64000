"""Decisions on trials in words."""

from __future__ import annotations

import pytest

from app.core.ended import Ending
from app.core.restrictions import RESTRICTIONS
from app.core.trial_words import explain
from app.core.verdicts import Verdict

SENT = {"host": "b.test", "method": "POST", "path": "/x", "address": "192.0.2.7"}


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("sent", [SENT, {}])
def test_every_verdict_has_words(verdict: Verdict, sent: dict[str, str]) -> None:
    """Each verdict is a sentence, and each refusal says what to change."""
    words = explain(verdict, None, sent)
    assert words.decision.endswith(".")
    assert bool(words.advice) == (verdict is not Verdict.ALLOWED)


def test_restrictions_name_what_was_sent() -> None:
    """A refusal by a restriction names the field and what the request has, or that it has none."""
    for restriction, value in zip(RESTRICTIONS, SENT.values(), strict=True):
        shown = explain(restriction.verdict, None, SENT).decision
        assert f"The {restriction.field} of the token" in shown
        assert value in shown
        assert "the request has no" in explain(restriction.verdict, None, {}).decision


def test_ended_tokens() -> None:
    """A secret that was replaced is told from one that nobody knows."""
    ends = (None, Ending.DELETED, Ending.REPLACED)
    assert len({explain(Verdict.UNKNOWN_TOKEN, end, {}) for end in ends}) == 3
