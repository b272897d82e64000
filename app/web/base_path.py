"""Serve pages, API and static files below BASE_PATH, whether or not the proxy keeps that part of the path.

What Traefik and Prometheus ask stays at the root alone: below BASE_PATH, which is public, it does not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

Environ = dict[str, Any]
_ROOT_ALONE = {"auth", "metrics"}  # blueprints


def serve_below(app: Flask, base: str) -> None:
    """Let *app* answer below *base* too, and write it into every link."""
    inner: Callable[[Environ, Any], Any] = app.wsgi_app
    rules = app.url_map.iter_rules()
    roots = {rule.rule.split("/")[1] for rule in rules if rule.endpoint.split(".")[0] in _ROOT_ALONE}

    def rebased(environ: Environ, start_response: Any) -> Any:
        path = _below(environ["PATH_INFO"], base)
        if path is None or path.lstrip("/").split("/")[0] in roots:
            path = environ["PATH_INFO"]
        return inner(environ | {"SCRIPT_NAME": base, "PATH_INFO": path}, start_response)

    app.wsgi_app = rebased  # type: ignore[method-assign]


def _below(path: str, base: str) -> str | None:
    """Return *path* without *base*, None if it is not below it."""
    if path == base:
        return "/"
    return path.removeprefix(base) if path.startswith(f"{base}/") else None
