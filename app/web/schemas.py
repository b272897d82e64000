"""The JSON Schemas of the API's bodies; a token's follow from its fields (docs/decisions/0015, 0023)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import date, timedelta
from functools import singledispatch
from typing import Any

from app.core.choices import Choice
from app.core.durability import Durability
from app.core.ended import Ending
from app.core.fields import FIELDS, GRACE, KEPT, MAX_TTL_S, Field
from app.core.hosts import ADDRESS, BEYOND_ASCII as BEYOND, PATTERN, SPACES
from app.core.kinds import Kind, Lifetime, Moment, Number, Text
from app.core.list_kinds import Hosts, ListKind
from app.core.moments import MOMENT, within
from app.core.quotas import PERIODS
from app.core.tokens import CREDENTIAL, DIGEST, MIN_SECRET_CHARS, TOKEN_ID, Status
from app.core.usage import COUNTERS, DAYS, HOURS
from app.core.verdicts import Verdict

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
def _(kind: ListKind) -> Schema:
    schema = _list(kind, {"pattern": f"^{kind.pattern}$"}, "?")
    return {"anyOf": [*schema["anyOf"], {"type": "null"}]}


@sent.register
def _(kind: Hosts) -> Schema:
    return _list(kind, {"anyOf": [{"pattern": f"^{PATTERN}$"}, BEYOND_ASCII]}, "", minItems=1)


def _list(kind: ListKind, item: Schema, optional: str, **more: Any) -> Schema:
    """Return the schema of an array or a text of items; *optional* is "?" where a text may have none.

    The items in a text are counted by an expression of its own: counting those of *kind* takes more memory
    than the engines of some clients grant to one expression.
    """
    items = _texts(kind.pattern, "*", optional)
    count = _texts(f"[^,{SPACES}]+", f"{{0,{kind.max_items - 1}}}", optional)
    return {
        "anyOf": [
            {"type": "array", "items": {"type": "string", **item}, "maxItems": kind.max_items, **more},
            {"type": "string", "pattern": items, "allOf": [{"pattern": count}]},
        ],
    }


def _texts(item: str, times: str, optional: str) -> str:
    """Return an expression for texts of one *item* and *times* more of them."""
    return f"^[, \t\r\n]*(?:{item}(?:[,{SPACES}]+{item}){times}){optional}[, \t\r\n]*$"


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


@sent.register
def _(kind: Choice) -> Schema:
    return {"enum": [*kind.words, None]}


@shown.register
def _(_: Choice) -> Schema:
    return {"type": ["string", "null"]}


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
_BLANK: Schema = {
    "anyOf": [
        {"type": "array", "items": {"type": "string"}, "maxItems": 0},
        {"type": "string", "maxLength": 0},
        {"type": "null"},
    ],
}
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
    "managed": {
        "type": ["string", "null"],
        "description": "the key by which a tokens file declares it; then it is changed there. null if none",
    },
}
_ENDED: Schema = {
    **{name: _TOKEN[name] for name in ("id", "sha256")},
    **{name: _shown(FIELDS[name]) for name in ("hosts", "email", "comment")},
    "status": text("how it ended", enum=[*Ending]),
    "ended_at": {"type": "string", "format": "date-time"},
}
_COUNTS = _object(
    {name: COUNT | {"description": f"requests {counter.label}"} for name, counter in COUNTERS.items()},
    [*COUNTERS],
)
_PERIOD = _object(
    {
        "start": {"type": "string", "format": "date-time", "description": "when it begins"},
        "refused": COUNT | {"description": "all requests that were refused"},
        **_COUNTS["properties"],
    },
    ["start", "refused", *COUNTERS],
)
_USED: Schema = {
    "last_24_hours": _COUNTS,
    "last_90_days": _COUNTS,
    **{
        name: {
            "type": "array",
            "items": {"$ref": "#/components/schemas/Period"},
            "minItems": count,
            "maxItems": count,
            "description": f"each {name[:-1]} (UTC), oldest first; the last one is the current one",
        }
        for name, count in (("hours", HOURS), ("days", DAYS))
    },
}
_USAGE = _object(_USED, [*_USED])
_QUOTA: Schema = {
    **_object(
        {
            "max": COUNT,
            "period": {"enum": [*PERIODS]},
            "used": COUNT,
            "remaining": COUNT,
            "resets_at": _moment("when the period ends"),
        },
        ["max", "period", "used", "remaining", "resets_at"],
    ),
    "type": ["object", "null"],
    "description": "its quota and what is left of it; null if it has none",
}
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
        "id": text("the token of an earlier request with the same idempotency key"),
    },
    ["type", "title", "status", "detail"],
    description="RFC 9457",
)
_EXISTING: Schema = {
    "secret": {
        "type": ["string", "null"],
        "pattern": f"^{CREDENTIAL.pattern}$",
        "description": "an existing secret for the token; null generates one",
    },
    "allow_weak": {
        "type": ["boolean", "null"],
        "description": f"whether that secret may have fewer than {MIN_SECRET_CHARS} characters",
    },
}
_STRONG: Schema = {
    "if": {"properties": {"allow_weak": {"const": True}}, "required": ["allow_weak"]},
    "then": {"properties": {"secret": {"type": "string"}}, "required": ["secret"]},
    "else": {"properties": {"secret": {"minLength": MIN_SECRET_CHARS}}},
}
_TRIED: Schema = {
    "id": {
        "type": ["string", "null"],
        "pattern": f"^({TOKEN_ID.pattern}|{DIGEST.pattern})$",
        "description": "the token's id or its SHA-256; this or token",
    },
    "token": {"type": ["string", "null"], "description": "its secret; this or id"},
    "host": {"type": ["string", "null"], "description": "as in X-Forwarded-Host; null if there is none"},
    "method": {"type": ["string", "null"], "description": "as in X-Forwarded-Method; null if there is none"},
    "path": {"type": ["string", "null"], "description": "as in X-Forwarded-Uri; null if there is none"},
    "address": {
        "type": ["string", "null"],
        "pattern": f"^(?:{ADDRESS})$",
        "description": "that of the client; it matters only if TRUSTED_PROXIES is set. null is unknown",
    },
}
# Without oneOf, which generators of clients take for two kinds of bodies.
_ONE_TOKEN: Schema = {
    "if": {"required": ["id"], "properties": {"id": {"type": "string"}}},
    "then": {"properties": {"token": {"type": "null"}}},
    "else": {"required": ["token"], "properties": {"token": {"type": "string"}}},
}
_TRIAL: Schema = {
    "allowed": {"type": "boolean"},
    "verdict": {"enum": [*Verdict], "description": "the outcome, as in logs and metrics"},
    "status": {"type": "integer", "description": "the status that /auth would answer"},
    "reason": text("the text that /auth would answer"),
    "field": {"type": ["string", "null"], "description": "the token's field that refuses; null if none does"},
    "retry_after": {"type": ["integer", "null"], "minimum": 1, "description": "seconds until a limit admits"},
    "id": {"type": ["string", "null"], "description": "the id of the token; null if it is unknown"},
    "ended": {
        "enum": [*Ending, None],
        "description": "how the token or its secret ended; null if it did not or is unknown",
    },
}
_SECRET = text("the secret, which only this response contains")


def _page(name: str) -> Schema:
    properties: Schema = {
        "tokens": {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}},
        "next_cursor": {"type": ["string", "null"], "description": "where the rest begins; null at the end"},
        "total": {**COUNT, "description": "the number of all tokens, found or not"},
    }
    return _object(properties, [*properties])


DURABILITY: Schema = {"type": "string", "enum": [durability.value for durability in Durability]}
SCHEMAS: Schema = {
    "Token": _object(_TOKEN, [*_TOKEN]),
    "UsedToken": _object(_TOKEN | {"usage": _USAGE, "quota": _QUOTA}, [*_TOKEN, "usage", "quota"]),
    "IssuedToken": _object({"token": _SECRET} | _TOKEN, ["token", *_TOKEN]),
    "NewToken": _object(
        _SENT | _EXISTING,
        [field.name for field in FIELDS.values() if field.is_required],
        additionalProperties=False,
        **_ONE_END,
        **_STRONG,
    ),
    "Change": _object(
        {**_SENT, "enabled": {"type": ["boolean", "null"]}}, [], additionalProperties=False, **_ONE_END
    ),
    "Rotation": _object(
        {"grace_seconds": {**sent(GRACE), "description": "how many seconds the old secret stays valid"}},
        [],
        additionalProperties=False,
    ),
    "Tokens": _page("Token"),
    "Period": _PERIOD,
    "EndedToken": _object(_ENDED, [*_ENDED]),
    "EndedTokens": _page("EndedToken"),
    "Attempt": _object(_TRIED, [], additionalProperties=False, **_ONE_TOKEN),
    "Trial": _object(_TRIAL, [*_TRIAL]),
    "Problem": _PROBLEM,
}


def schemas(today: date, max_ttl_s: int = 0, unset: AbstractSet[str] = frozenset()) -> Schema:
    """Return the schemas as they hold on *today*: an end is in the future, within *max_ttl_s* seconds.

    0 stands for a hundred years, and for tokens that never end. Fields that need one of the settings *unset*
    take only a blank value.
    """
    changed = {name: _SENT[name] | _BLANK for name, field in FIELDS.items() if field.needs in unset}
    if max_ttl_s:
        changed["ttl_seconds"] = _sent(replace(FIELDS["ttl_seconds"], kind=Lifetime(1, max_ttl_s)))
    return SCHEMAS | {
        name: SCHEMAS[name] | {"properties": SCHEMAS[name]["properties"] | changed | {"expires_at": end}}
        for name, end in _ends(today, max_ttl_s).items()
    }


def _ends(today: date, max_ttl_s: int) -> Schema:
    """Return the schemas of ``expires_at``, by the body; under a bound no change to null is described."""
    days = within(timedelta(seconds=max_ttl_s or MAX_TTL_S).days, today)
    end = {**_SENT["expires_at"], "pattern": f"^(?:{days})$"}
    if not max_ttl_s:
        return {"NewToken": end, "Change": end}
    bounded = _sent(FIELDS["expires_at"])["description"]
    return {
        "NewToken": end | {"description": f"{bounded} null is the default."},
        "Change": end | {"description": bounded, "type": "string"},
    }
