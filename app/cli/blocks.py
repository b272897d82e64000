"""What ``tokens show`` prints of one token: facts, restrictions, limits, and usage."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

import click

from app.cli import output
from app.cli.rows import COLORS, past
from app.core import durations
from app.core.fields import KEPT, Field
from app.core.kinds import Moment
from app.core.moments import rfc3339
from app.core.text import visible
from app.core.tokens import Token
from app.core.usage import COUNTERS, Usage
from app.settings import Settings

_LABEL_CHARS = 34
# Each pair is told in one sentence.
_LIMITS = {"rate_limit_max", "rate_limit_window_sec", "quota_max", "quota_period"}


def of_token(token: Token, usage: Usage, settings: Settings, now_s: int) -> Iterator[str]:
    """Yield the lines of the block."""
    yield click.style(f"Token {token.id}", bold=True)
    status = token.status(now_s)
    yield _line("Status", status, COLORS[status])
    if token.fault:
        yield _line("Why", str(token.fault))
    yield _line("SHA-256", token.digest)
    yield _line("Created", _when(past(token.created_at, now_s), now_s, "unknown"))
    yield _line("Expires", _when(token.expires_at, now_s, "never"))
    yield _line("First used", _when(past(token.first_used_at, now_s), now_s, "never"))
    yield _line("Last used", _when(past(token.last_used_at, now_s), now_s, "never"))
    for field in KEPT:
        if field.name not in _LIMITS and (text := _value(field, getattr(token, field.name), now_s)):
            yield _line(field.label, text)
    yield _line("Rate limit", _rate_limit(token, settings))
    yield _line("Quota", _quota(token, now_s))
    yield click.style("Last 24 hours", bold=True)
    for name, counter in COUNTERS.items():
        label = counter.label if name == "allowed" else f"refused, {counter.label}"
        yield _line(label.capitalize(), f"{getattr(usage.last_24_hours, name)}")


def _value(field: Field, value: Any, now_s: int) -> str:
    """Return the value of a field, "" if there is nothing to say of it."""
    if field.kind.is_list:
        return ", ".join(value) or "any"
    return _when(value, now_s, "") if isinstance(field.kind, Moment) else field.kind.format(value)


def _rate_limit(token: Token, settings: Settings) -> str:
    most = settings.rate_limit_max if token.rate_limit_max is None else token.rate_limit_max
    window_s = token.rate_limit_window_sec or settings.rate_limit_window_sec
    origin = " (RATE_LIMIT_MAX)" if token.rate_limit_max is None else ""
    return (
        f"{most or 'unlimited'} requests per {durations.in_words(window_s)}{origin}"
        if most
        else f"none{origin}"
    )


def _quota(token: Token, now_s: int) -> str:
    quota = token.quota(now_s)
    if not quota:
        return "none"
    return (
        f"{quota.max} requests per {quota.period}: {quota.used} used, {quota.remaining} left, "
        f"starts again {_when(quota.resets_at, now_s, '')}"
    )


def _when(seconds: int | None, now_s: int, otherwise: str) -> str:
    if seconds is None:
        return otherwise
    return f"{durations.distance(seconds - now_s)} ({rfc3339(seconds)})"


def _line(label: str, text: str, color: str | None = None) -> str:
    """Return a label and its text, which a terminal shows beside it if it takes several lines."""
    shown, indent = visible(text), " " * (_LABEL_CHARS + 2)
    if output.is_terminal():
        columns = max(shutil.get_terminal_size().columns - len(indent), 20)
        lines = textwrap.wrap(shown, columns, break_long_words=False, break_on_hyphens=False)
        shown = f"\n{indent}".join(lines)
    return f"  {label:<{_LABEL_CHARS}}" + (click.style(shown, fg=color) if color else shown)
