"""Render pages, and what they say of the durability of a change."""

from __future__ import annotations

from typing import Any

from flask import redirect, render_template, request, stream_template, url_for
from werkzeug.sansio.response import Response

from app.core.bulk_reports import Report
from app.core.changes import Change
from app.core.durability import Durability
from app.pauses import paced
from app.services import services
from app.web import forms
from app.web.messages import log_durability

Shown = str | tuple[str, int]

_SHOWN_AFTER_A_CHANGE = {Durability.UNCONFIRMED, Durability.NO_FILE}
_SHOWN_ON_THE_FIRST_PAGE = {Durability.NO_FILE, Durability.UNTOLD}  # these hold for every change


def render(template: str, now_s: int | None = None, **context: Any) -> str:
    """Render *template*, with pauses for other requests, because a long table takes a while."""
    settings = services().settings
    now = services().registry.now_s if now_s is None else now_s
    return "".join(paced(stream_template(template, settings=settings, now=now, **context)))


def problem(status: int, message: str, form: forms.Form | None = None) -> tuple[str, int]:
    """Show *message* as a page with *status*, with a button that sends *form* again."""
    return render_template("problem.html", status=status, message=message, form=form), status


def done(verb: str, change: Change) -> Response:
    """Lead to the page of the changed token, by the name that the form had; it says what was done."""
    token = change.token
    name = token.digest if forms.token(request.form) == token.digest else token.id
    return redirect(url_for("admin.token_page", token_id=name, done=verb, disk=doubt_after(change)), 303)


def doubt_after(change: Change | Report) -> str | None:
    """Return what the page after a change shows of its durability, and log it."""
    log_durability(change.durability)
    return _shown_of(change.durability, _SHOWN_AFTER_A_CHANGE)


def doubt_of_all() -> str | None:
    """Return what the first page shows of the durability of all changes."""
    return _shown_of(services().registry.durability(), _SHOWN_ON_THE_FIRST_PAGE)


def _shown_of(durability: Durability, shown: set[Durability]) -> str | None:
    return durability.value if durability in shown else None
