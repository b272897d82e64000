"""What GET /api/v1/openapi.json says: OpenAPI 3.1."""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from typing import Any

from app.core.catalog import PAGE_SIZE
from app.core.durability import Durability
from app.core.fields import (
    BLANKS,
    EMAIL,
    MAX_COMMENT_CHARS,
    MAX_EMAIL_CHARS,
    MAX_GRACE_S,
    MAX_TTL_S,
    TEXT,
)
from app.core.hosts import BEYOND_ASCII, MAX_PATTERNS, PATTERN, PATTERNS
from app.core.limits import MAX_REQUESTS, MAX_WINDOW_S
from app.core.moments import MOMENT, within
from app.core.search import MAX_CHARS, QUERY
from app.core.tokens import DIGEST, TOKEN_ID, Status
from app.core.usage import Counts
from app.web.problems import API

MAX_LIMIT = 500

Schema = dict[str, Any]


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _number(description: str, low: int, high: int) -> Schema:
    return {"type": ["integer", "null"], "minimum": low, "maximum": high, "description": description}


def _moment(description: str) -> Schema:
    return {"type": ["string", "null"], "format": "date-time", "description": description}


def _typed_moment(description: str) -> Schema:
    said = f"{description}; RFC 3339, without a zone UTC, without a time midnight"
    return {"type": ["string", "null"], "pattern": f"^(?:{MOMENT})$", "description": said}


def _object(properties: Schema, required: list[str], **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": required, **more}


def _unbounded(schema: Schema) -> Schema:
    """Return what is told of a field that others may have written beyond the bounds of what is taken."""
    return {name: said for name, said in schema.items() if name not in {"maximum", "maxLength"}}


_HOSTS = {
    "type": "array",
    "items": {"type": "string"},
    "description": "exact names, *.example.com for everything below it, or *",
}
_BEYOND_ASCII = {"format": "idn-hostname", "pattern": f"^{BEYOND_ASCII}$"}
_SAID: Schema = {
    "hosts": {
        "description": f"{_HOSTS['description']}; or one text with all of them, separated by commas",
        "anyOf": [
            {
                "type": "array",
                "items": {"type": "string", "anyOf": [{"pattern": f"^{PATTERN}$"}, _BEYOND_ASCII]},
                "minItems": 1,
                "maxItems": MAX_PATTERNS,
            },
            {"type": "string", "pattern": f"^{PATTERNS}$"},
        ],
    },
    "email": {
        "type": ["string", "null"],
        "pattern": f"^{BLANKS}(?:{EMAIL})?{BLANKS}$",
        "maxLength": MAX_EMAIL_CHARS,
        "description": "handed to the backend",
    },
    "comment": {
        "type": ["string", "null"],
        "pattern": f"^{BLANKS}{TEXT}{BLANKS}$",
        "maxLength": MAX_COMMENT_CHARS,
        "description": "handed to the backend; nothing in it may be invisible or reorder the rest",
    },
    "not_before": _typed_moment("when it begins to be valid"),
    "rate_limit_max": _number("requests per window; 0 is unlimited, null the default", 0, MAX_REQUESTS),
    "rate_limit_window_sec": _number("seconds of the window; null is the default", 1, MAX_WINDOW_S),
}
_LIFE: Schema = {
    "ttl_seconds": _number("life from now on; 0 is for ever; instead of expires_at", 0, MAX_TTL_S),
    "expires_at": _typed_moment("when it ends; null in a change is never, in a new token the default"),
}
_ONE_END: Schema = {
    "not": {
        "required": ["ttl_seconds", "expires_at"],
        "properties": {"ttl_seconds": {"type": "integer"}, "expires_at": {"type": "string"}},
    }
}
_KNOWN: Schema = {
    "id": _text("its public name", pattern=f"^{TOKEN_ID.pattern}$"),
    "sha256": _text(
        "what it is kept under: SHA-256 of its text and the pepper", pattern=f"^{DIGEST.pattern}$"
    ),
    "hosts": _HOSTS,
    "email": _text("handed to the backend"),
    "comment": _text("handed to the backend"),
    "not_before": _moment("when it begins to be valid"),
    "rate_limit_max": _unbounded(_SAID["rate_limit_max"]),
    "rate_limit_window_sec": _unbounded(_SAID["rate_limit_window_sec"]),
    "enabled": {"type": "boolean"},
    "status": _text("how it stands", enum=[*Status]),
    "created_at": _moment("when it was made; null if that is not known"),
    "expires_at": _moment("when it ends; null is never"),
    "first_used_at": _moment("when it was first used, to the minute"),
    "last_used_at": _moment("when it was last used, to the minute"),
}
_COUNT = {"type": "integer", "minimum": 0}
_COUNTS = _object(dict.fromkeys(Counts._fields, _COUNT), list(Counts._fields))
_USAGE = _object({"last_24_hours": _COUNTS, "last_90_days": _COUNTS}, ["last_24_hours", "last_90_days"])
_PROBLEM = _object(
    {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": _text("what is wrong and what to do"),
        "errors": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "what is wrong with each field",
        },
    },
    ["type", "title", "status", "detail"],
    description="RFC 9457",
)
_DURABILITY = {"type": "string", "enum": [said.value for said in Durability]}
_TEXT = _text("the token itself; in this one answer only")

