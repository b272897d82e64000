"""How a token stands, in a word and a sentence with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.core import moments
from app.core.durations import distance
from app.core.ended import EndedToken, Ending
from app.core.text import grouped, plural
from app.core.tokens import Status, Token
from app.core.usage import Usage


class Word(StrEnum):
    """The word that an operator reads."""

    UNREADABLE = "unreadable"
    DISABLED = "disabled"
    NOT_YET_VALID = "not yet valid"
    EXPIRED = "expired"
    OVER_QUOTA = "over quota"
    EXPIRING = "expiring"
    LIMITED_LATELY = "limited lately"
    ACTIVE = "active"
    DELETED = "deleted"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a token stands: a *word*, and the *reason* in one sentence."""

    word: Word
    reason: str

    @property
    def css(self) -> str:
        """Return the word as the name of a class."""
        return self.word.replace(" ", "_")


def standing(token: Token, now_s: int, usage: Usage | None = None) -> Standing:
    """Return how *token* stands at *now_s*; without its *usage* it is never ``limited lately``.

    What stops every request comes first, then what soon will.
    """
    status = token.status(now_s)
    word = Word(status.replace("_", " "))
    if status in {Status.UNREADABLE, Status.DISABLED, Status.NOT_YET_VALID}:
        return Standing(word, _reason(token, word, now_s))
    if token.expires_at is not None and token.expires_at <= now_s:
        return Standing(Word.EXPIRED, f"It expired {_at(token.expires_at, now_s)}.")
    if reason := _over_quota(token, now_s):
        return Standing(Word.OVER_QUOTA, reason)
    if status is Status.ACTIVE and (reason := _limited(usage)):
        return Standing(Word.LIMITED_LATELY, reason)
    return Standing(word, _reason(token, word, now_s))


def ended(token: EndedToken, now_s: int) -> Standing:
    """Return how *token* ended."""
    how = {
        Ending.EXPIRED: "It expired",
        Ending.DELETED: "It was deleted",
        Ending.REPLACED: "A rotation replaced its secret",
    }
    return Standing(Word(token.ending), f"{how[token.ending]} {_at(token.ended_at, now_s)}.")


def _reason(token: Token, word: Word, now_s: int) -> str:
    if word is Word.UNREADABLE:
        return f"Its record can't be read: {token.fault}. Every request with it is refused."
    if word is Word.DISABLED:
        return "Every request with it is refused until it is enabled again."
    if word is Word.NOT_YET_VALID and token.not_before:
        return f"It becomes valid {_at(token.not_before, now_s)}."
    if token.expires_at is None:
        return "It is valid and never expires."
    return f"It is valid and expires {_at(token.expires_at, now_s)}."


def _over_quota(token: Token, now_s: int) -> str:
    quota = token.quota(now_s)
    if quota is None or quota.remaining:
        return ""
    return (
        f"Its quota of {grouped(quota.max)} {plural(quota.max, 'request')} per {quota.period} is used up; "
        f"it resets {_at(quota.resets_at, now_s)}."
    )


def _limited(usage: Usage | None) -> str:
    counts = usage.last_24_hours if usage else None
    if counts is None or not counts.rate_limited:
        return ""
    limited, total = grouped(counts.rate_limited), grouped(counts.total)
    return f"{limited} of {total} requests in the last 24 hours exceeded its rate limit or quota."


def _at(seconds: int, now_s: int) -> str:
    """Return the distance of a time from *now_s*, and the time in UTC."""
    utc = moments.to_the_minute(seconds)
    return distance(seconds - now_s) + (f", on {utc}" if utc else "")
