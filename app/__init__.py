"""acl-auth-service: API-token authentication for anything behind Traefik."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, cast

from flask import Flask, Request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from app import audit_lines, cli
from app.core.audit import Entry
from app.core.catalog import Catalog
from app.core.declared import Rules
from app.core.defaults import Defaults
from app.core.errors import ConflictError, NoSuchTokenError, StoreUnavailableError
from app.core.fields import InvalidFieldsError
from app.core.gate import Gate
from app.core.holders import Holders
from app.core.managed import Applier
from app.core.peppers import Peppers
from app.core.registry import Registry
from app.services import Services, provide, services_of
from app.settings import Settings
from app.store.audit import RedisAudit
from app.store.changes import RedisChanges
from app.store.checkup import RedisCheckup
from app.store.failures import RedisFailures
from app.store.health import EvictionPolicyCheck, Health
from app.store.ledger import RedisLedger
from app.store.logins import RedisLogins
from app.store.managed import RedisManaged
from app.store.pepper_check import PepperCheck
from app.store.tokens import RedisTokens
from app.store.trail import Trail
from app.store.transport.cluster_pipeline import ClusterPipeline, Executor
from app.store.transport.connection import connect, open_pipeline
from app.store.transport.pipeline import Pipeline
from app.store.transport.shared_connect import SharedConnect
from app.tally import SHARED, Gauge, Tally
from app.web import admin, api, auth, filters, guards, metrics, self_service
from app.web.problems import is_api

_MAX_FORM_BYTES = 64 * 1024
_ADMIN_DEADLINE_S = 2
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
    pipeline = open_pipeline(client, deadline_s, tally.note_redis) if concurrent else None
    pepper_check = PepperCheck(pipeline or client, peppers.fingerprints, concurrent=concurrent)
    ledger = RedisLedger(client, pepper_check, settings.limit, deadline_s, pipeline)
    stores = _stores(settings, pepper_check, tally, concurrent=concurrent)
    gate, catalog = Gate(ledger, peppers, prefix), Catalog(stores.tokens, peppers, prefix)
    registry = Registry(stores.tokens, stores.changes, peppers, _defaults(settings), time.time)
    rules = Rules(peppers, _defaults(settings))
    return Services(
        settings=settings,
        gate=gate,
        backends=settings.backends_file,
        catalog=catalog,
        registry=registry,
        applier=Applier(stores.tokens, stores.series, stores.managed, rules, time.time),
        holders=Holders(gate, catalog, registry, stores.changes, prefix),
        audit=stores.audit,
        logins=RedisLogins(client, _ADMIN_DEADLINE_S, stores.trail),
        failures=_failures(pipeline or client, settings),
        ping=Health(pipeline or client, ledger, pepper_check, EvictionPolicyCheck(client), deadline_s).check,
        checkup=stores.checkup,
        redis_gauges=lambda: _redis_gauges(pipeline),
        tally=tally,
    )


def _on_entry(settings: Settings, tally: Tally, *, concurrent: bool) -> Callable[[Entry], None]:
    """Return what to do with an audit entry; commands, whose output is read by others, ship none."""
    is_shipped = concurrent and settings.audit_log == "stdout"

    def note(entry: Entry) -> None:
        tally.note_audit_entry(entry)
        if is_shipped:
            audit_lines.write(entry)

    return note


def _redis_gauges(pipeline: Pipeline | ClusterPipeline | None) -> Mapping[Gauge, int]:
    return {
        Gauge.REDIS_CONNECTIONS: SharedConnect.count_open(),
        Gauge.REDIS_WAITING: pipeline.waiting if pipeline else 0,
    }


class _Stores(NamedTuple):
    tokens: RedisTokens
    changes: RedisChanges
    series: RedisChanges
    managed: RedisManaged
    audit: RedisAudit
    trail: Trail
    checkup: RedisCheckup


def _stores(settings: Settings, pepper_check: PepperCheck, tally: Tally, *, concurrent: bool) -> _Stores:
    """Return what finds and changes tokens.

    It has a client of its own, because a change may wait for the disk longer than the deadline of /auth.
    """
    patient = replace(settings, redis_deadline_ms=_ADMIN_DEADLINE_S * 1000)
    client = connect(patient, concurrent=concurrent)
    on_entry = _on_entry(settings, tally, concurrent=concurrent)
    trail = Trail(client, settings.audit_rules, on_entry, tally.note_change)
    tokens = RedisTokens(client, pepper_check, _ADMIN_DEADLINE_S, concurrent=concurrent)
    changes, series = (
        RedisChanges(client, tokens, pepper_check, _ADMIN_DEADLINE_S, trail, asks=asks)
        for asks in (True, False)
    )
    managed = RedisManaged(client, _ADMIN_DEADLINE_S)
    audit = RedisAudit(client, _ADMIN_DEADLINE_S, settings.audit_rules)
    checkup = RedisCheckup(client, _ADMIN_DEADLINE_S, settings.redis_deadline_ms / 1000)
    return _Stores(tokens, changes, series, managed, audit, trail, checkup)


def _failures(client: Executor, settings: Settings) -> RedisFailures | None:
    limit = settings.fail_limit
    return RedisFailures(client, limit, settings.redis_deadline_ms / 1000) if limit else None


def _defaults(settings: Settings) -> Defaults:
    return Defaults(
        settings.token_prefix,
        settings.default_ttl_s,
        settings.rate_limit_window_sec,
        settings.max_ttl_seconds,
        settings.unset,
    )