_SCHEMAS: Schema = {
    "Token": _object(_KNOWN, [*_KNOWN]),
    "UsedToken": _object(_KNOWN | {"usage": _USAGE}, [*_KNOWN, "usage"]),
    "IssuedToken": _object({"token": _TEXT} | _KNOWN, ["token", *_KNOWN]),
    "NewToken": _object({**_SAID, **_LIFE}, ["hosts"], additionalProperties=False, **_ONE_END),
    "Change": _object(
        {**_SAID, **_LIFE, "enabled": {"type": ["boolean", "null"]}},
        [],
        additionalProperties=False,
        **_ONE_END,
    ),
    "Rotation": _object(
        {"grace_seconds": _number("how long the old text stays valid", 0, MAX_GRACE_S)},
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
            "total": {**_COUNT, "description": "how many tokens there are, found or not"},
        },
        ["tokens", "next_cursor", "total"],
    ),
    "Problem": _PROBLEM,
}


def _json(name: str, kind: str = "application/json") -> Schema:
    return {kind: {"schema": {"$ref": f"#/components/schemas/{name}"}}}


# The password, other sites, guessing, Redis, and what is too long for a request.
_ANYWHERE = (400, 401, 403, 414, 429, 431, 503)


def _operation(name: str, summary: str, answers: Schema, *refusals: int, **more: Any) -> Schema:
    refused = {str(status): {"$ref": "#/components/responses/Problem"} for status in (*_ANYWHERE, *refusals)}
    return {"operationId": name, "summary": summary, "responses": answers | refused, **more}


def _answer(status: int, what: str, schema: str) -> Schema:
    return {str(status): {"description": what, "content": _json(schema)}}


def _change(status: int, what: str, schema: str | None = None) -> Schema:
    said = {"X-Durability": {"description": "whether Redis has it on disk", "schema": _DURABILITY}}
    content = {"content": _json(schema)} if schema else {}
    return {str(status): {"description": what, "headers": said, **content}}


def _body(schema: str, *, required: bool = True) -> Schema:
    return {"required": required, "content": _json(schema)}


def _query(name: str, description: str, **schema: Any) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "the token's id or its SHA-256",
    "schema": {"type": "string", "pattern": f"^({TOKEN_ID.pattern}|{DIGEST.pattern})$"},
}

DESCRIPTION: Schema = {
    "openapi": "3.1.0",
    "info": {"title": "acl-auth-service", "version": "1", "license": {"name": "MIT", "identifier": "MIT"}},
    "servers": [{"url": API}],
    "security": [{"operator": []}],
    "paths": {
        "/tokens": {
            "get": _operation(
                "list_tokens",
                "List tokens, newest first",
                _answer(200, "Some of the tokens", "Tokens"),
                parameters=[
                    _query(
                        "q",
                        "a host, an id or its beginning, a SHA-256, a part of an email",
                        type="string",
                        anyOf=[{"pattern": f"^{QUERY}$"}, _BEYOND_ASCII],
                        maxLength=MAX_CHARS,
                    ),
                    _query(
                        "cursor",
                        "the next_cursor of another answer",
                        type="string",
                        pattern=f"^(?:{TOKEN_ID.pattern})?$",
                    ),
                    _query(
                        "limit",
                        "how many at most",
                        type="integer",
                        minimum=1,
                        maximum=MAX_LIMIT,
                        default=PAGE_SIZE,
                    ),
                ],
            ),
            "post": _operation(
                "create_token",
                "Make a token",
                _change(201, "The token and its text", "IssuedToken"),
                *(409, 413, 415),
                requestBody=_body("NewToken"),
            ),
        },
        "/tokens/{name}": {
            "parameters": [_NAME],
            "get": _operation(
                "show_token", "Show a token and its use", _answer(200, "The token", "UsedToken"), 404, 409
            ),
            "patch": _operation(
                "edit_token",
                "Change what is sent of a token, and leave the rest",
                _change(200, "The token as it is now", "Token"),
                *(404, 409, 413, 415),
                requestBody=_body("Change"),
            ),
            "delete": _operation(
                "delete_token", "Delete a token for good", _change(204, "It is gone"), 404, 409
            ),
        },
        "/tokens/{name}/rotate": {
            "parameters": [_NAME],
            "post": _operation(
                "rotate_token",
                "Give a token a new text",
                _change(201, "The token and its new text", "IssuedToken"),
                *(404, 409, 413, 415),
                requestBody=_body("Rotation", required=False),
            ),
        },
        "/openapi.json": {
            "get": _operation(
                "openapi",
                "Describe this API",
                {
                    "200": {
                        "description": "This document",
                        "content": {"application/json": {"schema": {"type": "object"}}},
                    }
                },
            )
        },
    },
    "components": {
        "securitySchemes": {"operator": {"type": "http", "scheme": "basic"}},
        "responses": {
            "Problem": {"description": "Why not", "content": _json("Problem", "application/problem+json")}
        },
        "schemas": _SCHEMAS,
    },
}


@lru_cache(maxsize=1)
def describe(today: date) -> Schema:
    """Return the description of the API as it holds on *today*: an end is in the future, but not too far."""
    ends = within(timedelta(seconds=MAX_TTL_S).days, today)
    end = {"expires_at": {**_LIFE["expires_at"], "pattern": f"^(?:{ends})$"}}
    ending = {
        name: _SCHEMAS[name] | {"properties": _SCHEMAS[name]["properties"] | end}
        for name in ("NewToken", "Change")
    }
    return DESCRIPTION | {"components": DESCRIPTION["components"] | {"schemas": _SCHEMAS | ending}}
