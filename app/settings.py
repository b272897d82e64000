"""Parse the environment into one frozen Settings, or into one message that lists every problem.

See docs/decisions/0004.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from app import backends_file, listening, origins, tokens_file
from app.contradictions import contradictions
from app.core import admission
from app.core.audit import MAX_AGE_DAYS, MAX_ENTRIES, Rules
from app.core.backends import Backends
from app.core.clients import Proxies, parse_proxies
from app.core.credentials import NAMES, Source, parse_sources
from app.core.declared import Declarations
from app.core.failures import MAX_FAILURES, MAX_FAILURES_WINDOW_S
from app.core.fields import MAX_TTL_S
from app.core.kinds import whole_number
from app.core.limits import MAX_REQUESTS, MAX_WINDOW_S, Limit
from app.redis_url import Address, Location, Login, parse_host, parse_url

_DAY_S = 86_400
_YES, _NO = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}
_PLACEHOLDER = re.compile(
    r"(change|replace|fill)[-_ ]?(me|this|it)\b.*|your[-_ ].*|<.*>|default|example|todo|xxx+", re.IGNORECASE
)
_PLACEHOLDER_PASSWORDS = {"admin", "password", "changeit"}
_CONTROL = re.compile(r"[\0-\x1f\x7f-\x9f]")


class InvalidSettingsError(ValueError):
    """The environment is not valid; the message has one line per problem, beginning with the variable."""

    def __init__(self, *problems: tuple[str, str]) -> None:
        self.problems = problems
        lines = (f"  {name}: {problem}" for name, problem in problems)
        super().__init__("\n".join(["acl-auth-service can't start with these settings:", *lines]))


def _optional(value: str) -> str:
    if value and not value.strip():
        raise ValueError("is blank")
    return value


def _secret(value: str) -> str:
    if not value.strip():
        raise ValueError("is blank")
    if _PLACEHOLDER.fullmatch(value):
        raise ValueError("is a placeholder; generate one, for instance with: openssl rand -hex 32")
    return value


def _secrets(value: str) -> tuple[str, ...]:
    lines = re.split(r"\r\n|\n|\r", value)
    return tuple(_secret(part) for part in (lines if lines[1:] else value.split(","))) if value else ()


def _admin_user(value: str) -> str:
    if ":" in _secret(value) or not value.isprintable():
        raise ValueError("may not contain ':' or control characters")
    return value


def _admin_pass(value: str) -> str:
    if value.lower() in _PLACEHOLDER_PASSWORDS:
        raise ValueError("is one of the first passwords that attackers try; choose another")
    if _CONTROL.search(value):
        raise ValueError("may not contain control characters, which can't be typed into a browser")
    return _secret(value)


def _integer(low: int, high: int) -> Callable[[str], int]:
    return lambda value: whole_number(value, low, high)


def _flag(value: str) -> bool:
    if value.lower() not in _YES | _NO:
        raise ValueError(f"true or false, not {value!r}")
    return value.lower() in _YES


def _matching(pattern: str, hint: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError(f"{hint}, not {value!r}")
        return value

    return parse


def _word(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in words:
            raise ValueError(f"{', '.join(words[:-1])} or {words[-1]}, not {value!r}")
        return value.lower()

    return parse


def _redis_host(value: str) -> str:
    try:
        return parse_host(value)
    except ValueError:
        raise ValueError(
            "a host name or an IP address; set the port in REDIS_PORT, anything else in REDIS_URL"
        ) from None


def _redis_url(value: str) -> Location | None:
    return parse_url(value) if value else None


def _file(value: str) -> str:
    if value and not (Path(value).is_file() and os.access(value, os.R_OK)):
        raise ValueError(f"is not a file that can be read: {value!r}")
    return value


def _ca_file(value: str) -> str:
    try:
        if _file(value):
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
    except ssl.SSLError:
        raise ValueError(f"does not hold certificates in PEM: {value!r}") from None
    return value


def _setting(
    parse: Callable[[str], Any], default: str | None, help_: str, *, secret: bool = False, need: str = ""
) -> Any:
    """Declare one setting by its parser, default and description.

    A default of None makes it required, unless the setting *need*, which is declared before, is off.
    """
    return field(
        repr=not secret,
        metadata={"parse": parse, "default": default, "help": help_, "secret": secret, "need": need},
    )


@dataclass(frozen=True)
class Settings:
    """The table of all settings; each field is the environment variable of the same name in capitals."""

    pepper: str = _setting(
        _secret,
        None,
        "Secret that is hashed with every token; changing it alone invalidates all tokens",
        secret=True,
    )
    pepper_previous: tuple[str, ...] = _setting(
        _secrets, "", "Earlier values of PEPPER, separated by commas, or one per line", secret=True
    )
    admin_enabled: bool = _setting(
        _flag, "true", "Serve the admin pages and the API; without them, a replica only decides"
    )
    admin_user: str = _setting(
        _admin_user, None, "User name of the admin pages and the API", secret=True, need="admin_enabled"
    )
    admin_pass: str = _setting(
        _admin_pass, None, "Password of the admin pages and the API", secret=True, need="admin_enabled"
    )
    admin_hosts: tuple[str, ...] = _setting(
        admission.parse_hosts,
        "",
        "Host names at which the pages and the API are available, separated by commas; blank: any",
    )
    admin_allowed_networks: tuple[str, ...] = _setting(
        admission.parse_networks,
        "",
        "Addresses and networks that can reach the pages and the API, separated by commas; blank: any",
    )
    base_path: str = _setting(
        admission.parse_base_path, "", "Path below which the proxy serves pages and API, such as `/acl`"
    )
    redis_host: str = _setting(_redis_host, "127.0.0.1", "Host of the Redis server")
    redis_port: int = _setting(_integer(1, 65535), "6379", "Port of the Redis server")
    redis_db: int = _setting(_integer(0, 2**31 - 1), "0", "Number of the Redis database")
    redis_username: str = _setting(_optional, "", "Redis ACL user", secret=True)
    redis_password: str = _setting(_optional, "", "Redis password", secret=True)
    redis_tls: bool = _setting(_flag, "false", "Connect to Redis over TLS")
    redis_tls_skip_verify: bool = _setting(_flag, "false", "Accept any certificate from Redis; for tests")
    redis_tls_ca_file: str = _setting(
        _ca_file, "", "CA certificates that verify Redis, in place of the system's"
    )
    redis_tls_cert_file: str = _setting(_file, "", "Client certificate for Redis, in PEM")
    redis_tls_key_file: str = _setting(_file, "", "Key of that certificate, in PEM without a passphrase")
    redis_url: Location | None = _setting(  # noqa: RUF009 - it declares a field
        _redis_url,
        "",
        "Address as redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://, instead of "
        "REDIS_HOST, REDIS_PORT, REDIS_DB and REDIS_TLS",
        secret=True,
    )
    redis_deadline_ms: int = _setting(
        _integer(10, 10_000), "250", "Deadline of a decision in milliseconds; then 503"
    )
    token_prefix: str = _setting(
        _matching(
            "[A-Za-z0-9]{1,16}|[A-Za-z0-9][A-Za-z0-9_-]{0,14}[_-]",
            "1 to 16 letters and digits, also with - and _ if it ends in one of them",
        ),
        "acl",
        "Prefix of new tokens; `_` follows it unless it ends in `-` or `_`",
    )
    token_ttl_seconds: int = _setting(
        _integer(0, MAX_TTL_S),
        "0",
        "Lifetime in seconds of a token that is created without one; 0 is forever, or MAX_TTL_SECONDS",
    )
    max_ttl_seconds: int = _setting(
        _integer(0, MAX_TTL_S), "0", "Longest lifetime in seconds that a token can be given; 0 is no limit"
    )
    rate_limit_max: int = _setting(
        _integer(0, MAX_REQUESTS), "100", "Requests admitted per token and window; 0 is unlimited"
    )
    rate_limit_window_sec: int = _setting(
        _integer(1, MAX_WINDOW_S), "1", "Length of the sliding window in seconds"
    )
    credential_sources: tuple[Source, ...] = _setting(
        parse_sources,
        "authorization",
        f"Where clients may send a token, in order: {', '.join(f'`{name}`' for name in NAMES)}",
    )
    trusted_proxies: Proxies = _setting(  # noqa: RUF009 - it declares a field
        parse_proxies,
        "",
        "Proxies whose `X-Forwarded-For` is trusted: addresses, networks, `private`, `unix`",
    )
    fail_limit_max: int = _setting(
        _integer(0, MAX_FAILURES),
        "0",
        "Bad tokens per client address and window, then 429; 0 is off; needs TRUSTED_PROXIES",
    )
    fail_limit_window_sec: int = _setting(
        _integer(1, MAX_FAILURES_WINDOW_S), "60", "Length of that window in seconds"
    )
    backends_file: Backends = _setting(  # noqa: RUF009 - it makes a field
        backends_file.SHARED.load,
        "",
        "TOML file with the headers that backends receive, such as their own API keys",
    )
    tokens_file: Declarations = _setting(  # noqa: RUF009 - it makes a field
        tokens_file.SHARED.load, "", "TOML file with tokens that are created and changed at each start"
    )
    tokens_file_prune: bool = _setting(_flag, "false", "End the tokens that are no longer in TOKENS_FILE")
    auth_realm: str = _setting(
        _matching(r"[ !#-\[\]-~]{1,100}", "printable ASCII without quotes and backslashes"),
        "acl-auth-service",
        "Realm in WWW-Authenticate",
    )
    refusal_format: str = _setting(
        _word("text", "json"), "text", "Body of a refusal of `/auth`: `text`, or `json`, which more SDKs show"
    )
    self_service: str = _setting(
        _word("off", "read", "full"),
        "off",
        "What the holder of a token may do at `/self`: `read` it, or in `full` also rotate and end it",
    )
    bind: str = _setting(
        listening.parse, listening.DEFAULT, "Where gunicorn listens: `host:port`, `[IPv6]:port`, `unix:/path`"
    )
    web_concurrency: int = _setting(_integer(1, 256), "2", "Worker processes")
    express_lane: bool = _setting(_flag, "true", "Answer plain requests to /auth without Flask")
    metrics_enabled: bool = _setting(_flag, "true", "Serve `GET /metrics`, without a password")
    audit_log: str = _setting(
        _word("off", "stdout"), "off", "Where changes are also written as JSON lines: `stdout`, or `off`"
    )
    audit_max_entries: int = _setting(
        _integer(1, MAX_ENTRIES), "100000", "How many changes the audit log in Redis keeps"
    )
    audit_max_age_days: int = _setting(_integer(1, MAX_AGE_DAYS), "365", "How many days it keeps a change")
    log_level: str = _setting(
        _word("debug", "info", "warning", "error"), "info", "Lowest level that is logged"
    )
    log_format: str = _setting(_word("text", "json"), "text", "Format of the log lines")

    @property
    def redis(self) -> Location:
        """Return where Redis is; the user and password may come from REDIS_URL or from their own settings."""
        if not self.redis_url:
            place = (Address(self.redis_host, self.redis_port),)
            login = Login(self.redis_username, self.redis_password)
            return Location(place, tls=self.redis_tls, db=self.redis_db, login=login)
        in_url = self.redis_url.login
        login = Login(in_url.username or self.redis_username, in_url.password or self.redis_password)
        return replace(self.redis_url, login=login)

    @property
    def default_ttl_s(self) -> int:
        """The lifetime in seconds of a token that is created without one; 0 is forever."""
        return self.token_ttl_seconds or self.max_ttl_seconds

    @property
    def unset(self) -> frozenset[str]:
        """The names of the settings that are empty, off or 0."""
        return frozenset(declared.name for declared in fields(self) if not getattr(self, declared.name))

    @property
    def limit(self) -> Limit:
        """Return the rate limit of tokens that do not have their own."""
        return Limit(self.rate_limit_max, self.rate_limit_window_sec)

    @property
    def audit_rules(self) -> Rules:
        """Return how much of the audit log is kept."""
        return Rules(self.audit_max_entries, self.audit_max_age_days * _DAY_S)

    @property
    def fail_limit(self) -> Limit | None:
        """Return the limit on bad tokens from one client; None if FAIL_LIMIT_MAX is 0."""
        return Limit(self.fail_limit_max, self.fail_limit_window_sec) if self.fail_limit_max else None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Return the settings in *environ*, with ``NAME_FILE`` for secrets; raises InvalidSettingsError."""
        problems: list[tuple[str, str]] = []
        values: dict[str, Any] = {}
        given = set[str]()
        for declared in fields(cls):
            try:
                if raw := _raw(declared, environ):
                    given.add(declared.name)
                is_needed = values.get(declared.metadata["need"], True)
                values[declared.name] = _value(declared, raw, is_needed=is_needed)
            except ValueError as error:
                problems += ((declared.name.upper(), problem) for problem in str(error).splitlines())
        problems += ((name.upper(), problem) for name, problem in contradictions(values, given))
        if problems:
            raise InvalidSettingsError(*problems)
        return cls(**values)


def _raw(declared: Field[Any], environ: Mapping[str, str]) -> str:
    return origins.value(declared.name.upper(), environ, is_secret=declared.metadata["secret"])


def _value(declared: Field[Any], raw: str, *, is_needed: bool) -> Any:
    default, name = declared.metadata["default"], declared.name.upper()
    if not raw and default is None:
        if is_needed:
            raise ValueError(f"is required; set it or {name}_FILE")
        return ""
    return declared.metadata["parse"](raw or default)


def load() -> Settings:
    """Return the settings as ``read`` does; exits with one message if they are invalid."""
    try:
        return read()
    except InvalidSettingsError as error:
        sys.exit(str(error))


def read(*, without: Collection[str] = ()) -> Settings:
    """Return the settings from the environment and ``.env`` but those *without*.

    Raises InvalidSettingsError.
    """
    return Settings.from_environ({name: raw for name, raw in _environ().items() if name not in without})


def _environ() -> dict[str, str]:
    try:
        return origins.gather()
    except ValueError as error:
        raise InvalidSettingsError((".env", str(error))) from None
