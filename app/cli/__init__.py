"""The commands of ``flask --app wsgi``, which do what the admin pages do, and more."""

from __future__ import annotations

from typing import Any

from flask import Flask

from app.cli import applying, changing, doctor, issuing, looking, moving, upkeep
from app.cli.audit import audit
from app.cli.config import config
from app.cli.groups import logins, tokens
from app.services import services

# Importing a module adds its commands to their group.
MODULES = (issuing, changing, applying, looking, moving, upkeep)
COMMANDS = (tokens, logins, config, audit, doctor.command)


def register(app: Flask) -> None:
    """Add all commands to *app*, and names to its shell."""
    for command in COMMANDS:
        app.cli.add_command(command)
    app.shell_context_processor(_shell_context)


def _shell_context() -> dict[str, Any]:
    """Return the names that ``flask shell`` defines."""
    return {name: getattr(services(), name) for name in ("settings", "gate", "catalog", "registry")}
