"""The JSON API, which does for programs what the admin pages do (docs/decisions/0015)."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, request, url_for
from werkzeug.exceptions import HTTPException

from app.core.changes import Issued
from app.core.errors import (
    AlreadyIssuedError,
    ConflictError,
    NoSuchTokenError,
    PreconditionFailedError,
    ReusedKeyError,
    StoreUnavailableError,
)
from app.core.fields import FIELDS, InvalidFieldsError
from app.core.search import InvalidQueryError
from app.core.tokens import Token
from app.pauses import paced
from app.services import services
from app.web import audit, bodies, listing, own_schema, parameters, preconditions, trials
from app.web.actors import operator
from app.web.basic_auth import basic_auth
from app.web.openapi import DESCRIPTION, describe
from app.web.problems import API, problem
from app.web.shown import Answer, Shown, answer_with_problems, durability_of

bp = Blueprint("api", __name__, url_prefix=API)
answer_with_problems(bp)

_KINDS = {name: field.kind for name, field in FIELDS.items()}
_PARAMETERS = {
    f"{bp.name}.{operation['operationId']}": {
        known["name"] for known in operation.get("parameters", ()) if known["in"] == "query"
    }
    for path in DESCRIPTION["paths"].values()
    for operation in path.values()
    if isinstance(operation, dict)
}


@bp.before_request
@basic_auth.login_required  # type: ignore[untyped-decorator]
def _require_operator() -> None:
    """Require the operator's password for every request to this blueprint."""


@bp.before_request
def _refuse_unknown_parameters() -> None:
    """Refuse parameters that the view would ignore."""
    parameters.refuse_others(_PARAMETERS[request.endpoint or ""])


@bp.get("/openapi.json")
def openapi() -> Shown:
    """Describe this API."""
    today = datetime.fromtimestamp(services().registry.now_s, UTC).date()
    settings = services().settings
    described = describe(today, settings.max_ttl_seconds, settings.unset)
    return own_schema.added(described | {"servers": [{"url": settings.base_path + API}]}, settings)


@bp.get("/tokens")
def list_tokens() -> Shown:
    """Return tokens that match the parameters, from ``cursor`` on."""
    catalog, sent = services().catalog, request.args
    limit, now_s = parameters.limit(sent), services().registry.now_s
    if listing.wants_ended(sent):
        return listing.shown(catalog.ended(sent.get("q", "").strip(), listing.ended_cursor(sent), limit))
    wanted = listing.wanted(sent, services().settings.token_prefix)
    found = catalog.listed(wanted, listing.order(sent), sent.get("cursor"), limit)
    return {
        "tokens": [token.described(now_s) for token in paced(found.tokens)],
        "next_cursor": found.more,
        "total": found.total,
    }


@bp.post("/tokens")
def create_token() -> Answer:
    """Create a token, of an existing secret if one is sent, and return its secret, only this once."""
    body = bodies.read(request)
    secret, allow_weak = bodies.existing_secret(body)
    typed = bodies.typed(body, _KINDS)
    key = preconditions.idempotency_key()
    registry = services().registry
    with bodies.also_known("secret", "allow_weak"):
        return _issued(registry.issue(operator(), typed, key, secret=secret, allow_weak=allow_weak))


@bp.get("/tokens/<name>")
def show_token(name: str) -> Answer:
    """Return one token, its usage and its quota, or nothing if If-None-Match has its entity tag."""
    token, now_s = _find(name), services().registry.now_s
    if preconditions.is_unchanged(token):
        return "", 304, preconditions.tag(token)
    usage = services().catalog.usage(token, now_s)
    return token.described_with(usage, now_s), 200, preconditions.tag(token)


@bp.patch("/tokens/<name>")
def edit_token(name: str) -> Answer:
    """Change the sent fields of a token, all or none, and leave the others unchanged."""
    body = bodies.read(request)
    enabled = body.pop("enabled", None)
    if not isinstance(enabled, bool | None):
        raise InvalidFieldsError({"enabled": "true or false"})
    token = _find(name)
    with bodies.also_known("enabled"), bodies.null_end(body):
        typed = bodies.typed(body, _KINDS)
        change = preconditions.registry_for(token).edit(operator(), token, typed, enabled=enabled)
    headers = durability_of(change) | preconditions.tag(change.token)
    return change.token.described(change.changed_at), 200, headers


@bp.post("/tokens/<name>/rotate")
def rotate_token(name: str) -> Answer:
    """Give a token a new secret and return it, only this once."""
    grace = bodies.grace(request)
    token, key = _find(name), preconditions.idempotency_key()
    return _issued(preconditions.registry_for(token).rotate(operator(), token, grace, key))


@bp.delete("/tokens/<name>")
def delete_token(name: str) -> Answer:
    """Delete a token permanently."""
    token = _find(name)
    return "", 204, durability_of(preconditions.registry_for(token).delete(operator(), token))


@bp.get("/audit")
def read_audit() -> Shown:
    """Return the newest entries of the audit log, all or those that are asked for, from ``cursor`` on."""
    return audit.shown()


@bp.post("/try")
def try_request() -> Shown:
    """Tell what /auth would answer to a request, which is not counted."""
    return trials.decide(services(), bodies.read(request))


def _issued(issued: Issued) -> Answer:
    where = url_for("api.show_token", name=issued.token.id)
    body = {"token": issued.secret} | issued.token.described(issued.changed_at)
    return body, 201, {"Location": where} | durability_of(issued) | preconditions.tag(issued.token)


def _find(name: str) -> Token:
    """Return the token with *name* as its id or SHA-256; a secret does not belong in a URL."""
    return services().catalog.find_public(name)


@bp.errorhandler(AlreadyIssuedError)
def _show_repeated(error: AlreadyIssuedError) -> Response:
    if not error.token_id:
        return problem(409, str(error), {"Retry-After": "1"})
    where = url_for("api.show_token", name=error.token_id)
    return problem(409, str(error), {"Location": where}, id=error.token_id)


@bp.errorhandler(ReusedKeyError)
def _show_reused_key(error: ReusedKeyError) -> Response:
    return problem(422, str(error))


@bp.errorhandler(PreconditionFailedError)
def _show_changed(error: PreconditionFailedError) -> Response:
    try:
        current = _find((request.view_args or {})["name"])
    except (NoSuchTokenError, ConflictError, StoreUnavailableError):
        return problem(412, str(error))
    return problem(412, f"{error}. Read it again.", preconditions.tag(current))


@bp.errorhandler(InvalidQueryError)
def _show_invalid_query(error: InvalidQueryError) -> Response:
    return problem(400, f"q: {error}", errors={"q": str(error)})


def show_http_error(error: HTTPException) -> Response:
    """Show an HTTP error to a program."""
    if isinstance(error.response, Response):
        return error.response
    kept = {name: value for name, value in error.get_headers() if name in {"Allow", "Retry-After"}}
    return problem(error.code or 500, error.description or error.name, kept)
