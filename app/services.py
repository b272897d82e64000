"""The few objects that views and commands share, and the typed way to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app, g, has_app_context

from app.core.durability import Durability
from app.core.failures import Failures
from app.core.gate import Gate
from app.core.logins import Logins
from app.core.registry import Registry
from app.settings import Settings
from app.tally import Tally

_KEY = "acl-auth-service"


@dataclass(frozen=True)
class Services:
    """Made once by create_app."""

    settings: Settings
    gate: Gate
    registry: Registry
    logins: Logins
    failures: Failures | None
    ping: Callable[[], None]
    tally: Tally


def services() -> Services:
    """Return the services of the current app."""
    return of(current_app)


def of(app: Flask) -> Services:
    """Return the services of *app*."""
    return cast(Services, app.extensions[_KEY])


def provide(extensions: dict[str, object], made: Services) -> None:
    """Make *made* the services of the app that owns *extensions*."""
    extensions[_KEY] = made


def note(durability: Durability) -> None:
    """Keep what Redis said of the change that the current request or command made."""
    if has_app_context():
        g.durability = durability


def durability() -> Durability:
    """Return what Redis said of the change that the current request or command made."""
    return cast(Durability, g.get("durability", Durability.UNTOLD))
