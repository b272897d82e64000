"""The JSON API, which does for programs what the admin pages do (docs/decisions/0015)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, request, url_for
from werkzeug.exceptions import HTTPException

from app.core.catalog import PAGE_SIZE
from app.core.changes import Change, Issued
from app.core.errors import ConflictError, NoSuchTokenError, StoreUnavailableError
from app.core.fields import FIELDS, GRACE, ClashingFieldsError, InvalidFieldsError
from app.core.kinds import Moment, whole_number
from app.core.moments import rfc3339
from app.core.search import InvalidQueryError, is_start, may_be_secret
from app.core.tokens import Token
from app.core.usage import total
from app.services import services
from app.web import bodies
from app.web.basic_auth import basic_auth
from app.web.messages import log_durability, why
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
Answer = tuple[Shown | str, int, dict[str, str]]


@bp.before_request
@basic_auth.login_required  # type: ignore[untyped-decorator]
def _require_operator() -> None:
    """Require the operator's password for every request to this blueprint."""


@bp.before_request
def _refuse_unknown_parameters() -> None:
    """Refuse parameters that the view would ignore."""
    known = _PARAMETERS[request.endpoint or ""]
    for name, values in request.args.lists():
        if name not in known:
            raise InvalidFieldsError({_shown_name(name): f"unknown parameter; {_known(known)}"})
        if len(values) > 1:
            raise InvalidFieldsError({name: "sent twice; send it once"})


def _known(names: set[str]) -> str:
    return f"known are {', '.join(sorted(names))}" if names else "there are none here"


def _shown_name(name: str) -> str:
    """Return a name as it was sent, unless it may be a secret."""
    return "?" if may_be_secret(name, services().settings.token_prefix) else name


@bp.get("/openapi.json")
def openapi() -> Shown:
    """Describe this API."""
    return describe(datetime.fromtimestamp(services().registry.now_s, UTC).date())


@bp.get("/tokens")
def list_tokens() -> Shown:
    """Return the newest tokens, all or those that match ``q``, from ``cursor`` on."""
    catalog, typed = services().catalog, request.args.get("q", "").strip()
    cursor, limit, now_s = _cursor(), _limit(), services().registry.now_s
    found = catalog.search(typed, cursor, limit) if typed else catalog.newest(cursor, limit)
    return {
        "tokens": [_shown(token, now_s) for token in found.tokens],
        "next_cursor": found.more,
        "total": found.total,
    }


@bp.post("/tokens")
def create_token() -> Answer:
    """Create a token and return its secret, only this once."""
    return _issued(services().registry.issue(bodies.typed(bodies.read(request), _KINDS)))


@bp.get("/tokens/<name>")
def show_token(name: str) -> Shown:
    """Return one token and its usage."""
    token, now_s = _find(name), services().registry.now_s
    usage = services().catalog.usage(token, now_s)
    day, all_days = total(usage.hours[-24:]), total(usage.days)
    used = {"last_24_hours": day._asdict(), "last_90_days": all_days._asdict()}
    return _shown(token, now_s) | {"usage": used}


@bp.patch("/tokens/<name>")
def edit_token(name: str) -> Answer:
    """Change the sent fields of a token, all or none, and leave the others unchanged."""
    body = bodies.read(request)
    enabled = body.pop("enabled", None)
    if not isinstance(enabled, bool | None):
        raise InvalidFieldsError({"enabled": "true or false"})
    if "expires_at" in body and body["expires_at"] is None:
        body.setdefault("ttl_seconds", 0)  # null, as a token that never expires is shown
    change = services().registry.edit(_find(name), bodies.typed(body, _KINDS), enabled=enabled)
    return _shown(change.token, change.changed_at), 200, _headers(change)


@bp.post("/tokens/<name>/rotate")
def rotate_token(name: str) -> Answer:
    """Give a token a new secret and return it, only this once."""
    body = bodies.read(request) if request.get_data() else {}
    if unknown := body.keys() - {"grace_seconds"}:
        raise InvalidFieldsError(dict.fromkeys(unknown, "unknown field; known is grace_seconds"))
    grace = bodies.typed(body, {"grace_seconds": GRACE}).get("grace_seconds", "")
    return _issued(services().registry.rotate(_find(name), grace))


@bp.delete("/tokens/<name>")
def delete_token(name: str) -> Answer:
    """Delete a token permanently."""
    return "", 204, _headers(services().registry.delete(_find(name)))


def _issued(issued: Issued) -> Answer:
    where = url_for("api.show_token", name=issued.token.id)
    body = {"token": issued.secret} | _shown(issued.token, issued.changed_at)
    return body, 201, {"Location": where} | _headers(issued)


def _headers(change: Change) -> dict[str, str]:
    """Return the header that tells whether *change* is on disk, and log it."""
    log_durability(change.durability)
    return {"X-Durability": change.durability.value}


def _shown(token: Token, now_s: int) -> Shown:
    described = token.described(now_s)
    moments = {name: rfc3339(described[name]) or None for name in _MOMENTS}
    return described | moments | {"enabled": token.enabled}


def _find(name: str) -> Token:
    """Return the token with *name* as its id or SHA-256; a secret does not belong in a URL."""
    return services().catalog.find_public(name)


def _cursor() -> str | None:
    cursor = request.args.get("cursor")
    if cursor and not is_start(cursor):
        raise InvalidFieldsError({"cursor": "the next_cursor of another response"})
    return cursor or None


def _limit() -> int:
    try:
        return whole_number(request.args.get("limit", f"{PAGE_SIZE}"), 1, MAX_LIMIT)
    except ValueError:
        raise InvalidFieldsError({"limit": f"a whole number from 1 to {MAX_LIMIT}"}) from None


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
