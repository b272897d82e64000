"""The JSON Schemas of the API's bodies; a token's follow from its fields (docs/decisions/0015, 0023)."""

from __future__ import annotations

from datetime import date, timedelta
from functools import singledispatch
from typing import Any

from app.core.durability import Durability
from app.core.fields import FIELDS, GRACE, KEPT, MAX_TTL_S, Field
from app.core.hosts import BEYOND_ASCII as BEYOND, MAX_PATTERNS, PATTERN, PATTERNS
from app.core.kinds import Hosts, Kind, Moment, Number, Text
from app.core.moments import MOMENT, within
from app.core.tokens import DIGEST, TOKEN_ID, Status
from app.core.usage import Counts

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

    It has no bounds, because another program may have stored a value outside those of a request.
    """
    raise NotImplementedError(kind)


@sent.register
def _(_: Hosts) -> Schema:
    return {
        "anyOf": [
            {
                "type": "array",
                "items": {"type": "string", "anyOf": [{"pattern": f"^{PATTERN}$"}, BEYOND_ASCII]},
                "minItems": 1,
                "maxItems": MAX_PATTERNS,
            },
            {"type": "string", "pattern": f"^{PATTERNS}$"},
        ],
    }


@shown.register
def _(_: Hosts) -> Schema:
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
_ONE_END: Schema = {
    "not": {
        "required": ["ttl_seconds", "expires_at"],
        "properties": {"ttl_seconds": {"type": "integer"}, "expires_at": {"type": "string"}},
    }
}
_TOKEN: Schema = {
    "id": text("its public name", pattern=f"^{TOKEN_ID.pattern}$"),
    "sha256": text(
        "what it is stored under: SHA-256 of its secret and the pepper", pattern=f"^{DIGEST.pattern}$"
    ),
    **{field.name: _shown(field) for field in KEPT},
    "enabled": {"type": "boolean"},
    "status": text("its state", enum=[*Status]),
    "created_at": _moment("when it was created; null if unknown"),
    "expires_at": _moment("when it expires; null is never"),
    "first_used_at": _moment("when it was first used, to the minute"),
    "last_used_at": _moment("when it was last used, to the minute"),
}
_COUNTS = _object(dict.fromkeys(Counts._fields, COUNT), [*Counts._fields])
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
_SECRET = text("the secret, which only this response contains")

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
        {"grace_seconds": {**sent(GRACE), "description": "how many seconds the old secret stays valid"}},
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
            "total": {**COUNT, "description": "the number of all tokens, found or not"},
        },
        ["tokens", "next_cursor", "total"],
    ),
    "Problem": _PROBLEM,
}


def schemas(today: date) -> Schema:
    """Return the schemas as they hold on *today*: an end is in the future, within a hundred years."""
    ends = within(timedelta(seconds=MAX_TTL_S).days, today)
    end = {"expires_at": {**_SENT["expires_at"], "pattern": f"^(?:{ends})$"}}
    ending = {
        name: SCHEMAS[name] | {"properties": SCHEMAS[name]["properties"] | end}
        for name in ("NewToken", "Change")
    }
    return SCHEMAS | ending
