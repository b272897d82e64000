"""``.env`` as ``make run`` reads and writes it: the secrets, and the address of Redis."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from dotenv import set_key, unset_key

from app import origins
from scripts import older_versions
from scripts.permissions import replace

ENV_FILE = Path(__file__).resolve().parent.parent / ".env"
URL_FILE = "data/redis.url"  # relative, so that a checkout can be moved
_USED = {"REDIS_URL_FILE", "REDIS_DB", "REDIS_DEADLINE_MS"}


def kept() -> dict[str, str]:
    """Return the variables of .env, taken literally; exits if it cannot be read."""
    try:
        values = origins.literal()
    except ValueError as error:
        sys.exit(f"{ENV_FILE} {error}")
    return {name: value for name, value in values.items() if value}


def known() -> dict[str, str]:
    """Return the environment, which takes precedence over .env."""
    return {**kept(), **os.environ}


def generate_secrets() -> dict[str, str]:
    """Generate the secrets that are not set, write them to .env and return them."""
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
    """Return whether the settings name a Redis other than the embedded one."""
    return _names_another(known())


def without_own_address() -> dict[str, str]:
    """Return settings against the embedded Redis, and remove its address if .env names another one."""
    values = kept()
    if values.get("REDIS_URL_FILE") != URL_FILE or os.environ.get("REDIS_URL_FILE"):
        return {}
    if _names_another(values):
        unset_key(ENV_FILE, "REDIS_URL_FILE", follow_symlinks=True)
    return {"REDIS_URL_FILE": ""}


def own_address() -> dict[str, str]:
    """Write the file name of the embedded Redis' address to .env; return settings that name no other."""
    if kept().get("REDIS_URL_FILE") != URL_FILE:
        _keep({"REDIS_URL_FILE": URL_FILE})
    _comment_out_older_address()
    unused = sorted(name for name, value in known().items() if value and _is_unused(name))
    if unused:
        print(
            f"{', '.join(unused)}: not used. To use your own Redis, also set REDIS_HOST or REDIS_URL",
            flush=True,
        )
    return dict.fromkeys(unused, "") | {"REDIS_URL_FILE": URL_FILE}


def database() -> int:
    """Return the number of the configured database."""
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


def _comment_out_older_address() -> None:
    text = ENV_FILE.read_text("utf-8")
    if (clean := older_versions.without_address(text)) != text:
        replace(ENV_FILE.resolve(), clean)
        print("REDIS_PORT and REDIS_PASSWORD of an older version are commented out in .env now", flush=True)


def _is_unused(name: str) -> bool:
    return name.startswith("REDIS_") and name not in _USED
