"""The table of templates: what ``/new?template=…`` fills into the form, beside the hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

_OLLAMA = (
    *("/api/tags", "/api/chat", "/api/generate", "/api/embed", "/api/show", "/api/ps", "/api/version"),
    "/v1/*",
)


class Template(NamedTuple):
    """A link above the form, and the fields that it fills, as an operator would type them."""

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


def filled(template: Template, max_ttl_s: int) -> dict[str, str]:
    """Return the fields of *template*, whose life is at most *max_ttl_s*; 0 is no bound."""
    fields = dict(template.fields)
    if max_ttl_s and int(fields.get("ttl_seconds", "0")) > max_ttl_s:
        fields["ttl_seconds"] = str(max_ttl_s)
    return fields
