"""Template filters that format values for pages."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Flask
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from app.core import credentials, durations, snippets, standing
from app.core.audit_words import told
from app.core.ended import REMEMBERED_DAYS
from app.core.fields import FIELDS, ROWS, formatted
from app.core.moments import rfc3339, to_the_minute
from app.core.text import counted, grouped, visible
from app.core.tokens import TOKEN_ID, Status, beginning
from app.core.usage import COUNTERS, total
from app.web.charts import Chart, short
from app.web.listing import ENDED

# The lists that a token may do without.
_RESTRICTIONS = [field for field in FIELDS.values() if field.kind.is_list and not field.is_required]
_MINUTE_S = 60
_LINE = re.compile("[^\t\r\n]+")
_UNBROKEN = 24
_BREAKS = re.compile("(?<=[.@/-])(?=.)")
_CODE = re.compile("`([^`]+)`")


def register(app: Flask) -> None:
    """Add our filters to the templates of *app*, and a content hash to the URLs of its static files."""
    app.jinja_env.finalize = shown
    app.jinja_env.filters |= _FILTERS
    app.add_template_test(is_token_id, "token_id")
    app.add_template_global(marked_labels)
    app.add_template_global(beginning, "beginning_of_secrets")
    app.add_template_global(Chart, "charted")
    app.jinja_env.globals["token_fields"] = FIELDS
    app.jinja_env.globals["form_rows"] = ROWS
    app.jinja_env.globals["token_restrictions"] = _RESTRICTIONS
    app.jinja_env.globals["labels_hint"] = snippets.LABELS_HINT
    app.jinja_env.globals["usage_counters"] = COUNTERS
    app.jinja_env.globals["statuses"] = [*sorted(Status, key=Status.UNREADABLE.__eq__), ENDED]
    app.jinja_env.globals["standing_of_ended"] = standing.ended
    app.jinja_env.globals["remembered_days"] = REMEMBERED_DAYS

    @app.url_defaults
    def _add_content_hash(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static":
            values["v"] = _content_hash(Path(app.static_folder or "", values["filename"]))


@pass_context
def _moment(context: Context, seconds: int | None, otherwise: str = "never") -> str:
    return moment(seconds, context["now"], otherwise)


@pass_context
def _ago(context: Context, seconds: int | None, otherwise: str = "never") -> str:
    return ago(seconds, context["now"], otherwise)


def shown(value: object) -> object:
    """Return *value* as a page may show it: without characters that control, hide or reorder text."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _LINE.sub(lambda line: visible(line[0]), value)


def moment(seconds: int | None, now: int, otherwise: str) -> str:
    """Return the distance of a time from *now* and the time in UTC, or *otherwise* for None."""
    if seconds is None:
        return otherwise
    return _with_date(durations.distance(seconds - now), seconds)


def ago(seconds: int | None, now: int, otherwise: str) -> str:
    """Return what ``moment`` does for a time in the past, which may come from a clock that is ahead."""
    if seconds is not None and seconds - now >= _MINUTE_S:
        return _with_date("by a clock ahead of this one,", seconds)
    return moment(seconds if seconds is None else min(seconds, now), now, otherwise)


def _with_date(words: str, seconds: int) -> str:
    if not (utc := to_the_minute(seconds)):  # after the year 9999, as other programs may have stored
        return words
    return words + Markup(' <time class="aside" datetime="{}">{}</time>').format(rfc3339(seconds), utc)


@pass_context
def _when(context: Context, seconds: int | None, *, past: bool = False, otherwise: str = "never") -> str:
    now = context["now"]
    if seconds is None:
        return otherwise
    at = min(seconds, now) if past else seconds
    words, utc = durations.distance(at - now, durations.SHORT), to_the_minute(seconds)
    mark = Markup('<time datetime="{}" title="{}" tabindex="0">{}</time>')
    return mark.format(rfc3339(seconds), utc, words) if utc else words


@pass_context
def _age(context: Context, created_at: int) -> str:
    return durations.distance(min(created_at - context["now"], 0), durations.SHORT)


def breakable(text: str) -> Markup:
    """Return *text* as a page may show it; a long one may break after each of ``. - @ /``."""
    text = str(shown(text))
    return Markup("<wbr>").join(_BREAKS.split(text) if len(text) > _UNBROKEN else [text])


def rate(max_requests: int, window_s: int) -> str:
    """Return a rate limit such as ``100 / 1 s``."""
    if not max_requests:
        return "unlimited"
    window = durations.in_words(window_s, durations.SHORT).replace(" ", "\xa0")
    return f"{grouped(max_requests)} / {window}"


def code(text: str) -> Markup:
    """Return *text* with what is in backquotes as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - it is escaped


def marked_labels(sources: Sequence[credentials.Source]) -> str:
    """Return the Docker labels for a backend, with the parts to replace highlighted."""
    mark = Markup("<mark>{}</mark>").format
    return snippets.labels(
        sources,
        mark(snippets.ROUTER),
        mark(snippets.SERVICE),
        Markup(snippets.LABELS),  # noqa: S704 - a constant
    )


def capital(text: str) -> str:
    """Return *text* with its first character in upper case."""
    return text[:1].upper() + text[1:]


def is_token_id(text: str | None) -> bool:
    """Tell whether *text* has the form of a token's public id."""
    return bool(text and TOKEN_ID.fullmatch(text))


_FILTERS: dict[str, Callable[..., Any]] = {
    "moment": _moment,
    "ago": _ago,
    "duration": durations.in_words,
    "capital": capital,
    "rfc3339": rfc3339,
    "code": code,
    "formatted": formatted,
    "total": total,
    "told": told,
    "short": short,
    "when": _when,
    "age": _age,
    "shell": shlex.quote,
    "breakable": breakable,
    "grouped": grouped,
    "rate": rate,
    "counted": counted,
}


@cache
def _content_hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()[:12]
