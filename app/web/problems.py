"""Errors as programs read them: ``application/problem+json`` (RFC 9457; docs/decisions/0015)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Response, current_app, request

API = "/api/v1"

_NONE: Mapping[str, str] = {}


def problem(status: int, detail: str, headers: Mapping[str, str] = _NONE, **members: Any) -> Response:
    """Return an error as ``application/problem+json``."""
    members = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    } | members
    return Response(current_app.json.dumps(members), status, headers, mimetype="application/problem+json")


def refusal(status: int, detail: str, headers: Mapping[str, str] = _NONE) -> Response:
    """Return an error without a page: a problem from the API, plain text from anything else."""
    if is_api():
        return problem(status, detail, headers)
    return Response(f"{detail}\n", status, headers, mimetype="text/plain")


def is_api() -> bool:
    """Tell whether the request is for the API, also if no route matched."""
    return request.path.startswith(f"{API}/")
