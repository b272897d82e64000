"""Where the headers of a backend are sent: on a 200 and nowhere else."""

from __future__ import annotations

import pytest

from app.core.limits import Refusal
from app.core.verdicts import Decision, Identity, Verdict
from app.web.answers import render
from devkit.builders import make_settings

ADDED = (("Authorization", "Bearer hush"), ("X-Org", "acme"))


@pytest.mark.parametrize("verdict", Verdict)
def test_verdicts(verdict: Verdict) -> None:
    """The answer to an allowed request has them last, and no refusal has them."""
    settings, is_allowed = make_settings(), verdict is Verdict.ALLOWED
    refusal = None if is_allowed else Refusal(settings.limit, 1)
    decision = Decision(verdict, Identity(b"id", b"", b""), refusal)
    plain, answer = render(decision, settings), render(decision, settings, ADDED)

    assert answer == plain._replace(headers=[*plain.headers, *(ADDED if is_allowed else ())])
