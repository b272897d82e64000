"""The OpenAPI 3.1 document of GET /api/v1/openapi.json (docs/decisions/0015)."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import Any

from app.core.tokens import DIGEST, TOKEN_ID
from app.web import audit
from app.web.list_parameters import PARAMETERS
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
    content = {"content": _json(schema)} if schema else {}
    return {str(status): {"description": what, "headers": headers, **content}}


def _body(schema: str, *, required: bool = True) -> Schema:
    return {"required": required, "content": _json(schema)}


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
                _change(201, "The token and its secret", "IssuedToken"),
                *(409, 413, 415),
                requestBody=_body("NewToken"),
            ),
        },
        "/tokens/{name}": {
            "parameters": [_NAME],
            "get": _operation(
                "show_token", "Show a token and its usage", _answer(200, "The token", "UsedToken"), 404, 409
            ),
            "patch": _operation(
                "edit_token",
                "Change the sent fields of a token and leave the others unchanged",
                _change(200, "The token as it is now", "Token"),
                *(404, 409, 413, 415),
                requestBody=_body("Change"),
            ),
            "delete": _operation(
                "delete_token", "Delete a token permanently", _change(204, "The token was deleted"), 404, 409
            ),
        },
        "/tokens/{name}/rotate": {
            "parameters": [_NAME],
            "post": _operation(
                "rotate_token",
                "Give a token a new secret",
                _change(201, "The token and its new secret", "IssuedToken"),
                *(404, 409, 413, 415),
                requestBody=_body("Rotation", required=False),
            ),
        },
        "/audit": {
            "get": _operation(
                "read_audit",
                "Read who changed what, newest first",
                _answer(200, "Some of the changes", "Entries"),
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
