"""The part of the OpenAPI document about /self, for the holder of a token (docs/decisions/0026)."""

from __future__ import annotations

from app.core.credentials import BASIC, BEARER, Source
from app.core.fields import KEPT
from app.settings import Settings
from app.web.openapi import DESCRIPTION
from app.web.problems import SELF
from app.web.schemas import SCHEMAS, Schema

# What a holder may see of a token.
OWN = (
    "id",
    *(field.name for field in KEPT),
    *("status", "created_at", "expires_at", "first_used_at", "last_used_at"),
)
_USED = SCHEMAS["UsedToken"]["properties"]
_OWN: Schema = {name: _USED[name] for name in (*OWN, "quota")} | {
    "replaced": {
        "type": "boolean",
        "description": "whether a rotation replaced this secret, which ends with its grace period",
    }
}
_SCHEMAS: Schema = {
    "OwnToken": {"type": "object", "properties": _OWN, "required": [*_OWN]},
    "RotatedToken": {
        "type": "object",
        "properties": {"token": SCHEMAS["IssuedToken"]["properties"]["token"], **_OWN},
        "required": ["token", *_OWN],
    },
}
# The statuses of requests with headers that only operators send.
_CONDITIONAL = {"304", "412", "422"}
_TOKEN, _ROTATION = (DESCRIPTION["paths"][path] for path in ("/tokens/{name}", "/tokens/{name}/rotate"))


def added(described: Schema, settings: Settings) -> Schema:
    """Return the document *described* with self-service as far as it is on."""
    if settings.self_service == "off":
        return described
    schemes = {f"token_{n}": _scheme(source) for n, source in enumerate(settings.credential_sources, 1)}
    components = described["components"]
    return described | {
        "paths": described["paths"] | _paths([{name: []} for name in schemes], settings),
        "components": components
        | {
            "schemas": components["schemas"] | _SCHEMAS,
            "securitySchemes": components["securitySchemes"] | schemes,
        },
    }


def _paths(security: list[Schema], settings: Settings) -> Schema:
    common: Schema = {"servers": [{"url": f"{settings.base_path}/"}]}  # not below /api/v1
    own = common | {"get": _operation(_TOKEN["get"], "show_self", "Show the token that is sent", "OwnToken")}
    rotate = common | {
        "post": _operation(_ROTATION["post"], "rotate_self", "Give the token a new secret", "RotatedToken")
    }
    if settings.self_service == "full":
        own["delete"] = _operation(_TOKEN["delete"], "end_self", "Delete the token, or end a replaced secret")
    paths = {SELF: own} | ({f"{SELF}/rotate": rotate} if settings.self_service == "full" else {})
    for item in paths.values():
        item.update({name: item[name] | {"security": security} for name in item.keys() - common.keys()})
    return paths


def _operation(like: Schema, name: str, summary: str, schema: str = "") -> Schema:
    """Return an operation that differs from that of an operator in its name and in what it answers."""
    responses = {status: answer for status, answer in like["responses"].items() if status not in _CONDITIONAL}
    like = {name: part for name, part in like.items() if name != "parameters"}
    if schema:
        status = next(iter(responses))  # the one of success comes first
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
        headers = {name: header for name, header in responses[status]["headers"].items() if name != "ETag"}
        responses |= {status: {"description": responses[status]["description"], "content": content}}
        responses[status] |= {"headers": headers} if headers else {}
    return like | {"operationId": name, "summary": summary, "responses": responses}


def _scheme(source: Source) -> Schema:
    """Return the security scheme of a credential source."""
    is_standard = source.header == "Authorization"
    if is_standard and source.scheme in {BEARER, BASIC}:
        return {"type": "http", "scheme": source.scheme.name.lower()}
    value = "Bearer and the token" if source.scheme is BEARER else "the token"
    return {"type": "apiKey", "in": "header", "name": source.header, "description": value}
