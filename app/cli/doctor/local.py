"""What ``flask doctor`` finds in the settings and on the machine that it runs on."""

from __future__ import annotations

import os
import resource
import socket
import stat
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from app import origins
from app.core.clients import parse_proxies
from app.core.findings import Finding, finding
from app.listening import WORKER_CONNECTIONS
from app.settings import Settings

MIN_SECRET_CHARS = 8
# A larger network can't belong to the operator, by version of IP.
_WIDEST = {4: 8, 6: 16}
_PRIVATE = parse_proxies("private").networks
_HEARTBEATS = Path("/dev/shm")  # noqa: S108 - gunicorn.conf.py has the same
# Of a worker: its clients, besides its log, listening sockets and a few connections to Redis.
_NEEDED_FILES = WORKER_CONNECTIONS + 24
# Settings that name a file which is no table, and whether it holds a secret.
_TLS = {"REDIS_TLS_CA_FILE": False, "REDIS_TLS_CERT_FILE": False, "REDIS_TLS_KEY_FILE": True}
_FILE_KEYS = ("file", "secret_file")
# Docker and Swarm mount secrets there, readable by all users of a container that has one.
_MOUNTED = Path("/run/secrets")


def settings_findings(settings: Settings) -> Iterator[Finding]:
    """Yield what is valid but weak."""
    if settings.admin_enabled and len(settings.admin_pass) < MIN_SECRET_CHARS:
        yield finding("password-short", minimum=MIN_SECRET_CHARS)
    if len(settings.pepper) < MIN_SECRET_CHARS:
        yield finding("pepper-short", minimum=MIN_SECRET_CHARS)
    for network in settings.trusted_proxies.networks:
        if network.prefixlen < _WIDEST[network.version] and network not in _PRIVATE:
            yield finding("proxies-too-wide", network=network)
    if settings.admin_allowed_networks and not settings.trusted_proxies:
        yield finding("networks-without-proxies")
    if settings.redis_tls_skip_verify:
        yield finding("redis-certificate-unchecked")
    if not settings.redis.tls:
        for host in filter(_is_public, {address.host for address in settings.redis.addresses}):
            yield finding("redis-unencrypted", address=host)


def _is_public(host: str) -> bool:
    with suppress(OSError, UnicodeError):
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return any(ip_address(str(place[0]).partition("%")[0]).is_global for *_, place in found)
    return False


def machine_findings(environ: Mapping[str, str], open_files: int) -> Iterator[Finding]:
    """Yield what is wrong here, where a process may open so many files; *environ* includes ``.env``."""
    if open_files != resource.RLIM_INFINITY and open_files < _NEEDED_FILES:
        yield finding("open-files-low", limit=open_files, needed=_NEEDED_FILES)
    if sys.platform == "linux":
        yield from heartbeats(_HEARTBEATS)
    for path in secret_files(environ):
        yield from modes(path)


def heartbeats(directory: Path) -> Iterator[Finding]:
    """Yield a finding if workers can't keep their heartbeats in *directory*."""
    if not directory.is_dir():
        yield finding("shm-unusable", path=directory, problem="missing")
    elif not os.access(directory, os.W_OK | os.X_OK):
        yield finding("shm-unusable", path=directory, problem="not writable for this user")


def secret_files(environ: Mapping[str, str]) -> list[Path]:
    """Return the files that hold secrets, and the tables that name them or say what they open."""
    secrets = {f"{f.name.upper()}_FILE" for f in fields(Settings) if f.metadata["secret"]}
    tables = {f.name.upper() for f in fields(Settings) if f.name.endswith("_file")} - _TLS.keys()
    private = {name for name, is_private in _TLS.items() if is_private}
    given = {name: Path(path) for name in sorted(secrets | tables | private) if (path := environ.get(name))}
    named = (path for name, table in given.items() if name in tables for path in _named_in(table))
    paths = [Path(origins.DOTENV), *given.values(), *named]
    # os.path, because Path.is_file raises PermissionError for a path that this user may not look at.
    return [path for path in dict.fromkeys(paths) if os.path.isfile(path)]  # noqa: PTH113


def _named_in(table: Path) -> Iterator[Path]:
    """Yield the files that a table in TOML names."""
    with suppress(ValueError, RecursionError):
        pending: list[Any] = [tomllib.loads(origins.read(str(table)))]
        while pending:
            each = pending.pop()
            if isinstance(each, dict):
                yield from (table.parent / each[key] for key in _FILE_KEYS if isinstance(each.get(key), str))
                pending += each.values()
            elif isinstance(each, list):
                pending += each


def modes(path: Path) -> Iterator[Finding]:
    """Yield a finding if every user of the machine may change or read *path*."""
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH:
        yield finding("file-writable", path=path)
    elif mode & stat.S_IROTH and not path.is_relative_to(_MOUNTED):
        yield finding("file-readable", path=path)
