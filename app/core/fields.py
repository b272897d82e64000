"""What an operator typed, from any skin, into values or one message per field."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from app.core import hosts
from app.core.tokens import TokenSpec

MAX_TTL_S = 100 * 365 * 86_400
MAX_COMMENT_CHARS = 500
MAX_EMAIL_CHARS = 254

_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class InvalidFieldsError(ValueError):
    """Some fields can't be used; *problems* maps each one's name to what is wrong and what to do."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in problems.items()))
        self.problems = dict(problems)


def parse_spec(typed: Mapping[str, str], default_ttl_s: int) -> TokenSpec:
    """Return what *typed* says of a token; raises InvalidFieldsError naming every bad field."""
    problems = {name: f"unknown field; known are {', '.join(FIELDS)}" for name in typed.keys() - FIELDS}
    values = {}
    for name, parse in FIELDS.items():
        try:
            values[name] = parse(typed.get(name, "").strip())
        except ValueError as error:
            problems[name] = str(error)
    if problems:
        raise InvalidFieldsError(problems)
    ttl_s = default_ttl_s if values["ttl_seconds"] is None else values["ttl_seconds"]
    return TokenSpec(values["hosts"], values["email"], values["comment"], ttl_s)


def _email(text: str) -> str:
    _refuse_invisible(text)
    if text and (len(text) > MAX_EMAIL_CHARS or not _EMAIL.fullmatch(text)):
        raise ValueError("not an e-mail address, such as ops@example.com")
    return text


def _comment(text: str) -> str:
    _refuse_invisible(text)
    if len(text) > MAX_COMMENT_CHARS:
        raise ValueError(f"at most {MAX_COMMENT_CHARS} characters, not {len(text)}")
    return text


def whole_number(text: str, low: int, high: int) -> int:
    """Return a number written in plain digits; raises ValueError with the range allowed."""
    if not _DIGITS.fullmatch(text) or not low <= int(text) <= high:
        raise ValueError(f"a whole number from {low} to {high}, not {text!r}")
    return int(text)


def _ttl(text: str) -> int | None:
    return whole_number(text, 0, MAX_TTL_S) if text else None


def _refuse_invisible(text: str) -> None:
    for char in text:
        if unicodedata.category(char) in _INVISIBLE or char == _REPLACEMENT:
            raise ValueError(f"contains the unprintable character U+{ord(char):04X}")


FIELDS: Mapping[str, Callable[[str], Any]] = {
    "hosts": hosts.parse_patterns,
    "email": _email,
    "comment": _comment,
    "ttl_seconds": _ttl,
}
