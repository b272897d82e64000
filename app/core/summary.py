"""What a token opens, in one sentence: "Opens app.example.com for GET below /v1/, until 2027-02-26 …".

The script of the form keeps the sentence up to date while an operator types, from the same WORDS.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from app.core.fields import FIELDS, Terms
from app.core.hosts import ANY, SEPARATOR
from app.core.kinds import Kind
from app.core.limits import Limit
from app.core.list_kinds import ListKind
from app.core.moments import rfc3339

MOST = 3
_ENDS = ("ttl_seconds", "expires_at")
WORDS: Mapping[str, str] = {
    "nothing": "Opens nothing until it names a host.",
    "hosts": "Opens {}",
    "any": "every host",
    "and": "{} and {}",
    "more": "{} and {} more",
    "methods": " for {}",
    "at": " at {}",
    "below": " below {}",
    "at_and_below": " at {}, and below {}",
    "networks": ", for clients in {}",
    "unlimited": ", without a rate limit",
    "request": "{} request",
    "requests": "{} requests",
    "second": ", at most {} per second",
    "seconds": ", at most {} in {} seconds",
    "day": ", at most {} per day",
    "month": ", at most {} per month",
    "from": ", from {}",
    "until": ", until {}.",
    "endless": ", without an end.",
}


def sentence(terms: Terms, default: Limit) -> str:
    """Return what a token with *terms* opens; *default* is the rate limit of tokens without their own."""
    if not terms.hosts:
        return WORDS["nothing"]
    parts = (_hosts(terms), _restrictions(terms), _rate(terms, default), _quota(terms), _span(terms))
    return "".join(parts)


def of_typed(typed: Mapping[str, str], default: Limit, blank_end: int | None, now_s: int) -> str:
    """Return the sentence for a form as it was *typed*, without what can't be used.

    The token ends at *blank_end* unless the form says when; None is never.
    """
    values = {name: _usable(field.kind, typed.get(name, "")) for name, field in FIELDS.items()}
    ttl_s, expires_at = (values.pop(name) for name in _ENDS)
    end = expires_at or (blank_end if ttl_s is None else after(ttl_s, now_s))
    return sentence(Terms(**values, expires_at=end), default)


def for_script(default: Limit, blank_end: int | None) -> dict[str, Any]:
    """Return what a script needs to write the same sentence."""
    limit = {"max": default.max_requests, "window": default.window_s}
    return {"words": dict(WORDS), "most": MOST, "end": rfc3339(blank_end), **limit}


def after(ttl_s: int, now_s: int) -> int | None:
    """Return the end of a life of *ttl_s* from *now_s*; a life of 0 has none."""
    return now_s + ttl_s if ttl_s else None


def _usable(kind: Kind, typed: str) -> Any:
    """Return the value of *typed*, blank if it has none; of a list, the items that are valid."""
    if isinstance(kind, ListKind):
        return tuple(dict.fromkeys(_valid(kind, SEPARATOR.split(typed))))
    with suppress(ValueError):
        return kind.parse(typed)
    return kind.from_record("")


def _valid(kind: ListKind, items: Iterable[str]) -> Iterator[str]:
    for item in items:
        with suppress(ValueError):
            yield kind.parse_item(item)


def _hosts(terms: Terms) -> str:
    return WORDS["hosts"].format(WORDS["any"] if ANY in terms.hosts else _listed(terms.hosts))


def _restrictions(terms: Terms) -> str:
    methods = WORDS["methods"].format(_listed(terms.methods)) if terms.methods else ""
    networks = WORDS["networks"].format(_listed(terms.networks)) if terms.networks else ""
    return methods + _paths(terms.paths) + networks


def _paths(paths: Sequence[str]) -> str:
    exact = _listed([path for path in paths if not path.endswith("/*")])
    below = _listed([path[:-1] for path in paths if path.endswith("/*")])
    if exact and below:
        return WORDS["at_and_below"].format(exact, below)
    return (exact and WORDS["at"].format(exact)) or (below and WORDS["below"].format(below))


def _rate(terms: Terms, default: Limit) -> str:
    most = default.max_requests if terms.rate_limit_max is None else terms.rate_limit_max
    window_s = terms.rate_limit_window_sec or default.window_s
    if not most:
        return WORDS["unlimited"]
    return WORDS["second" if window_s == 1 else "seconds"].format(_requests(most), f"{window_s:,}")


def _quota(terms: Terms) -> str:
    if not (terms.quota_max and terms.quota_period):
        return ""
    return WORDS[terms.quota_period].format(_requests(terms.quota_max))


def _requests(number: int) -> str:
    return WORDS["request" if number == 1 else "requests"].format(f"{number:,}")


def _span(terms: Terms) -> str:
    start = WORDS["from"].format(_moment(terms.not_before)) if terms.not_before else ""
    return start + (
        WORDS["until"].format(_moment(terms.expires_at)) if terms.expires_at else WORDS["endless"]
    )


def _moment(seconds: int) -> str:
    return f"{rfc3339(seconds)[:16].replace('T', ' ')} UTC"


def _listed(items: Sequence[str]) -> str:
    """Return *items* as a sentence names them, the first three of a longer list."""
    if len(items) > MOST:
        return WORDS["more"].format(", ".join(items[:MOST]), len(items) - MOST)
    return WORDS["and"].format(", ".join(items[:-1]), items[-1]) if items[1:] else "".join(items)
