"""The audit log in the JSON API (docs/decisions/0031)."""

from __future__ import annotations

from collections.abc import Mapping

from flask import request

from app.core import audit, moments
from app.core.audit import Action, Wanted
from app.core.fields import InvalidFieldsError
from app.core.tokens import TOKEN_ID
from app.services import services
from app.web import limits
from app.web.shown import Shown


def show() -> Shown:
    """Return the newest entries of the audit log, from ``cursor`` on."""
    wanted, cursor = _wanted(request.args), request.args.get("cursor") or None
    if cursor and not audit.CURSOR.fullmatch(cursor):
        raise InvalidFieldsError({"cursor": "the next_cursor of another response"})
    found = services().audit.newest(wanted, cursor, limits.asked(request.args))
    return {"entries": [entry.described() for entry in found.entries], "next_cursor": found.more}


def _wanted(sent: Mapping[str, str]) -> Wanted:
    """Return which entries a request asks for; raise InvalidFieldsError."""
    problems = {}
    token_id, action = sent.get("token", ""), sent.get("action", "")
    if token_id and not TOKEN_ID.fullmatch(token_id):
        problems["token"] = "the id of a token"
    if action and action not in {*Action}:
        problems["action"] = f"one of {', '.join(Action)}"
    try:
        since_s = moments.parse(sent["since"]) if sent.get("since") else 0
    except ValueError as error:
        problems["since"] = str(error)
    if problems:
        raise InvalidFieldsError(problems)
    return Wanted(token_id=token_id, actor=sent.get("actor", ""), action=action, since_s=max(since_s, 0))
