"""Find settings that are valid on their own but contradict each other (docs/decisions/0004)."""

from __future__ import annotations

import ssl
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from app.core.clients import Proxies
from app.core.declared import InvalidFileError, Rules
from app.core.defaults import Defaults
from app.core.peppers import Peppers
from app.redis_url import Address

Problem = tuple[str, str]
_TLS_ONLY = ("redis_tls_skip_verify", "redis_tls_ca_file", "redis_tls_cert_file", "redis_tls_key_file")
_RULING = {"pepper", "pepper_previous", "token_prefix", "max_ttl_seconds", "trusted_proxies"}


def contradictions(values: Mapping[str, Any], given: Collection[str]) -> Iterator[Problem]:
    """Yield the name of each contradictory setting with the problem and its remedy.

    *values* holds the parsed settings, without those that failed to parse; *given* names those that were set.
    """
    if values.get("redis_url"):
        yield from _beside_url(values, given)
    if {"redis_url", "redis_tls"} <= values.keys():
        yield from _tls_for_nothing(values)
    if values.get("redis_tls_skip_verify") and values.get("redis_tls_ca_file"):
        yield "redis_tls_ca_file", "verifies nothing beside REDIS_TLS_SKIP_VERIFY=true; keep one of them"
    if {"redis_tls_cert_file", "redis_tls_key_file"} <= values.keys():
        yield from _certificate(values["redis_tls_cert_file"], values["redis_tls_key_file"])
    if 0 < values.get("max_ttl_seconds", 0) < values.get("token_ttl_seconds", 0):
        yield "token_ttl_seconds", "is longer than MAX_TTL_SECONDS; lower it, or leave it out"
    if values.get("fail_limit_max") and values.get("trusted_proxies") == Proxies():
        yield (
            "fail_limit_max",
            "needs TRUSTED_PROXIES; without it, every request seems to come from one client, Traefik",
        )
    if values.get("tokens_file_prune") and not values.get("tokens_file", True):
        yield "tokens_file_prune", "has no effect without TOKENS_FILE"
    if values.get("tokens_file") and values.keys() >= _RULING:
        yield from _forbidden_tokens(values)


def _beside_url(values: Mapping[str, Any], given: Collection[str]) -> Iterator[Problem]:
    url = values["redis_url"]
    server = url.server or Address("", 0)
    place = {"redis_host": server.host, "redis_port": server.port, "redis_db": url.db, "redis_tls": url.tls}
    login = {"redis_username": url.login.username, "redis_password": url.login.password}
    for name, value in (place | {name: value for name, value in login.items() if value}).items():
        if name in given and name in values and values[name] != value:
            yield name, f"REDIS_URL has another value; keep one of them{_hint(name, is_tls=url.tls)}"


def _hint(name: str, *, is_tls: bool) -> str:
    if name != "redis_tls":
        return ""
    return "" if is_tls else ", or write rediss:// for TLS"


def _tls_for_nothing(values: Mapping[str, Any]) -> Iterator[Problem]:
    url = values["redis_url"]
    if not (url.tls if url else values["redis_tls"]):
        for name in _TLS_ONLY:
            if values.get(name):
                yield name, "has no effect without TLS; set REDIS_TLS=true, or write rediss:// in REDIS_URL"


def _certificate(cert_file: str, key_file: str) -> Iterator[Problem]:
    if bool(cert_file) != bool(key_file):
        missing = "REDIS_TLS_KEY_FILE" if cert_file else "REDIS_TLS_CERT_FILE"
        yield f"redis_tls_{'cert' if cert_file else 'key'}_file", f"needs {missing} as well"
    elif cert_file:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, key_file, password="")
        except OSError:
            yield "redis_tls_cert_file", "is not a PEM certificate for that key, or the key has a passphrase"


def _forbidden_tokens(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what the other settings do not allow in TOKENS_FILE; when it is read again, applying it tells."""
    peppers = Peppers(values["pepper"], values["pepper_previous"])
    unset = frozenset(name for name, value in values.items() if not value)
    rules = Rules(peppers, Defaults(values["token_prefix"], 0, 1, values["max_ttl_seconds"], unset))
    try:
        if not values["tokens_file"].is_late:
            rules.wanted(values["tokens_file"].tokens, int(time.time()))
    except InvalidFileError as error:
        yield from (("tokens_file", problem) for problem in str(error).splitlines())
