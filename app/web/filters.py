"""How values read in a page."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Flask
from markupsafe import Markup, escape

from app.core import credentials
from app.core.fields import FIELDS, formatted
from app.core.moments import rfc3339
from app.core.text import visible
from app.core.tokens import TOKEN_ID
from app.core.usage import Counts, total

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
_MINUTE_S = 60
_LINE = re.compile("[^\t\r\n]+")
_CODE = re.compile("`([^`]+)`")


def register(app: Flask, now: Callable[[], float] = time.time) -> None:
    """Give the templates of *app* our filters, and its static files an address for each content."""

    def moment_(seconds: int | None, otherwise: str = "never") -> str:
        return moment(seconds, int(now()), otherwise)

    def ago_(seconds: int | None, otherwise: str = "never") -> str:
        return ago(seconds, int(now()), otherwise)

    def add_content_hash(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static":
            values["v"] = _content_hash(Path(app.static_folder or "", values["filename"]))

    app.jinja_env.finalize = shown
    app.add_template_filter(moment_, "moment")
    app.add_template_filter(ago_, "ago")
    app.add_template_filter(duration)
    app.add_template_filter(capital)
    app.add_template_filter(code)
    app.add_template_filter(formatted)
    app.add_template_filter(total)
    app.add_template_filter(every)
    app.add_template_test(is_token_id, "token_id")
    app.add_template_global(credentials.headers, "credential_headers")
    app.add_template_global(credentials.curl)
    app.jinja_env.globals["token_fields"] = FIELDS
    app.jinja_env.globals["identity_headers"] = credentials.IDENTITY_HEADERS
    app.url_defaults(add_content_hash)


def shown(value: object) -> object:
    """Return what a page shows of *value*, whoever wrote it: nothing in it controls, hides or reorders."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _LINE.sub(lambda line: visible(line[0]), value)


def moment(seconds: int | None, now: int, otherwise: str) -> str:
    """Return how far a time is from *now* and what it is in UTC, *otherwise* for None."""
    if seconds is None:
        return otherwise
    return _with_date(distance(seconds - now), seconds)


def ago(seconds: int | None, now: int, otherwise: str) -> str:
    """Return what ``moment`` does of something that has happened, by whatever clock."""
    if seconds is not None and seconds - now >= _MINUTE_S:
        return _with_date("by a clock ahead of this one,", seconds)
    return moment(seconds if seconds is None else min(seconds, now), now, otherwise)


def distance(seconds: int) -> str:
    """Return how far away *seconds* are in the largest unit that fits twice.

    What is to come is rounded. What is past is told in whole minutes at least, since a use is kept to the
    minute, and as no longer ago than it is.
    """
    if seconds > 0:
        name, size = _unit(seconds, _UNITS)
        return f"in {_count((seconds + size // 2) // size, name)}"
    if -seconds < _MINUTE_S:
        return "less than a minute ago"
    name, size = _unit(-seconds, _UNITS[:-1])
    return f"{_count(-seconds // size, name)} ago"


def _unit(span: int, units: Sequence[tuple[str, int]]) -> tuple[str, int]:
    return next((unit for unit in units if span >= 2 * unit[1]), units[-1])


def _with_date(words: str, seconds: int) -> str:
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):  # beyond the year 9999, as others may have written
        return words
    return words + Markup(' <time class="aside" datetime="{}">{}</time>').format(
        rfc3339(seconds), at.strftime(f"{at.year:04}-%m-%d %H:%M UTC")
    )


def duration(seconds: int) -> str:
    """Return *seconds*, at least one, exactly, in the largest unit that divides them."""
    name, size = next(unit for unit in _UNITS if seconds % unit[1] == 0)
    return _count(seconds // size, name)


def code(text: str) -> Markup:
    """Return *text* with what is in backquotes as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - it is escaped


def every(counts: Counts) -> int:
    """Return the number of all requests, whatever became of them."""
    return counts.allowed + counts.refused


def capital(text: str) -> str:
    """Return *text* as it begins a sentence."""
    return text[:1].upper() + text[1:]


def is_token_id(text: str | None) -> bool:
    """Tell whether *text* has the form of a token's public id."""
    return bool(text and TOKEN_ID.fullmatch(text))


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


@cache
def _content_hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()[:12]
