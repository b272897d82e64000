"""The JSON API: what the pages do, for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, abort, g, request, url_for
from werkzeug.exceptions import HTTPException

from app.core.errors import ConflictError, NoSuchTokenError, StoreUnavailableError
from app.core.fields import FIELDS, GRACE, ClashingFieldsError, InvalidFieldsError
from app.core.kinds import Kind, Moment, whole_number
from app.core.moments import rfc3339
from app.core.registry import PAGE_SIZE
from app.core.search import InvalidQueryError, is_start, may_be_secret
from app.core.tokens import Token
from app.core.usage import Counts, total
from app.services import durability, services
from app.web.basic_auth import basic_auth
from app.web.messages import why
from app.web.openapi import DESCRIPTION, MAX_LIMIT, describe
from app.web.problems import API, problem

bp = Blueprint("api", __name__, url_prefix=API)

_MOMENTS = (
    *(field.name for field in FIELDS.values() if isinstance(field.kind, Moment)),
    *("created_at", "first_used_at", "last_used_at"),
)
_KINDS = {name: field.kind for name, field in FIELDS.items()}
_PARAMETERS = {
    f"{bp.name}.{operation['operationId']}": {known["name"] for known in operation.get("parameters", ())}
    for path in DESCRIPTION["paths"].values()
    for operation in path.values()
    if isinstance(operation, dict)
}

Shown = dict[str, Any]
Made = tuple[Shown, int, dict[str, str]]


@bp.before_request
@basic_auth.login_required  # type: ignore[untyped-decorator]
def _require_operator() -> None:
    """Everything here is the operator's."""


@bp.before_request
def _refuse_unknown_parameters() -> None:
    """Refuse what would be overlooked."""
    known = _PARAMETERS[request.endpoint or ""]
    for name, values in request.args.lists():
        if name not in known:
            raise InvalidFieldsError({_shown_name(name): f"unknown parameter; {_known(known)}"})
        if len(values) > 1:
            raise InvalidFieldsError({name: "sent twice; send it once"})


def _known(names: set[str]) -> str:
    return f"known are {', '.join(sorted(names))}" if names else "there are none here"


def _shown_name(name: str) -> str:
    """Return a name that was sent, unless it may be a token."""
    return "?" if may_be_secret(name, services().settings.token_prefix) else name


@bp.get("/openapi.json")
def openapi() -> Shown:
    """Describe this API."""
    return describe(datetime.fromtimestamp(services().registry.now_s, UTC).date())


@bp.get("/tokens")
def list_tokens() -> Shown:
    """Return the newest tokens, all or those that ``q`` means, from ``cursor`` on."""
    registry, typed = services().registry, request.args.get("q", "").strip()
    cursor, limit = _cursor(), _limit()
    found = registry.search(typed, cursor, limit) if typed else registry.newest(cursor, limit)
    return {
        "tokens": [_shown(token) for token in found.tokens],
        "next_cursor": found.more,
        "total": found.total,
    }


@bp.post("/tokens")
def create_token() -> Made:
    """Make a token and return its text, this one time."""
    token, text = services().registry.issue(_typed(_body(), _KINDS))
    return _made(token, text)


@bp.get("/tokens/<name>")
def show_token(name: str) -> Shown:
    """Return one token and its use."""
    registry = services().registry
    token = registry.find_public(name)
    usage = registry.usage(token)
    used = {"last_24_hours": _counts(total(usage.hours[-24:])), "last_90_days": _counts(total(usage.days))}
    return _shown(token) | {"usage": used}


@bp.patch("/tokens/<name>")
def edit_token(name: str) -> Shown:
    """Change what is sent of a token, as one, and leave the rest."""
    body = _body()
    enabled = body.pop("enabled", None)
    if not isinstance(enabled, bool | None):
        raise InvalidFieldsError({"enabled": "true or false"})
    if "expires_at" in body and body["expires_at"] is None:
        body.setdefault("ttl_seconds", 0)  # as it is shown of a token that never ends
    return _shown(services().registry.edit(_public(name), _typed(body, _KINDS), enabled=enabled))


