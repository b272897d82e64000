"""acl-auth-service: API-token authentication for anything behind Traefik."""

from __future__ import annotations

from typing import Any, cast

from flask import Flask, Request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from app import cli
from app.assembly import build_services
from app.core.errors import ConflictError, NoSuchTokenError, StoreUnavailableError
from app.core.fields import InvalidFieldsError
from app.services import provide, services_of
from app.settings import Settings
from app.tally import SHARED, Tally
from app.web import api, auth, base_path, compiled, console, filters, guards, metrics, self_service
from app.web.problems import is_api

_MAX_FORM_BYTES = 64 * 1024
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
    app = _App(__name__, static_folder="static" if settings.admin_enabled else None)
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
    compiled.register(app)
    _register_views(app, settings)
    if settings.base_path:
        base_path.serve_below(app, settings.base_path)
    _show_errors(app)
    cli.register(app)
    return app


def _register_views(app: Flask, settings: Settings) -> None:
    app.register_blueprint(auth.bp)
    if settings.metrics_enabled:
        app.register_blueprint(metrics.bp)
    if settings.admin_enabled:
        app.register_blueprint(console.bp)
        app.register_blueprint(api.bp)
    if settings.self_service != "off":
        app.register_blueprint(self_service.blueprint(is_full=settings.self_service == "full"))


def _show_errors(app: Flask) -> None:
    """Register the error pages; the API has its own handlers, except for errors raised outside its routes."""
    app.register_error_handler(HTTPException, _show_http_error)
    app.register_error_handler(InvalidFieldsError, console.errors.show_invalid)
    app.register_error_handler(NoSuchTokenError, console.errors.show_missing)
    app.register_error_handler(ConflictError, console.errors.show_conflict)
    app.register_error_handler(StoreUnavailableError, console.errors.show_unavailable)


def _show_http_error(error: HTTPException) -> Any:
    return (api if is_api() else console.errors).show_http_error(error)


def make_concurrent(app: Flask) -> None:
    """Replace the services of *app* with those of a worker whose greenlets share a pipelined connection.

    The worker calls this before its first request, because only it knows that greenlets run the requests.
    """
    services = services_of(app)
    provide(app, build_services(services.settings, services.tally, concurrent=True))
