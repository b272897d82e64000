"""Foreign text where people read it: a terminal, a log."""

from __future__ import annotations

from unicodedata import category

_JOINERS = "\u200c\u200d"  # of Persian and of emoji; they move nothing


def visible(text: str) -> str:
    r"""Return *text* with escapes such as ``\x1b`` for whatever controls, hides or reorders what is shown."""
    if text.isprintable():
        return text
    return "".join(char if _is_harmless(char) else ascii(char)[1:-1] for char in text)


def _is_harmless(char: str) -> bool:
    return char.isprintable() or char in _JOINERS or category(char) == "Zs"
