"""acl-auth-service: API-token authentication for anything behind Traefik."""

from __future__ import annotations

import time

from flask import Flask
from werkzeug.exceptions import HTTPException

from app import cli
from app.core.gate import Gate
from app.core.peppers import Pepper
from app.core.registry import Registry, StoreUnavailableError
from app.services import Services, provide
from app.settings import Settings
from app.store.connection import connect, ping
from app.store.ledger import RedisLedger
from app.store.tokens import RedisTokens
from app.web import admin, auth, filters, guards

_MAX_FORM_BYTES = 16 * 1024
_ADMIN_DEADLINE_S = 2.0


def create_app(settings: Settings) -> Flask:
    """Join the parts into one WSGI application."""
    app = Flask(__name__)
    app.config.update(MAX_CONTENT_LENGTH=_MAX_FORM_BYTES, PROVIDE_AUTOMATIC_OPTIONS=False)
    provide(app.extensions, build_services(settings))
    guards.guard(app)
    filters.register(app)
    app.register_blueprint(auth.bp)
    app.register_blueprint(admin.bp)
    app.register_error_handler(HTTPException, admin.show_http_error)
    app.register_error_handler(StoreUnavailableError, admin.show_unavailable)
    app.cli.add_command(cli.tokens)
    app.shell_context_processor(cli.shell_context)
    return app


def build_services(settings: Settings) -> Services:
    """Make the shared objects; nothing connects yet, so that workers may fork first."""
    client = connect(settings)
    deadline_s = settings.redis_deadline_ms / 1000
    pepper = Pepper(settings.pepper)
    ledger = RedisLedger(client, settings.limit, deadline_s)
    store = RedisTokens(client, _ADMIN_DEADLINE_S)
    return Services(
        settings=settings,
        gate=Gate(ledger, pepper, settings.token_prefix),
        registry=Registry(store, pepper, settings.token_prefix, time.time),
        ping=lambda: ping(client, deadline_s),
    )
