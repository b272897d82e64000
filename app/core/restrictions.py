"""What a token may be restricted to, in the order in which ``take.lua`` applies it.

To add a restriction:

1. Declare its field in ``core/fields.py``. The record stores a list joined by commas, in its canonical form,
   and has no such field where the token is not restricted.
2. Add its verdict to ``core/verdicts.py``, and the status, body and challenge to ``web/answers.py``.
3. Add what it reads from the request to ``Attempt``, and read it in ``web/forwarded.py``.
4. Add a row to RESTRICTIONS, in its place. Neither the gate nor the ledger changes, and ``take.lua`` only for
   a list that is compared in another way than for equality.

The candidates are the texts of which a token has to list one. If there are none, because a header is missing
or malformed, a token with that restriction is refused. No candidate has more than 255 characters, and none
contains a comma; several may come as one text with commas between them.

Two lists differ from the rest. A token that lists no hosts opens nothing, and an older deployment stored
hosts as they were typed, so case and blanks do not matter. A path is sent as it is, with its commas, and
``take.lua`` compares it with each listed one: a candidate for each slash in it would let a client send
megabytes to Redis. Any list but the hosts restricts nothing if it is missing or empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.core.hosts import covering_patterns
from app.core.methods import covering_methods
from app.core.networks import covering_networks
from app.core.paths import covering_paths
from app.core.verdicts import Attempt, Verdict


class Restriction(NamedTuple):
    """A field of the record, the verdict if it lists no candidate, and how to find the candidates."""

    field: str
    verdict: Verdict
    candidates: Callable[[Attempt], Sequence[str]]


RESTRICTIONS = (
    Restriction("hosts", Verdict.WRONG_HOST, lambda attempt: covering_patterns(attempt.host)),
    Restriction("methods", Verdict.WRONG_METHOD, lambda attempt: covering_methods(attempt.method)),
    Restriction("paths", Verdict.WRONG_PATH, lambda attempt: covering_paths(attempt.uri)),
    Restriction("networks", Verdict.WRONG_NETWORK, lambda attempt: covering_networks(attempt.address)),
)
