"""What a token may be restricted to, in the order in which ``take.lua`` applies it.

To add a restriction:

1. Declare its field in ``core/fields.py``. The record stores a list joined by commas, in its canonical form,
   and has no such field where the token is not restricted.
2. Add its verdict to ``core/verdicts.py``, and the status, body and challenge to ``web/answers.py``.
3. Add what it reads from the request to ``Attempt``, and read it in ``web/forwarded.py``.
4. Add a row to RESTRICTIONS, in its place, and the comparison to ``take.lua``. Neither the gate nor the
   ledger changes. The script names the fields and the verdicts itself, because to send them with each request
   costs more than the comparison; a test holds them against the table.

A token must list at least one of the candidates. If there are none, because a header is missing or malformed,
a token with that restriction is refused. No candidate for a host or a method has a comma or
more than 255 characters.

A path and an address are sent as they are, and ``take.lua`` compares them with each listed item: a candidate
for each slash in a path or each network around an address would let a client send megabytes to Redis.

Hosts differ from the rest: a token that lists none opens nothing, and an older deployment stored them as they
were typed, so case and blanks do not matter. Any other list that is missing or empty restricts nothing.
See docs/decisions/0023.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.core.cache import BoundedCache
from app.core.hosts import covering_patterns
from app.core.methods import covering_methods
from app.core.networks import comparable
from app.core.paths import covering_paths
from app.core.verdicts import Attempt, Verdict

# An attempt without its secret.
Presented = tuple[str | None, Verdict | None, str | None, str | None, str | None]
_MAX_CACHE_BYTES = 1024 * 1024
_ENTRY_BYTES = 1000  # of overhead


class Restriction(NamedTuple):
    """A field of the record, the verdict if it lists no candidate, and how to find the candidates."""

    field: str
    verdict: Verdict
    candidates: Callable[[Attempt], Sequence[str]]


RESTRICTIONS = (
    Restriction("hosts", Verdict.WRONG_HOST, lambda attempt: covering_patterns(attempt.host)),
    Restriction("methods", Verdict.WRONG_METHOD, lambda attempt: covering_methods(attempt.method)),
    Restriction("paths", Verdict.WRONG_PATH, lambda attempt: covering_paths(attempt.uri)),
    Restriction("networks", Verdict.WRONG_NETWORK, lambda attempt: comparable(attempt.address)),
)


def candidates(attempt: Attempt) -> tuple[str, ...]:
    """Return the candidates of each restriction in one text, between commas; an empty text if there are none.

    They are cached, because most requests to a service are alike in all but the secret.
    """
    return _cached(attempt[1:])


def _texts(presented: Presented) -> tuple[str, ...]:
    attempt = Attempt("", *presented)
    found = (restriction.candidates(attempt) for restriction in RESTRICTIONS)
    return tuple(f",{','.join(texts)}," if texts else "" for texts in found)


def _size(presented: Presented, texts: tuple[str, ...]) -> int:
    return _ENTRY_BYTES + sum(map(len, texts)) + sum(len(text) for text in presented if text)


_cached = BoundedCache(_texts, _size, _MAX_CACHE_BYTES)
