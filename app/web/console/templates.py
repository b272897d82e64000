"""The table of templates: what one fills into the form for a new token, beside the hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from app.core.fields import ROWS

_OLLAMA = (
    *("/api/tags", "/api/chat", "/api/generate", "/api/embed", "/api/show", "/api/ps", "/api/version"),
    "/v1/*",
)


class Template(NamedTuple):
    """A button above the form, and the fields that it fills, as an operator would type them."""

    label: str
    fields: Mapping[str, str]


TEMPLATES: Mapping[str, Template] = {
    "ollama": Template("Ollama user", {"comment": "Ollama user", "paths": "\n".join(_OLLAMA)}),
    "openai": Template("OpenAI-compatible client", {"comment": "OpenAI-compatible client", "paths": "/v1/*"}),
    "read-only": Template("Read-only", {"comment": "Read-only", "methods": "GET"}),
    "prometheus": Template(
        "Prometheus scrape",
        {
            "comment": "Prometheus",
            "methods": "GET",
            "paths": "/metrics",
            "rate_limit_max": "30",
            "rate_limit_window_sec": "60",
        },
    ),
    "ci": Template("CI for 90 days", {"comment": "CI", "ttl_seconds": "7776000"}),
}


class Choice(NamedTuple):
    """The fields of the form after a template was chosen: all, those that it filled, those left as typed."""

    fields: dict[str, str]
    filled: list[str]
    kept: list[str]


def choose(typed: Mapping[str, str], before: Mapping[str, str], fields: Mapping[str, str]) -> Choice:
    """Return what was *typed*, with the *fields* of a template in place of those of the one *before*.

    A row in which something else was typed stays as it is.
    """
    typed = {name: text for name, text in typed.items() if text.strip()}
    own_rows = {_row(name) for name, text in typed.items() if not _same(text, before.get(name))}
    own = {name: text for name, text in typed.items() if _row(name) in own_rows}
    filled_rows = {_row(name) for name in fields}
    kept = [name for name in own if _row(name) in filled_rows and not _same(own[name], fields.get(name))]
    kept_rows = {_row(name) for name in kept}
    ours = {name: text for name, text in fields.items() if _row(name) not in kept_rows}
    return Choice(own | ours, [*ours], kept)


def _row(name: str) -> str:
    """Return the name of the first field in the row of *name*."""
    return next((first for first, second in ROWS.items() if name == second), name)


def _same(typed: str, filled: str | None) -> bool:
    return filled is not None and typed.split() == filled.split()


def filled(template: Template, max_ttl_s: int) -> dict[str, str]:
    """Return the fields of *template*, whose life is at most *max_ttl_s*; 0 is no bound."""
    fields = dict(template.fields)
    if max_ttl_s and int(fields.get("ttl_seconds", "0")) > max_ttl_s:
        fields["ttl_seconds"] = str(max_ttl_s)
    return fields
