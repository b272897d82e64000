"""The kinds of a token's fields: how each is typed, stored and sent as JSON (docs/decisions/0023)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from app.core import moments
from app.core.text import HIDDEN, JOINERS, LINE, SELECTORS, parse_line

_MAX_KEPT_DIGITS = 12
_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)
_SPACES = " \xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
_BLANKS = "[ \t\r\n]*"


_EMAIL_PART = f"[^@{HIDDEN}{JOINERS}{SELECTORS}{_SPACES}]+"
_EMAIL = re.compile(f"{_EMAIL_PART}@{_EMAIL_PART}")


def whole_number(text: str, low: int, high: int) -> int:
    """Return a number written in plain digits; raise ValueError with the allowed range."""
    if not _DIGITS.fullmatch(text) or not low <= int(text) <= high:
        raise ValueError(f"a whole number from {low} to {high}, not {text!r}")
    return int(text)


def kept_number(kept: str, max_digits: int = _MAX_KEPT_DIGITS) -> int | None:
    """Return the number stored as *kept*, or None if that is not a number of at most 12 digits."""
    is_number = kept.isascii() and kept.isdigit() and len(kept) <= max_digits
    return int(kept) if is_number else None


class Kind(ABC):
    """The type of a field, which ``str()`` describes for documents, and the conversions of its values.

    *name* is the name of the macro in templates/_fields.html that shows the input.
    """

    name: ClassVar[str]
    is_list: ClassVar[bool] = False

    @abstractmethod
    def parse(self, typed: str) -> Any:
        """Return the value of *typed*; raise ValueError with what is wrong."""

    def format(self, value: Any) -> str:
        """Return *value* as an operator may type it again."""
        return self.to_record(value)

    def to_record(self, value: Any) -> str:
        """Return *value* as a record stores it; an empty string is not stored."""
        return "" if value is None else str(value)

    def from_record(self, kept: str) -> Any:
        """Return the value stored as *kept*, which is empty if the record has no such field."""
        return kept

    def to_json(self, value: Any) -> Any:
        """Return *value* in a type that JSON has."""
        return value

    def from_json(self, value: Any) -> str:
        """Return *value* as it would have been typed; raise ValueError if its JSON type is wrong."""
        if value is not None and not isinstance(value, str):
            raise ValueError("a string, or null")
        return value or ""


@dataclass(frozen=True)
class Text(Kind):
    """One line of text; *pattern* matches it with the blanks around it."""

    max_chars: int

    name = "text"
    pattern: ClassVar[str] = f"{_BLANKS}{LINE}{_BLANKS}"

    def __str__(self) -> str:
        return f"text of at most {self.max_chars} characters, none of them invisible"

    def parse(self, typed: str) -> str:
        """Return the text without the blanks around it."""
        if len(typed) > self.max_chars:
            raise ValueError(f"at most {self.max_chars} characters, not {len(typed)}")
        return parse_line(typed)


@dataclass(frozen=True)
class Email(Text):
    """An email address."""

    name = "email"
    pattern: ClassVar[str] = f"{_BLANKS}(?:{_EMAIL.pattern})?{_BLANKS}"

    def __str__(self) -> str:
        return f"an email address of at most {self.max_chars} characters"

    def parse(self, typed: str) -> str:
        """Return the address, which needs only an ``@`` between two parts; raise ValueError."""
        email = parse_line(typed)
        if email and (len(typed) > self.max_chars or not _EMAIL.fullmatch(email)):
            raise ValueError("not an email address, such as ops@example.com")
        return email


@dataclass(frozen=True)
class Number(Kind):
    """A whole number within bounds, both included; *zero* says what 0 means, if it is special."""

    low: int
    high: int
    zero: str = ""

    name = "number"

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def parse(self, typed: str) -> int | None:
        """Return the number, None for blank."""
        return whole_number(typed.strip(), self.low, self.high) if typed.strip() else None

    def from_record(self, kept: str) -> int | None:
        """Return the number, which may be out of bounds if another program wrote it."""
        return kept_number(kept, max(_MAX_KEPT_DIGITS, len(str(self.high))))

    def from_json(self, value: Any) -> str:
        """Return a whole number as JSON Schema defines it: 60.0 is one, and true is not; raise ValueError."""
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            raise ValueError("a whole number, or null")
        return str(int(value))


@dataclass(frozen=True)
class Lifetime(Number):
    """A number of seconds from now."""

    name = "lifetime"


@dataclass(frozen=True)
class Moment(Kind):
    """A point in time, in seconds since the epoch."""

    name = "moment"
    low: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"a moment such as `{moments.EXAMPLE}` (RFC 3339), by default in UTC and at midnight"

    def parse(self, typed: str) -> int | None:
        """Return the moment, None for blank."""
        return moments.parse(typed.strip()) if typed.strip() else None

    def format(self, value: int | None) -> str:
        """Return the moment in the format of RFC 3339."""
        return moments.rfc3339(value)

    def from_record(self, kept: str) -> int | None:
        """Return the moment, which may be after the year 9999 if another program wrote it."""
        return kept_number(kept)

    def to_json(self, value: int | None) -> str | None:
        """Return the moment in the format of RFC 3339, null for none."""
        return moments.rfc3339(value) or None

    def from_json(self, value: Any) -> str:
        """Return a moment as it would have been typed; raise ValueError for an empty string."""
        if value == "":
            raise ValueError(f"a moment such as {moments.EXAMPLE}, or null")
        return super().from_json(value)
