"""The OpenAPI 3.1 document of GET /api/v1/openapi.json (docs/decisions/0015)."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import Any

from app.core.tokens import DIGEST, TOKEN_ID
from app.web import audit
from app.web.list_parameters import PARAMETERS
from app.web.preconditions import KEY, KEY_PATTERN
from app.web.problems import API
from app.web.schemas import DURABILITY, SCHEMAS, Schema, schemas


def _json(name: str, kind: str = "application/json") -> Schema:
    return {kind: {"schema": {"$ref": f"#/components/schemas/{name}"}}}


# From the password check, the cross-site guard, throttling, Redis, and limits on the size of a request.
_ANYWHERE = (400, 401, 403, 414, 429, 431, 503)


def _operation(name: str, summary: str, answers: Schema, *refusals: int, **more: Any) -> Schema:
    refused = {str(status): {"$ref": "#/components/responses/Problem"} for status in (*_ANYWHERE, *refusals)}
    return {"operationId": name, "summary": summary, "responses": answers | refused, **more}


def _answer(status: int, what: str, *names: str) -> Schema:
    references = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    return {str(status): {"description": what, "content": {"application/json": {"schema": schema}}}}


def _change(status: int, what: str, schema: str | None = None) -> Schema:
    headers = {"X-Durability": {"description": "whether Redis has it on disk", "schema": DURABILITY}}
    if not schema:
        return {str(status): {"description": what, "headers": headers}}
    return {str(status): {"description": what, "headers": headers | _TAG, "content": _json(schema)}}


def _created(what: str) -> Schema:
    """Return the response with a secret, and how to go on from it."""
    parameters = {"name": "$response.body#/id"}
    (answer,) = _change(201, what, "IssuedToken").values()
    return {
        "201": answer | {"links": {name: {"operationId": name, "parameters": parameters} for name in _NEXT}}
    }


def _shown(what: str, schema: str) -> Schema:
    (answer,) = _answer(200, what, schema).values()
    return {"200": answer | {"headers": _TAG}, "304": {"description": "It is unchanged", "headers": _TAG}}


def _body(schema: str, *, required: bool = True) -> Schema:
    return {"required": required, "content": _json(schema)}


def _header(name: str, description: str, **schema: Any) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string", **schema}}


_TAG: Schema = {
    "ETag": {"description": "of everything but the use of the token", "schema": {"type": "string"}}
}
_IF_MATCH = _header("If-Match", "entity tags, or *: change nothing unless one is the token's")
_IF_NONE_MATCH = _header("If-None-Match", "entity tags, or *: send no body if one is the token's")
_KEY = _header(
    KEY,
    "the same for a request that is sent again: it is carried out once within a day",
    pattern=f"^(?:{KEY_PATTERN})$",
)
_NEXT = ("show_token", "edit_token", "rotate_token", "delete_token")
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
                "List tokens, or those that ended, the last to end first",
                _answer(200, "Some of the tokens", "Tokens", "EndedTokens"),
                409,
                parameters=PARAMETERS,
            ),
            "post": _operation(
                "create_token",
                "Create a token",
                _created("The token and its secret"),
                *(409, 413, 415, 422),
                parameters=[_KEY],
                requestBody=_body("NewToken"),
            ),
        },
        "/tokens/{name}": {
            "parameters": [_NAME],
            "get": _operation(
                "show_token",
                "Show a token and its usage",
                _shown("The token", "UsedToken"),
                *(404, 409),
                parameters=[_IF_NONE_MATCH],
            ),
            "patch": _operation(
                "edit_token",
                "Change the sent fields of a token and leave the others unchanged",
                _change(200, "The token as it is now", "Token"),
                *(404, 409, 412, 413, 415),
                parameters=[_IF_MATCH],
                requestBody=_body("Change"),
            ),
            "delete": _operation(
                "delete_token",
                "Delete a token permanently",
                _change(204, "The token was deleted"),
                *(404, 409, 412),
                parameters=[_IF_MATCH],
            ),
        },
        "/tokens/{name}/rotate": {
            "parameters": [_NAME],
            "post": _operation(
                "rotate_token",
                "Give a token a new secret",
                _created("The token and its new secret"),
                *(404, 409, 412, 413, 415, 422),
                parameters=[_IF_MATCH, _KEY],
                requestBody=_body("Rotation", required=False),
            ),
        },
        "/try": {
            "post": _operation(
                "try_request",
                "Tell what /auth would answer to a request; nothing is spent, counted or written",
                _answer(200, "The decision", "Trial"),
                *(404, 409, 413, 415),
                requestBody=_body("Attempt"),
            )
        },
        "/audit": {
            "get": _operation(
                "read_audit",
                "Read who changed what, newest first",
                _answer(200, "Some of the changes", "Entries"),
                404,
                parameters=audit.PARAMETERS,
            )
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
            "Problem": {
                "description": "Why the request failed",
                "content": _json("Problem", "application/problem+json"),
            }
        },
        "schemas": SCHEMAS | audit.SCHEMAS,
    },
}


@lru_cache(maxsize=1)
def describe(today: date, max_ttl_s: int = 0, unset: frozenset[str] = frozenset()) -> Schema:
    """Return the description of the API as it holds on *today*, with that MAX_TTL_SECONDS.

    *unset* are the names of the settings that have no value.
    """
    current = schemas(today, max_ttl_s, unset)
    return DESCRIPTION | {"components": DESCRIPTION["components"] | {"schemas": current | audit.SCHEMAS}}
