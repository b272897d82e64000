"""The audit log in the JSON API: its parameters, and what it returns (docs/decisions/0031)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import request

from app.core import audit, moments
from app.core.audit import Action, FoundEntries, Via, Wanted
from app.core.fields import InvalidFieldsError
from app.core.moments import MOMENT
from app.core.tokens import DIGEST, TOKEN_ID
from app.services import services
from app.web import parameters
from app.web.list_parameters import LIMIT, query
from app.web.schemas import Schema, text
from app.web.shown import Shown

_MAX_ACTOR = 256
_NEXT_CURSOR = "the next_cursor of another response"
_NAME = f"^(?:{TOKEN_ID.pattern}|{DIGEST.pattern})?$"
PARAMETERS = [
    query("token", "the id or the SHA-256 of a token", type="string", pattern=_NAME),
    query("actor", "who made the change", type="string", maxLength=_MAX_ACTOR),
    query("action", "what was done", enum=["", *Action]),
    query("since", "when the first of them was made", type="string", pattern=f"^(?:{MOMENT})?$"),
    query("cursor", _NEXT_CURSOR, type="string", pattern=f"^(?:{audit.CURSOR.pattern})?$"),
    LIMIT,
]
_CHANGE: Schema = {"type": "object", "properties": {"old": {}, "new": {}}, "required": ["old", "new"]}
_ENTRY: Schema = {
    "at": {"type": "string", "format": "date-time", "description": "when it was, by the clock of Redis"},
    "action": text("what was done", enum=[*Action]),
    "via": text("how", enum=[*Via]),
    "actor": text("the name of the operator or of the user of the shell, or the id of the holder's token"),
    "address": {"type": ["string", "null"], "description": "the address of the client"},
    "token": {"type": ["string", "null"], "description": "the id of the token"},
    "changes": {
        "type": "object",
        "additionalProperties": _CHANGE,
        "description": "the old and the new value of each field that changed",
    },
}
SCHEMAS: Schema = {
    "Entry": {"type": "object", "properties": _ENTRY, "required": [*_ENTRY]},
    "Entries": {
        "type": "object",
        "properties": {
            "entries": {"type": "array", "items": {"$ref": "#/components/schemas/Entry"}},
            "next_cursor": {
                "type": ["string", "null"],
                "description": "where the rest begins",
            },
        },
        "required": ["entries", "next_cursor"],
    },
}


def shown() -> Shown:
    """Return the entries that a request asks for; raise InvalidFieldsError."""
    found = find(request.args)
    return {"entries": [entry.described() for entry in found.entries], "next_cursor": found.more}


def find(sent: Mapping[str, str]) -> FoundEntries:
    """Return the entries that the parameters *sent* ask for; raise InvalidFieldsError for every bad one."""
    parsed, problems = dict[str, Any](), dict[str, str]()
    for name, parse in _PARSERS.items():
        try:
            parsed[name] = parse(sent[name]) if sent.get(name) else None
        except InvalidFieldsError as error:
            problems |= error.problems
        except ValueError as error:
            problems[name] = _ADVICE.get(name, str(error))
    if problems:
        raise InvalidFieldsError(problems)
    return services().audit.newest(_wanted(parsed), parsed["cursor"], parameters.limit(sent))


def _wanted(parsed: Mapping[str, Any]) -> Wanted:
    texts = {name: parsed[name] or "" for name in ("actor", "action")}
    return Wanted(token_id=parsed["token"] or "", since_ms=max(parsed["since"] or 0, 0), **texts)


def _token_id(typed: str) -> str:
    return audit.token_id(typed, services().catalog.id_of)


def _actor(typed: str) -> str:
    if len(typed) > _MAX_ACTOR:
        raise ValueError(f"at most {_MAX_ACTOR} characters, not {len(typed)}")
    return typed


def _cursor(typed: str) -> str:
    if not audit.CURSOR.fullmatch(typed):
        raise ValueError
    return typed


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "token": _token_id,
    "actor": _actor,
    "action": Action,
    "since": moments.parse_ms,
    "cursor": _cursor,
}
_ADVICE = {
    "action": f"one of {', '.join(Action)}",
    "cursor": _NEXT_CURSOR,
}
