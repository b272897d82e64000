"""``.env`` as ``make run`` reads and writes it: secrets, and where Redis is."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from dotenv import set_key, unset_key

from app import origins
from scripts import older
from scripts.private import replace

ENV_FILE = Path(__file__).resolve().parent.parent / ".env"
URL_FILE = "data/redis.url"  # relative, so that a checkout can be moved
_USED = {"REDIS_URL_FILE", "REDIS_DB", "REDIS_DEADLINE_MS"}


def kept() -> dict[str, str]:
    """Return what .env says, to the letter; exits if it can't be read."""
    try:
        said = origins.literal()
    except ValueError as error:
        sys.exit(f"{ENV_FILE} {error}")
    return {name: value for name, value in said.items() if value}


def known() -> dict[str, str]:
    """Return the environment and, below it, what .env says."""
    return {**kept(), **os.environ}


def make_secrets() -> dict[str, str]:
    """Write those that are set nowhere to .env and return them."""
    given = known()
    wanted = {
        "PEPPER": secrets.token_hex(32),
        "ADMIN_USER": "admin",
        "ADMIN_PASS": secrets.token_urlsafe(18),
    }
    missing = {
        name: new for name, new in wanted.items() if not given.get(name) and not given.get(f"{name}_FILE")
    }
    _keep(missing)
    return missing


def names_another_redis() -> bool:
    """Tell whether a Redis is given that is not the embedded one."""
    return _names_another(known())


def without_own_address() -> dict[str, str]:
    """Return what keeps the service from the embedded Redis, and forget that one if .env names another."""
    said = kept()
    if said.get("REDIS_URL_FILE") != URL_FILE or os.environ.get("REDIS_URL_FILE"):
        return {}
    if _names_another(said):
        unset_key(ENV_FILE, "REDIS_URL_FILE", follow_symlinks=True)
    return {"REDIS_URL_FILE": ""}


def own_address() -> dict[str, str]:
    """Write to .env where the address of the embedded Redis stands; return it, and nothing beside it."""
    if kept().get("REDIS_URL_FILE") != URL_FILE:
        _keep({"REDIS_URL_FILE": URL_FILE})
    _leave_older_address()
    unused = sorted(name for name, value in known().items() if value and _is_unused(name))
    if unused:
        print(
            f"{', '.join(unused)}: not used. For a Redis of yours set REDIS_HOST or REDIS_URL too", flush=True
        )
    return dict.fromkeys(unused, "") | {"REDIS_URL_FILE": URL_FILE}


def database() -> int:
    """Return the number of the database that is asked for."""
    text = known().get("REDIS_DB") or "0"
    if not text.isdecimal():
        sys.exit(f"REDIS_DB must be a number, not {text!r}")
    return int(text)


def _keep(values: dict[str, str]) -> None:
    if values:
        ENV_FILE.touch(mode=0o600)
    for name, value in values.items():
        set_key(ENV_FILE, name, value, quote_mode="never", follow_symlinks=True)


def _names_another(values: dict[str, str]) -> bool:
    url_file = values.get("REDIS_URL_FILE") or URL_FILE
    return bool(values.get("REDIS_HOST") or values.get("REDIS_URL")) or url_file != URL_FILE


def _leave_older_address() -> None:
    text = ENV_FILE.read_text("utf-8")
    if (clean := older.without_address(text)) != text:
        replace(ENV_FILE.resolve(), clean)
        print("REDIS_PORT and REDIS_PASSWORD in .env are of an older version: comments now", flush=True)


def _is_unused(name: str) -> bool:
    return name.startswith("REDIS_") and name not in _USED
