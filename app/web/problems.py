"""Errors as programs read them: ``application/problem+json`` (RFC 9457; docs/decisions/0015)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Response, current_app, request

API = "/api/v1"
SELF = "/self"
MEDIA_TYPE = "application/problem+json"

_NONE: Mapping[str, str] = {}


def problem(status: int, detail: str, headers: Mapping[str, str] = _NONE, **members: Any) -> Response:
    """Return an error as ``application/problem+json``."""
    body = current_app.json.dumps(document(status, detail, **members))
    return Response(body, status, headers, mimetype=MEDIA_TYPE)


def document(status: int, detail: str, **members: Any) -> dict[str, Any]:
    """Return the members of a problem, *members* after those that RFC 9457 defines."""
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, **members}


def refusal(status: int, detail: str, headers: Mapping[str, str] = _NONE) -> Response:
    """Return an error without a page: a problem from the API, plain text from anything else."""
    if is_api():
        return problem(status, detail, headers)
    return Response(f"{detail}\n", status, headers, mimetype="text/plain")


def is_api() -> bool:
    """Tell whether the request is for the API or for self-service, also if no route matched."""
    return _is_below(API) or (_is_below(SELF) and "self_service" in current_app.blueprints)


def _is_below(path: str) -> bool:
    return request.path == path or request.path.startswith(f"{path}/")
