"""What ``tokens show`` prints of one token: facts, restrictions, limits, and usage."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import click

from app.cli import output
from app.cli.rows import COLORS, NEVER, past
from app.core import durations
from app.core.declared import file_of
from app.core.fields import KEPT, Field
from app.core.kinds import Moment
from app.core.moments import rfc3339
from app.core.text import counted, visible
from app.core.tokens import Token
from app.core.usage import COUNTERS, Usage
from app.settings import Settings

_LABEL_CHARS = 12
_INDENT = " " * (_LABEL_CHARS + 4)
# Each pair is told in one sentence.
_LIMITS = {"rate_limit_max", "rate_limit_window_sec", "quota_max", "quota_period"}
_RESTRICTIONS = [field for field in KEPT if field.kind.is_list and not field.is_required]
_FACTS = [field for field in KEPT if field not in _RESTRICTIONS and field.name not in _LIMITS]


def of_token(token: Token, usage: Usage, settings: Settings, now_s: int) -> Iterator[str]:
    """Yield the lines of the block."""
    yield click.style(f"Token {token.id}", bold=True)
    yield from _facts(token, settings.tokens_file.keys, now_s)
    yield click.style("Restrictions", bold=True)
    for field in _RESTRICTIONS:
        yield _line(field.label, _value(field, token, now_s) or "any")
    yield click.style("Limits", bold=True)
    yield _line("Rate limit", _rate_limit(token, settings))
    yield _line("Quota", _quota(token, now_s))
    yield click.style("Last 24 hours", bold=True)
    yield from _usage(usage)


def _facts(token: Token, declared: Collection[str], now_s: int) -> Iterator[str]:
    status = token.status(now_s)
    yield _line("Status", f"{status}: {token.fault}" if token.fault else status, COLORS[status])
    if token.managed:
        yield _line("Managed as", f"{token.managed}, by {file_of(token, declared)}")
    for field in _FACTS:
        if text := _value(field, token, now_s):
            yield _line(field.label, text)
    yield _line("Created", _when(past(token.created_at, now_s), now_s, "unknown"))
    yield _line("Expires", _when(token.expires_at, now_s, NEVER))
    yield _line("First used", _when(past(token.first_used_at, now_s), now_s, NEVER))
    yield _line("Last used", _when(past(token.last_used_at, now_s), now_s, NEVER))
    yield _line("SHA-256", token.digest)


def _usage(usage: Usage) -> Iterator[str]:
    day = usage.last_24_hours
    refused = [f"{getattr(day, name)} {counter.label}" for name, counter in [*COUNTERS.items()][1:]]
    yield _line("Allowed", f"{day.allowed}")
    yield _line("Refused", f"{day.refused}: {', '.join(refused)}")


def _value(field: Field, token: Token, now_s: int) -> str:
    """Return the value of a field, "" if it has none."""
    value = getattr(token, field.name)
    if field.kind.is_list:
        return ", ".join(value)
    return _when(value, now_s, "") if isinstance(field.kind, Moment) else field.kind.format(value)


def _rate_limit(token: Token, settings: Settings) -> str:
    origin = ", which is RATE_LIMIT_MAX" if token.rate_limit_max is None else ""
    return f"{settings.limit.of(token.rate_limit_max, token.rate_limit_window_sec)}{origin}"


def _quota(token: Token, now_s: int) -> str:
    quota = token.quota(now_s)
    if not quota:
        return "none"
    return (
        f"{counted(quota.max, 'request')} per {quota.period}: {quota.used} used, {quota.remaining} left, "
        f"resets {_when(quota.resets_at, now_s, '')}"
    )


def _when(seconds: int | None, now_s: int, otherwise: str) -> str:
    if seconds is None:
        return otherwise
    return f"{durations.distance(seconds - now_s)} ({rfc3339(seconds)})"


def _line(label: str, text: str, color: str | None = None) -> str:
    """Return a label and its text, which a terminal shows beside it if it takes several lines."""
    shown = output.wrapped(visible(text), _INDENT)
    return f"  {label:<{_LABEL_CHARS}}  " + (click.style(shown, fg=color) if color else shown)
