"""The objects that views and commands share, and typed access to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from flask import Flask, current_app

from app.core.audit import AuditLog
from app.core.backends import Backends
from app.core.bulk import Bulk
from app.core.catalog import Catalog
from app.core.checkup import Checkup
from app.core.exporter import Exporter
from app.core.failures import Failures
from app.core.gate import Gate
from app.core.holders import Holders
from app.core.importer import Importer
from app.core.key_lists import KeyLists
from app.core.logins import Logins
from app.core.managed import Applier
from app.core.overview import Overview
from app.core.registry import Registry
from app.core.trials import Trials
from app.core.verdicts import Verdict
from app.settings import Settings
from app.tally import Gauge, Tally

_KEY = "acl-auth-service"


@dataclass(frozen=True)
class Moving:
    """What copies all tokens from one database to another, and reads lists of existing keys."""

    exporter: Exporter
    importer: Importer
    key_lists: Callable[..., KeyLists]


@dataclass(frozen=True)
class Services:
    """Everything that the views and commands of one app share."""

    settings: Settings
    gate: Gate
    catalog: Catalog
    overview: Overview
    registry: Registry
    bulk: Bulk
    applier: Applier
    holders: Holders
    trials: Trials
    audit: AuditLog
    logins: Logins
    failures: Failures | None
    ping: Callable[[], None]
    checkup: Callable[[Callable[[], None]], Checkup]
    redis_gauges: Callable[[], Mapping[Gauge, int]]
    tally: Tally
    moving: Moving

    @cached_property
    def backends(self) -> Backends:
        """The headers that backends receive."""
        return self.settings.backends_file

    @cached_property
    def unlogged(self) -> frozenset[Verdict]:
        """The verdicts without a line for each decision; an outage has one of its own, with the reason."""
        is_debug = self.settings.log_level == "debug"
        return frozenset({Verdict.UNAVAILABLE} if is_debug else {Verdict.UNAVAILABLE, Verdict.ALLOWED})


def services() -> Services:
    """Return the services of the current app."""
    return services_of(current_app)


def services_of(app: Flask) -> Services:
    """Return the services of *app*."""
    return cast(Services, app.extensions[_KEY])


def provide(app: Flask, services: Services) -> None:
    """Give *app* its services, or replace them."""
    app.extensions[_KEY] = services
