"""Examine one area after the other: settings, machine, Redis, and the entrance if there is an address."""

from __future__ import annotations

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app import origins
from app.cli.actors import actor
from app.cli.doctor.entrance import Entrance
from app.cli.doctor.local import machine_findings, secret_files, settings_findings
from app.cli.doctor.prober import Prober
from app.cli.doctor.visits import Door
from app.cli.doctor.wallet import Wallet
from app.core.checkup import findings_of, summary_of
from app.core.findings import Area, Finding, finding
from app.core.text import counted
from app.services import Services
from app.settings import InvalidSettingsError


@dataclass
class Examination:
    """What was found, and one line for each area that was examined."""

    findings: list[Finding] = field(default_factory=list)
    summaries: dict[Area, str] = field(default_factory=dict)

    def machine(self) -> None:
        """Examine limits and files of this machine."""
        try:
            environ = origins.gather()
        except ValueError:  # .env can't be read, which the settings report
            environ = {}
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.findings += machine_findings(environ, limit)
        files = len(secret_files(environ))
        self.summaries[Area.MACHINE] = f"{limit} open files, {counted(files, 'file')} with secrets"

    def invalid_settings(self, error: InvalidSettingsError) -> None:
        """Report settings with which the service does not start."""
        self.findings += (
            finding("settings-invalid", name=name, problem=problem) for name, problem in error.problems
        )
        self.summaries[Area.SETTINGS] = "not valid"

    def service(self, services: Services) -> None:
        """Examine valid settings, and Redis."""
        self.findings += settings_findings(services.settings)
        self.summaries[Area.SETTINGS] = "valid, and without contradictions"
        with _quiet():
            checkup = services.checkup(services.ping)
        self.findings += findings_of(checkup)
        self.summaries[Area.REDIS] = summary_of(checkup)

    def entrance(self, services: Services, door: Door, plain: Door | None) -> None:
        """Examine the proxy behind *door*."""
        settings, registry = services.settings, services.registry
        sources, most_s = settings.credential_sources, settings.max_ttl_seconds
        wallet = Wallet(actor(), registry, services.catalog, sources, most_s)
        prober = Prober(door, wallet, settings.auth_realm)
        entrance = Entrance(prober, plain, is_proxy_trusted=bool(settings.trusted_proxies))
        with _quiet():
            self.findings += entrance.findings()
        self.summaries[Area.ENTRANCE] = f"{door.url}, {counted(prober.requests, 'request')}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log of the store from repeating on the terminal what the report says."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
