"""What a token may be restricted to, in the order in which ``take.lua`` applies it.

To add a restriction:

1. Declare its field in ``core/fields.py``. The record stores a list joined by commas, in its canonical form,
   and has no such field where the token is not restricted.
2. Add its verdict to ``core/verdicts.py``, and the status, body and challenge to ``web/answers.py``.
3. Add what it reads from the request to ``Attempt``, and read it in ``web/forwarded.py``.
4. Add a row to RESTRICTIONS, in its place. Neither the gate, nor the ledger, nor ``take.lua`` changes.

A token must list at least one of the candidates. If there are none, because a header is missing or malformed,
a token with that restriction is refused. A candidate has no comma and at most 255 characters.

Hosts differ from the rest: a token that lists none opens nothing, and an older deployment stored them as they
were typed, so case and blanks do not matter. Any other list that is missing or empty restricts nothing.
See docs/decisions/0023.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.core.hosts import covering_patterns
from app.core.verdicts import Attempt, Verdict


class Restriction(NamedTuple):
    """A field of the record, the verdict if it lists no candidate, and how to find the candidates."""

    field: str
    verdict: Verdict
    candidates: Callable[[Attempt], Sequence[str]]


RESTRICTIONS = (Restriction("hosts", Verdict.WRONG_HOST, lambda attempt: covering_patterns(attempt.host)),)
