"""Escaping untrusted text for display."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, strategies as st

from app.core.text import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),
        ("a\nb\r\tc\x00\x7f", r"a\nb\r\tc\x00\x7f"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("\u202egnp.exe\u2066\u200b\ufeff", r"\u202egnp.exe\u2066\u200b\ufeff"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\udc80\U000e0041\ufffe", r"\udc80\U000e0041\ufffe"),
        ("\u115f\u2800", r"\u115f\u2800"),
        ("\ue000 \U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",) * 2,
        (
            "naïve 日本 👩\u200d💻 \u0645\u06cc\u200c\u062e\u00a0",
            "naïve 日本 👩\u200d💻 \u0645\u06cc\u200c\u062e\u00a0",
        ),
    ],
)
def test_visible(text: str, shown: str) -> None:
    """Characters that control, hide or reorder text are escaped; all others are kept."""
    assert visible(text) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_any_text(text: str) -> None:
    """The result has no control characters for a terminal, and can always be encoded."""
    shown = visible(text)

    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
    assert len(shown.encode()) >= len(text)