@bp.post("/tokens/<name>/rotate")
def rotate_token(name: str) -> Made:
    """Give a token a new text and return it, this one time."""
    body = _body() if request.get_data() else {}
    if unknown := body.keys() - {"grace_seconds"}:
        raise InvalidFieldsError(dict.fromkeys(unknown, "unknown field; known is grace_seconds"))
    grace = _typed(body, {"grace_seconds": GRACE}).get("grace_seconds", "")
    token, text = services().registry.rotate(_public(name), grace)
    return _made(token, text)


@bp.delete("/tokens/<name>")
def delete_token(name: str) -> tuple[str, int]:
    """Delete a token for good."""
    services().registry.delete(_public(name))
    return "", 204


@bp.after_request
def _tell_durability(response: Response) -> Response:
    """Say of a change whether it is on disk."""
    if "durability" in g:
        response.headers["X-Durability"] = durability().value
    return response


def _made(token: Token, text: str) -> Made:
    where = url_for("api.show_token", name=token.id)
    return {"token": text} | _shown(token), 201, {"Location": where}


def _shown(token: Token) -> Shown:
    said = token.described(services().registry.now_s)
    moments = {name: rfc3339(said[name]) or None for name in _MOMENTS}
    return said | moments | {"enabled": token.enabled}


def _counts(counts: Counts) -> dict[str, int]:
    return {
        "allowed": counts.allowed,
        "wrong_host": counts.wrong_host,
        "rate_limited": counts.rate_limited,
        "inactive": counts.inactive,
    }


def _public(name: str) -> str:
    """Return the SHA-256 of the token that *name* means: a token itself does not belong in an address."""
    return services().registry.find_public(name).digest


def _cursor() -> str | None:
    cursor = request.args.get("cursor")
    if cursor and not is_start(cursor):
        raise InvalidFieldsError({"cursor": "the next_cursor of another answer"})
    return cursor or None


def _limit() -> int:
    try:
        return whole_number(request.args.get("limit", f"{PAGE_SIZE}"), 1, MAX_LIMIT)
    except ValueError:
        raise InvalidFieldsError({"limit": f"a whole number from 1 to {MAX_LIMIT}"}) from None


def _body() -> dict[str, Any]:
    """Return the object that was sent."""
    if request.mimetype != "application/json":
        abort(415, "send a JSON object, with Content-Type: application/json")
    try:
        body = json.loads(request.get_data(), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        abort(400, f"the body can't be read as JSON: {error}")
    if not isinstance(body, dict):
        abort(400, "send a JSON object")
    return body


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    times = Counter(name for name, _ in pairs)
    if twice := [name for name, count in times.items() if count > 1]:
        raise ValueError(f"{', '.join(twice)} sent twice")
    return dict(pairs)


def _typed(body: Mapping[str, Any], kinds: Mapping[str, Kind]) -> dict[str, str]:
    """Return *body* as it would have been typed; raise InvalidFieldsError for values of a wrong type."""
    typed: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name, value in body.items():
        try:
            typed[name] = kinds[name].from_json(value) if name in kinds else ""
        except ValueError as error:
            problems[name] = str(error)
    if problems:
        raise InvalidFieldsError(problems)
    return typed


@bp.errorhandler(InvalidFieldsError)
def _show_invalid(error: InvalidFieldsError) -> Response:
    return problem(400, str(error), errors=error.problems)


@bp.errorhandler(ClashingFieldsError)
def _show_clash(error: ClashingFieldsError) -> Response:
    return problem(409, str(error), errors=error.problems)


@bp.errorhandler(InvalidQueryError)
def _show_invalid_query(error: InvalidQueryError) -> Response:
    return problem(400, f"q: {error}", errors={"q": str(error)})


@bp.errorhandler(NoSuchTokenError)
def _show_missing(error: NoSuchTokenError) -> Response:
    return problem(404, str(error))


@bp.errorhandler(ConflictError)
def _show_conflict(error: ConflictError) -> Response:
    return problem(409, str(error))


@bp.errorhandler(StoreUnavailableError)
def _show_unavailable(error: StoreUnavailableError) -> Response:
    return problem(503, why(error, request.endpoint), {"Retry-After": "1"})


def show_http_error(error: HTTPException) -> Response:
    """Show an HTTP error to a program."""
    if isinstance(error.response, Response):
        return error.response
    kept = {name: value for name, value in error.get_headers() if name in {"Allow", "Retry-After"}}
    return problem(error.code or 500, error.description or error.name, kept)
