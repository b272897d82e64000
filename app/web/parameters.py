"""Read query parameters, and refuse those that a view would ignore (docs/decisions/0015)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set as AbstractSet

from flask import request

from app.core.catalog import PAGE_SIZE
from app.core.fields import InvalidFieldsError
from app.core.kinds import whole_number
from app.core.search import may_be_secret
from app.services import services

MAX_LIMIT = 500


def limit(sent: Mapping[str, str]) -> int:
    """Return how many results are asked for at most; raise InvalidFieldsError."""
    try:
        return whole_number(sent.get("limit", f"{PAGE_SIZE}"), 1, MAX_LIMIT)
    except ValueError:
        raise InvalidFieldsError({"limit": f"a whole number from 1 to {MAX_LIMIT}"}) from None


def refuse_others(known: AbstractSet[str] = frozenset()) -> None:
    """Raise InvalidFieldsError for a parameter that is not *known* or is sent twice."""
    for name in request.args:
        if name not in known:
            raise InvalidFieldsError({_shown(name): f"unknown parameter; {_listed(known)}"})
    refuse_repeated(known)


def refuse_repeated(names: Iterable[str]) -> None:
    """Raise InvalidFieldsError for one of the parameters *names* that is sent twice."""
    for name in names:
        if len(request.args.getlist(name)) > 1:
            raise InvalidFieldsError({name: "sent twice; send it once"})


def _listed(names: AbstractSet[str]) -> str:
    return f"known are {', '.join(sorted(names))}" if names else "there are none here"


def _shown(name: str) -> str:
    """Return a name as it was sent, unless it may be a secret."""
    return "?" if may_be_secret(name, services().settings.token_prefix) else name
