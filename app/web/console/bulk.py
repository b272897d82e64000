"""Disable, enable, extend or delete several tokens at once, after a page that says how many and which."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import request

from app.core.bulk import Action, Order
from app.core.bulk_reports import Report
from app.core.fields import InvalidFieldsError, unknown
from app.core.kinds import whole_number
from app.core.listing import Filter
from app.core.search import InvalidQueryError
from app.services import services
from app.web import forms, listing
from app.web.actors import operator
from app.web.console.blueprint import bp
from app.web.console.rendering import doubt_after, render
from app.web.console.tokens import FILTERS

_LOOK_S, _WORK_S = 1.5, 10.0
_MAX_DAYS = 36_500
_OWN = ("action", "all", "days", "cursor", forms.IDEMPOTENCY_KEY)
_NONE = "check at least one token, or all that match"


@dataclass(frozen=True, slots=True)
class _Sent:
    """What a form asks for: the tokens with *names*, or all that are as *wanted*."""

    order: Order
    names: list[str]
    wanted: Filter | None
    more: Mapping[str, str]


@bp.post("/confirm_bulk")
def confirm_bulk() -> str:
    """Say what would be done to which tokens, and do nothing yet."""
    sent, bulk = _sent(), services().bulk
    if sent.wanted is None:
        report = bulk.preview_named(sent.order, sent.names)
    else:
        report = bulk.preview(sent.order, sent.wanted, _later(_LOOK_S))
    return _show("confirm.html", sent, report)


@bp.post("/bulk_tokens")
def bulk_tokens() -> str:
    """Change the tokens, and say what was done and what was not."""
    sent, bulk = _sent(), services().bulk
    if sent.wanted is None:
        report = bulk.named(sent.order, sent.names)
    else:
        start = sent.more.get("cursor")
        report = bulk.matching(sent.order, sent.wanted, start, _later(_WORK_S))
    disk = doubt_after(report) if report.done.count else None
    return _show("bulk.html", sent, report, disk=disk)


def _show(template: str, sent: _Sent, report: Report, **more: Any) -> str:
    kept = {name: text for name, text in sent.more.items() if name in FILTERS}
    key, is_all = forms.new_idempotency_key(), sent.wanted is not None
    shown: dict[str, Any] = {
        "sent": kept,
        "order": sent.order,
        "names": report.names,
        "is_all": is_all,
        "form": key,
    }
    return render(template, report=report, **shown, **more)


def _sent() -> _Sent:
    """Return what the form asks for; raise InvalidFieldsError."""
    names = [name.strip() for name in request.form.getlist(forms.TOKEN) if name.strip()]
    fields = forms.typed(request.form, forms.TOKEN, may_repeat={forms.TOKEN})
    if problems := unknown(fields, (*_OWN, *FILTERS)):
        raise InvalidFieldsError(problems)
    more = {name: text for name, text in fields.items() if text.strip()}
    action = _action(more.get("action", ""))
    order = Order(operator(), action, _days(action, more), more.get(forms.IDEMPOTENCY_KEY, ""))
    wanted = _wanted(more)
    if wanted is None and not names:
        raise InvalidFieldsError({forms.TOKEN: _NONE})
    return _Sent(order, names, wanted, more)


def _action(text: str) -> Action:
    try:
        return Action(text)
    except ValueError:
        raise InvalidFieldsError({"action": f"one of {', '.join(Action)}"}) from None


def _days(action: Action, sent: Mapping[str, str]) -> int:
    """Return for how many days tokens are extended, 0 on the page that asks for them."""
    if action is not Action.EXTEND:
        if "days" in sent:
            raise InvalidFieldsError({"days": f"only together with action={Action.EXTEND}"})
        return 0
    if "days" not in sent and request.endpoint == "admin.confirm_bulk":
        return 0
    try:
        return whole_number(sent.get("days", ""), 1, _MAX_DAYS)
    except ValueError:
        raise InvalidFieldsError({"days": f"a whole number from 1 to {_MAX_DAYS}, such as 30"}) from None


def _wanted(sent: Mapping[str, str]) -> Filter | None:
    """Return the filter if all tokens that match it are meant."""
    if "all" not in sent:
        return None
    if sent["all"] != "1":
        raise InvalidFieldsError({"all": "1, or leave it out"})
    if listing.wants_ended(sent):
        raise InvalidFieldsError({"status": "tokens that ended can't be changed"})
    try:
        return listing.wanted(sent, services().settings.token_prefix)
    except InvalidQueryError as error:
        raise InvalidFieldsError({"q": str(error)}) from None


def _later(seconds: float) -> Callable[[], bool]:
    """Return a function that tells whether so many seconds have passed."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until
