"""acl-auth-service: API-token authentication for anything behind Traefik."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, cast

from flask import Flask, Request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from app import cli
from app.core.catalog import Catalog
from app.core.errors import ConflictError, NoSuchTokenError, StoreUnavailableError
from app.core.fields import InvalidFieldsError
from app.core.gate import Gate
from app.core.holders import Holders
from app.core.peppers import Peppers
from app.core.registry import Defaults, Registry
from app.services import Services, provide, services_of
from app.settings import Settings
from app.store.checkup import RedisCheckup
from app.store.failures import RedisFailures
from app.store.health import EvictionPolicyCheck, Health
from app.store.ledger import RedisLedger
from app.store.logins import RedisLogins
from app.store.pepper_check import PepperCheck
from app.store.tokens import RedisTokens
from app.store.transport.cluster_pipeline import Executor
from app.store.transport.connection import connect, open_pipeline
from app.tally import SHARED, Tally
from app.web import admin, api, auth, filters, guards, metrics, self_service
from app.web.problems import is_api

_MAX_FORM_BYTES = 64 * 1024
_ADMIN_DEADLINE_MS = 2000
_YEAR_S = 31_536_000
_NO_HOST = "localhost"


class _App(Flask):
    """Builds URLs without the Host header, so that a malformed or forged one can't affect a response."""

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return an adapter that matches requests and builds URLs that begin with a slash."""
        if request is None:
            return None
        return self.url_map.bind_to_environ(request.environ | {"HTTP_HOST": _NO_HOST}, _NO_HOST)


def create_app(settings: Settings, tally: Tally = SHARED) -> Flask:
    """Build the WSGI application that gunicorn and the flask command run."""
    app = _App(__name__)
    app.url_map.merge_slashes = False  # it would redirect to the Host that the client sent
    app.config.update(
        MAX_CONTENT_LENGTH=_MAX_FORM_BYTES,
        PROVIDE_AUTOMATIC_OPTIONS=False,
        SEND_FILE_MAX_AGE_DEFAULT=_YEAR_S,  # the URLs of static files carry a hash of their content
    )
    cast(DefaultJSONProvider, app.json).sort_keys = False
    provide(app, build_services(settings, tally))
    guards.guard(app)
    filters.register(app)
    app.register_blueprint(auth.bp)
    if settings.metrics_enabled:
        app.register_blueprint(metrics.bp)
    app.register_blueprint(admin.bp)
    app.register_blueprint(api.bp)
    if settings.self_service != "off":
        app.register_blueprint(self_service.blueprint(is_full=settings.self_service == "full"))
    _show_errors(app)
    cli.register(app)
    return app


def _show_errors(app: Flask) -> None:
    """Register the error pages; the API has its own handlers, except for errors raised outside its routes."""
    app.register_error_handler(HTTPException, _show_http_error)
    app.register_error_handler(InvalidFieldsError, admin.show_invalid)
    app.register_error_handler(NoSuchTokenError, admin.show_missing)
    app.register_error_handler(ConflictError, admin.show_conflict)
    app.register_error_handler(StoreUnavailableError, admin.show_unavailable)


def _show_http_error(error: HTTPException) -> Any:
    return (api if is_api() else admin).show_http_error(error)


def make_concurrent(app: Flask) -> None:
    """Replace the services of *app* with those of a worker whose greenlets share a pipelined connection.

    The worker calls this before its first request, because only it knows that greenlets run the requests.
    """
    services = services_of(app)
    provide(app, build_services(services.settings, services.tally, concurrent=True))


def build_services(settings: Settings, tally: Tally = SHARED, *, concurrent: bool = False) -> Services:
    """Build the shared objects, for greenlets if *concurrent*; none connects before its first command."""
    client = connect(settings, concurrent=concurrent)
    deadline_s, prefix = settings.redis_deadline_ms / 1000, settings.token_prefix
    peppers = Peppers(settings.pepper, settings.pepper_previous)
    pipeline = open_pipeline(client, drain_s=deadline_s) if concurrent else None
    pepper_check = PepperCheck(pipeline or client, peppers.fingerprints, concurrent=concurrent)
    ledger = RedisLedger(client, pepper_check, settings.limit, deadline_s, pipeline)
    # A separate client, because a change may wait for the disk longer than the deadline of /auth.
    admin_client = connect(replace(settings, redis_deadline_ms=_ADMIN_DEADLINE_MS), concurrent=concurrent)
    store = RedisTokens(admin_client, pepper_check, _ADMIN_DEADLINE_MS / 1000, concurrent=concurrent)
    gate, catalog = Gate(ledger, peppers, prefix), Catalog(store, peppers, prefix)
    registry = Registry(store, peppers, prefix, _defaults(settings), time.time)
    health = Health(pipeline or client, ledger, pepper_check, EvictionPolicyCheck(client), deadline_s)
    return Services(
        settings=settings,
        gate=gate,
        backends=settings.backends_file,
        catalog=catalog,
        registry=registry,
        holders=Holders(gate, catalog, registry, store, prefix),
        logins=RedisLogins(client, _ADMIN_DEADLINE_MS / 1000),
        failures=_failures(pipeline or client, settings),
        ping=health.check,
        checkup=RedisCheckup(admin_client, health.check, _ADMIN_DEADLINE_MS / 1000, deadline_s),
        tally=tally,
    )


def _failures(client: Executor, settings: Settings) -> RedisFailures | None:
    limit = settings.fail_limit
    return RedisFailures(client, limit, settings.redis_deadline_ms / 1000) if limit else None


def _defaults(settings: Settings) -> Defaults:
    return Defaults(
        settings.default_ttl_s, settings.rate_limit_window_sec, settings.max_ttl_seconds, settings.unset
    )
