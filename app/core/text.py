"""Validate untrusted text, and make it safe to show on a page, in a terminal or in a log."""

from __future__ import annotations

import re

# Ranges of invisible characters and of those that reorder text. They are listed here because the Unicode
# tables of Python are older than the text that people type.
HIDDEN = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufdd0-\ufdef\ufeff\uffa0\ufff0-\uffff\U0001bca0-\U0001bca3"
    "\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
    + "".join(f"{chr(plane + 0xFFFE)}-{chr(plane + 0xFFFF)}" for plane in range(0x10000, 0x110000, 0x10000))
)
SURROGATES = "\ud800-\udfff"
JOINERS = "\u200c\u200d"
SELECTORS = "\u034f\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
# England, Scotland and Wales: flags are spelled with tag characters, which hide text anywhere else.
FLAGS = "\U0001f3f4\U000e0067\U000e0062(?:{}|{}|{})\U000e007f".format(
    *("".join(chr(0xE0000 + ord(letter)) for letter in name) for name in ("eng", "sct", "wls"))
)


def _grammar(hidden: str) -> str:
    """Return a pattern that matches text without invisible characters.

    A joiner or a variation selector modifies the character before it, so one of each may follow a
    character. A sequence of them would hide text.
    """
    return f"(?:(?:{FLAGS}|[^{hidden}{JOINERS}{SELECTORS}])[{SELECTORS}]?[{JOINERS}]?)*"


# For programs that validate before they send and may not support surrogates.
LINE = _grammar(HIDDEN)

_LINE = re.compile(_grammar(HIDDEN + SURROGATES))
_FLAG_OR_HIDDEN = re.compile(f"({FLAGS})|[{HIDDEN}{SURROGATES}]")


def visible(text: str) -> str:
    r"""Return *text* with escapes such as ``\x1b`` for whatever controls, hides or reorders what is shown."""
    if text.isascii() and text.isprintable():
        return text
    return _FLAG_OR_HIDDEN.sub(lambda found: found[1] or ascii(found[0])[1:-1], text)


def parse_line(typed: str) -> str:
    """Return *typed* without the blanks around it; raise ValueError if it has an invisible character."""
    bare = typed.strip(" \t\r\n")
    if bare.isascii() and bare.isprintable():
        return bare
    matched = _LINE.match(bare)
    end = matched.end() if matched else 0
    if end < len(bare):
        raise ValueError(f"contains the unprintable character U+{ord(bare[end]):04X}")
    return bare.strip()


def grouped(number: int) -> str:
    """Return *number* with a no-break space between groups of three digits."""
    return f"{number:,}".replace(",", "\xa0")


def counted(number: int, noun: str) -> str:
    """Return *number* and *noun*, with an s unless it is one of them."""
    return f"{number} {plural(number, noun)}"


def plural(number: int, noun: str) -> str:
    """Return *noun*, with an s unless *number* is 1."""
    return noun if number == 1 else f"{noun}s"
