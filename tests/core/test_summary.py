"""The sentence that says what a token opens."""

from __future__ import annotations

import re

import pytest

from app.core import summary
from app.core.limits import Limit
from devkit.builders import NOW

DEFAULT = Limit(100, 1)
HOST = {"hosts": "app.example.com"}
RATE = "at most 100 requests per second"
OPENS = "Opens app.example.com"


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({}, "Opens nothing until it names a host."),
        ({"hosts": "a/b"}, "Opens nothing until it names a host."),
        (HOST, f"{OPENS}, {RATE}, without an end."),
        (
            {"hosts": "A.test, b.test\n*.c.test"},
            f"Opens a.test, b.test and *.c.test, {RATE}, without an end.",
        ),
        ({"hosts": "a.b c.d e.f g.h i.j"}, f"Opens a.b, c.d, e.f and 2 more, {RATE}, without an end."),
        ({"hosts": "a.test *"}, f"Opens every host, {RATE}, without an end."),
        (
            HOST | {"methods": "get", "paths": "/v1/*", "expires_at": "2027-02-26"},
            f"{OPENS} for GET below /v1/, {RATE}, until 2027-02-26 00:00 UTC.",
        ),
        (
            HOST | {"paths": "/a /b/* /c x"},
            f"{OPENS} at /a and /c, and below /b/, {RATE}, without an end.",
        ),
        (HOST | {"networks": "10.0.0.0/8"}, f"{OPENS}, for clients in 10.0.0.0/8, {RATE}, without an end."),
        (
            HOST | {"rate_limit_max": "5", "rate_limit_window_sec": "60"},
            f"{OPENS}, at most 5 requests in 60 seconds, without an end.",
        ),
        (HOST | {"rate_limit_max": "1"}, f"{OPENS}, at most 1 request per second, without an end."),
        (HOST | {"rate_limit_max": "0"}, f"{OPENS}, without a rate limit, without an end."),
        (
            HOST | {"quota_max": "1000", "quota_period": "day", "not_before": "2026-12-01T08:00"},
            f"{OPENS}, {RATE}, at most 1,000 requests per day, from 2026-12-01 08:00 UTC, without an end.",
        ),
        (HOST | {"ttl_seconds": "60"}, f"{OPENS}, {RATE}, until 2026-11-24 04:04 UTC."),
        (HOST | {"ttl_seconds": "soon", "email": "x"}, f"{OPENS}, {RATE}, without an end."),
    ],
)
def test_sentence(typed: dict[str, str], sentence: str) -> None:
    """The sentence has what was typed in canonical form, and leaves out what can't be used."""
    assert summary.of_typed(typed, DEFAULT, None, NOW) == sentence


@pytest.mark.parametrize(("typed", "end"), [("", "until 2026-11-24 05:03 UTC."), ("0", "without an end.")])
def test_blank_end(typed: str, end: str) -> None:
    """A blank life is that of the service's default, or the end that a token has; 0 is never."""
    sentence = summary.of_typed(HOST | {"ttl_seconds": typed}, DEFAULT, NOW + 3600, NOW)

    assert sentence.endswith(end)


def test_words() -> None:
    """A script gets every word, with places for as many values as the sentence has there."""
    words = summary.for_script(DEFAULT, None)["words"]

    assert words == summary.WORDS
    assert all(
        "{}" in text for name, text in words.items() if name not in {"nothing", "any", "unlimited", "endless"}
    )
    assert all(re.fullmatch("[^{}]*", rest) for text in words.values() for rest in text.split("{}"))
