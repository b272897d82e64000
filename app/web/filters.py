"""How values read in a page."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Flask
from markupsafe import Markup


def register(app: Flask) -> None:
    """Give the templates of *app* our filters."""
    app.add_template_filter(moment)


def moment(seconds: int | None, otherwise: str = "never") -> str:
    """Return a ``<time>`` in UTC for *seconds* since the epoch, *otherwise* for None."""
    if seconds is None:
        return otherwise
    at = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        f"{at:%Y-%m-%dT%H:%M:%SZ}", f"{at:%Y-%m-%d %H:%M} UTC"
    )
