"""The words for how a token stands, and their reasons."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.ended import EndedToken, Ending
from app.core.quotas import DAY, Count, bounds
from app.core.standing import Word, ended, standing
from app.core.tokens import Fault, Status
from app.core.usage import HOURS, Counts, Usage
from devkit.builders import NOW, make_token

USED_UP: dict[str, Any] = {
    "quota_max": 5000,
    "quota_period": DAY,
    "quota_used": Count(*bounds(DAY, NOW), 5000),
}
LIMITED = Usage(hours=(Counts(),) * (HOURS - 24) + (Counts(1100, 2, 7),) + (Counts(),) * 23)
LIMITED_BEFORE = Usage(hours=(Counts(0, 0, 9),) * (HOURS - 24) + (Counts(1),) * 24)
OFF: dict[str, Any] = {"fault": Fault.FIELDS, "enabled": False, "not_before": NOW + 60}


@pytest.mark.parametrize(
    ("fields", "usage", "word", "reason"),
    [
        ({}, None, Word.ACTIVE, "It is valid and never expires."),
        ({"expires_at": NOW + 90 * 86_400}, LIMITED_BEFORE, Word.ACTIVE, "in 90 days, on 2027-02-2"),
        ({"expires_at": NOW + 3 * 86_400}, LIMITED, Word.EXPIRING, "in 3 days, on 2026-11-27 "),
        ({"expires_at": NOW}, LIMITED, Word.EXPIRED, "It expired less than a minute ago, on 2026-11-24 "),
        ({"expires_at": 10**12}, None, Word.ACTIVE, " years."),
        ({}, LIMITED, Word.LIMITED_LATELY, "7 of 1\xa0109 requests in the last 24 hours"),
        (
            USED_UP,
            LIMITED,
            Word.OVER_QUOTA,
            "Its quota of 5\xa0000 requests per day is used up; it resets in ",
        ),
        (USED_UP | {"quota_max": 1}, None, Word.OVER_QUOTA, "Its quota of 1 request per day is used up; "),
        (USED_UP | {"quota_used": Count(*bounds(DAY, NOW), 4999)}, None, Word.ACTIVE, "never"),
        (USED_UP | {"expires_at": NOW + 60}, None, Word.OVER_QUOTA, "resets"),
        (
            USED_UP | {"not_before": NOW + 7200},
            LIMITED,
            Word.NOT_YET_VALID,
            "It becomes valid in 2 hours, on ",
        ),
        (USED_UP | OFF | {"fault": None}, LIMITED, Word.DISABLED, "until it is enabled again"),
        (USED_UP | OFF, LIMITED, Word.UNREADABLE, "a field of its record is invalid"),
    ],
)
def test_standing(fields: dict[str, Any], usage: Usage | None, word: Word, reason: str) -> None:
    """What stops every request comes first, then what soon will; the reason has the moment or the figure."""
    found = standing(make_token(**fields), NOW, usage)

    assert found.word is word
    assert reason in found.reason
    assert found.css == word.replace(" ", "_")


def test_words_of_every_status() -> None:
    """Every status of a token, and every way to end, is one of the words."""
    words = {word.replace(" ", "_") for word in Word}

    assert {*Status, *Ending} <= words


@pytest.mark.parametrize("ending", Ending)
def test_ended(ending: Ending) -> None:
    """A token that ended stands as it ended, with the moment."""
    found = ended(EndedToken(digest="ab" * 32, id="0" * 16, ending=ending, ended_at=NOW - 7200), NOW)

    assert found.word.value == ending.value
    assert "2 hours ago, on 2026-11-24 " in found.reason
