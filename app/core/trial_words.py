"""The decision on a request in words: what it is, and what to change so that the request passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from app.core.ended import Ending
from app.core.verdicts import Verdict


class Words(NamedTuple):
    """A sentence with the decision, and what to do about it, blank if there is nothing to do."""

    decision: str
    advice: str = ""


_WORDS: Mapping[Verdict, Words] = {
    Verdict.ALLOWED: Words("The request is allowed."),
    Verdict.NO_CREDENTIAL: Words("The request has no token.", "Send one as the page of a new token shows."),
    Verdict.MALFORMED_CREDENTIAL: Words(
        "No token has a secret of this form.",
        "A secret has 1 to 512 letters, digits and ._~+/=-; blanks and quotes do not belong to it.",
    ),
    Verdict.MISTYPED_TOKEN: Words(
        "The secret is mistyped or cut off: its checksum is wrong.", "Copy all of it once more."
    ),
    Verdict.UNKNOWN_TOKEN: Words(
        "No token has this secret.",
        "It may be that of another service, of a database before it was restored, or of another PEPPER.",
    ),
    Verdict.EXPIRED_TOKEN: Words("The token has expired.", "Create a new token for this client."),
    Verdict.DISABLED_TOKEN: Words("The token is disabled.", "Enable it on its page."),
    Verdict.TOKEN_NOT_YET_VALID: Words(
        "The token is not valid yet.", "Wait until then, or edit when it becomes valid."
    ),
    Verdict.RATE_LIMITED: Words(
        "The token is over its rate limit.", "Slow the client down, or raise the limit."
    ),
    Verdict.QUOTA_EXCEEDED: Words(
        "The quota of the token is used up.", "Wait for the next period, or raise the quota."
    ),
    Verdict.THROTTLED_CLIENT: Words(
        "The client sent too many bad tokens.", "Correct its token, and wait for a minute."
    ),
    Verdict.UNAVAILABLE: Words("No decision can be made now.", "Look at Redis: flask --app wsgi doctor."),
}
_ENDED: Mapping[str, Words] = {
    Ending.DELETED: Words("The token was deleted.", "Create a new token for this client."),
    Ending.REPLACED: Words(
        "A rotation replaced this secret.", "Give the client the new secret, or rotate the token again."
    ),
}
# What the request has, and the field that lists it.
_RESTRICTED: Mapping[Verdict, tuple[str, str]] = {
    Verdict.WRONG_HOST: ("host", "hosts"),
    Verdict.WRONG_METHOD: ("method", "methods"),
    Verdict.WRONG_PATH: ("path", "paths"),
    Verdict.WRONG_NETWORK: ("address", "networks"),
}


def explain(verdict: Verdict, ended: str | None, sent: Mapping[str, str]) -> Words:
    """Return *verdict* on a request with what was *sent*, of a token that *ended* in that way, in words."""
    if verdict in _RESTRICTED:
        return _outside(*_RESTRICTED[verdict], sent)
    if verdict is Verdict.UNKNOWN_TOKEN and ended:
        return _ENDED[ended]
    return _WORDS[verdict]


def _outside(name: str, field: str, sent: Mapping[str, str]) -> Words:
    if not sent.get(name):
        return Words(
            f"The token is limited to some {field}, and the request has no {name}.",
            f"Try it with the {name} that the proxy reports.",
        )
    return Words(
        f"The {field} of the token do not cover the {name} {sent[name]}.",
        f"Add what covers it to the {field} of the token, or change the request.",
    )
