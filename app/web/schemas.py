"""What the API's bodies hold, as JSON Schema; those of a token come from the table of its fields."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import date, timedelta
from functools import singledispatch
from typing import Any

from app.core.durability import Durability
from app.core.fields import FIELDS, GRACE, KEPT, MAX_TTL_S, Field
from app.core.hosts import BEYOND_ASCII as BEYOND, PATTERN, SPACES
from app.core.kinds import Kind, Moment, Number, Text
from app.core.list_kinds import Hosts, ListKind
from app.core.moments import MOMENT, within
from app.core.tokens import DIGEST, TOKEN_ID, Status
from app.core.usage import COUNTERS

Schema = dict[str, Any]

BEYOND_ASCII = {"format": "idn-hostname", "pattern": f"^{BEYOND}$"}
COUNT: Schema = {"type": "integer", "minimum": 0}


@singledispatch
def sent(kind: Kind) -> Schema:
    """Return the schema of a value of *kind* in a request."""
    raise NotImplementedError(kind)


@singledispatch
def shown(kind: Kind) -> Schema:
    """Return the schema of a value of *kind* in a response.

    It has no bounds, because others may have written beyond those of a request.
    """
    raise NotImplementedError(kind)


@sent.register
def _(kind: ListKind) -> Schema:
    schema = _list(kind, {"pattern": f"^{kind.pattern}$"}, f"(?:{kind.pattern})?")
    return {"anyOf": [*schema["anyOf"], {"type": "null"}]}


@sent.register
def _(kind: Hosts) -> Schema:
    return _list(kind, {"anyOf": [{"pattern": f"^{PATTERN}$"}, BEYOND_ASCII]}, PATTERN, minItems=1)


def _list(kind: ListKind, item: Schema, first: str, **more: Any) -> Schema:
    """Return the schema of an array or a text of items; *first* matches the first item in a text."""
    rest = f"(?:[,{SPACES}]+{kind.pattern}){{0,{kind.max_items - 1}}}"
    return {
        "anyOf": [
            {"type": "array", "items": {"type": "string", **item}, "maxItems": kind.max_items, **more},
            {"type": "string", "pattern": f"^[, \t\r\n]*{first}{rest}[, \t\r\n]*$"},
        ],
    }


@shown.register
def _(_: ListKind) -> Schema:
    return {"type": "array", "items": {"type": "string"}}


@sent.register
def _(kind: Text) -> Schema:
    return {"type": ["string", "null"], "pattern": f"^{kind.pattern}$", "maxLength": kind.max_chars}


@shown.register
def _(_: Text) -> Schema:
    return {"type": "string"}


@sent.register
def _(kind: Number) -> Schema:
    return {"type": ["integer", "null"], "minimum": kind.low, "maximum": kind.high}


@shown.register
def _(kind: Number) -> Schema:
    return {"type": ["integer", "null"], "minimum": kind.low}


@sent.register
def _(_: Moment) -> Schema:
    return {"type": ["string", "null"], "pattern": f"^(?:{MOMENT})$"}


@shown.register
def _(_: Moment) -> Schema:
    return {"type": ["string", "null"], "format": "date-time"}


def text(description: str, **more: Any) -> Schema:
    """Return the schema of a string."""
    return {"type": "string", "description": description, **more}


def _moment(description: str) -> Schema:
    return {**shown(Moment()), "description": description}


def _object(properties: Schema, required: list[str], **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": required, **more}


def _sent(field: Field) -> Schema:
    takes = f"an array or a string of {field.kind}" if field.kind.is_list else field.kind
    return {**sent(field.kind), "description": f"{field.meaning('null')}. Takes {takes}."}


def _shown(field: Field) -> Schema:
    return {**shown(field.kind), "description": field.meaning("null")}


_SENT: Schema = {name: _sent(field) for name, field in FIELDS.items()}
_SENT["expires_at"]["description"] += " null in a change is never, in a new token the default."
_BLANK: Schema = {"anyOf": [{"enum": ["", [], None]}]}
_ONE_END: Schema = {
    "not": {
        "required": ["ttl_seconds", "expires_at"],
        "properties": {"ttl_seconds": {"type": "integer"}, "expires_at": {"type": "string"}},
    }
}
_TOKEN: Schema = {
    "id": text("its public name", pattern=f"^{TOKEN_ID.pattern}$"),
    "sha256": text(
        "what it is kept under: SHA-256 of its text and the pepper", pattern=f"^{DIGEST.pattern}$"
    ),
    **{field.name: _shown(field) for field in KEPT},
    "enabled": {"type": "boolean"},
    "status": text("how it stands", enum=[*Status]),
    "created_at": _moment("when it was made; null if that is not known"),
    "expires_at": _moment("when it ends; null is never"),
    "first_used_at": _moment("when it was first used, to the minute"),
    "last_used_at": _moment("when it was last used, to the minute"),
}
_COUNTS = _object(
    {name: COUNT | {"description": f"requests {counter.label}"} for name, counter in COUNTERS.items()},
    [*COUNTERS],
)
_USAGE = _object({"last_24_hours": _COUNTS, "last_90_days": _COUNTS}, ["last_24_hours", "last_90_days"])
_PROBLEM = _object(
    {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": text("what is wrong and what to do"),
        "errors": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "what is wrong with each field",
        },
    },
    ["type", "title", "status", "detail"],
    description="RFC 9457",
)
_SECRET = text("the token itself; in this one answer only")

DURABILITY: Schema = {"type": "string", "enum": [durability.value for durability in Durability]}
SCHEMAS: Schema = {
    "Token": _object(_TOKEN, [*_TOKEN]),
    "UsedToken": _object(_TOKEN | {"usage": _USAGE}, [*_TOKEN, "usage"]),
    "IssuedToken": _object({"token": _SECRET} | _TOKEN, ["token", *_TOKEN]),
    "NewToken": _object(
        _SENT,
        [field.name for field in FIELDS.values() if field.is_required],
        additionalProperties=False,
        **_ONE_END,
    ),
    "Change": _object(
        {**_SENT, "enabled": {"type": ["boolean", "null"]}}, [], additionalProperties=False, **_ONE_END
    ),
    "Rotation": _object(
        {"grace_seconds": {**sent(GRACE), "description": "how long the old text stays valid"}},
        [],
        additionalProperties=False,
    ),
    "Tokens": _object(
        {
            "tokens": {"type": "array", "items": {"$ref": "#/components/schemas/Token"}},
            "next_cursor": {
                "type": ["string", "null"],
                "description": "where the rest begins; null at the end",
            },
            "total": {**COUNT, "description": "how many tokens there are, found or not"},
        },
        ["tokens", "next_cursor", "total"],
    ),
    "Problem": _PROBLEM,
}


def schemas(today: date, unset: AbstractSet[str]) -> Schema:
    """Return the schemas as they hold on *today*, when an end is in the future, within a hundred years.

    Fields that need one of the settings *unset* take no value but a blank one.
    """
    ends = within(timedelta(seconds=MAX_TTL_S).days, today)
    changed = {name: _SENT[name] | _BLANK for name, field in FIELDS.items() if field.needs in unset}
    changed["expires_at"] = {**_SENT["expires_at"], "pattern": f"^(?:{ends})$"}
    return SCHEMAS | {
        name: SCHEMAS[name] | {"properties": SCHEMAS[name]["properties"] | changed}
        for name in ("NewToken", "Change")
    }
