"""A model of the whole gate in plain Python, written from DESIGN and docs/tokens.md and not from the code.

It keeps every admitted request in a list, walks through lists where the code computes candidates, and imports
nothing of the service.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple
from zlib import crc32

S = 1_000_000
DAY_S = 86_400
MARKED_S = 30 * DAY_S
LIMIT, WINDOW_S = 3, 2  # the defaults of the service in these tests
TRUSTED = [ip_network(text) for text in ("127.0.0.0/8", "10.0.0.0/8", "fd00::/8")]
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SECRET = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}")

Policy = tuple[str, int, int]
Fields = dict[str, str]


class Answer(NamedTuple):
    """What a request gets: the verdict, whose token it was, the wait in microseconds, and the policies."""

    verdict: str
    identity: tuple[str, str, str] | None = None
    wait_us: int = 0
    policies: tuple[Policy, ...] = ()


# DESIGN 2.2: status, body, and what follows the realm in the challenge of Bearer, None without a challenge.
INVALID, FORBIDDEN = ', error="invalid_token"', ', error="insufficient_scope"'
RESPONSES: Mapping[str, tuple[int, str, str | None]] = {
    "allowed": (200, "OK", None),
    "no_credential": (401, "missing bearer token", ""),
    "malformed_credential": (401, "invalid token", ', error="invalid_request"'),
    "expired_token": (401, "invalid token", f'{INVALID}, error_description="the token expired"'),
    **dict.fromkeys(
        ("mistyped_token", "unknown_token", "disabled_token", "token_not_yet_valid"),
        (401, "invalid token", INVALID),
    ),
    **{
        f"wrong_{name}": (403, f"forbidden for {name}", FORBIDDEN)
        for name in ("host", "method", "path", "network")
    },
    "rate_limited": (429, "rate limit exceeded", None),
    "quota_exceeded": (429, "quota exceeded", None),
}


def response(answer: Answer) -> tuple[int, str, dict[str, str]]:
    """Return status, body, and the headers that depend on *answer*."""
    status, body, error = RESPONSES[answer.verdict]
    headers = {} if error is None else {"WWW-Authenticate": f'Bearer realm="acl-auth-service"{error}'}
    if answer.verdict == "allowed" and answer.identity:
        names = ("X-Auth-Token-Id", "X-Auth-Email", "X-Auth-Comment")
        headers |= dict(zip(names, map(_printable, answer.identity), strict=True))
    if answer.policies:
        wait_s = max(1, -(-answer.wait_us // S))
        name = "quota" if answer.verdict == "quota_exceeded" else "default"
        policies = ", ".join(
            f'"{policy}";q={most};w={window_s}' for policy, most, window_s in answer.policies
        )
        (most,) = (most for policy, most, _ in answer.policies if policy == name)
        headers |= {"Retry-After": f"{wait_s}", "RateLimit": f'"{name}";r=0;t={wait_s}'}
        headers |= {"RateLimit-Policy": policies, "X-RateLimit-Limit": f"{most}"}
        headers |= {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{wait_s}"}
    return status, body, headers


def _printable(text: str) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else f"%{byte:02X}" for byte in text.encode())


@dataclass
class Modeled:
    """A token: its fields as they were typed, and what it did."""

    name: str
    secret: str
    fields: Fields
    created_s: int
    ends_s: int | None
    enabled: bool = True
    admitted: list[int] = field(default_factory=list)
    forgotten_us: int = 0  # when the admitted requests are forgotten altogether
    counted: tuple[str, int] = ("", 0)  # the period of the count below: its kind and its first second
    used: int = 0
    first_s: int | None = None
    last_s: int | None = None

    def items(self, name: str) -> list[str]:
        """Return the items of a list."""
        return self.fields.get(name, "").split()

    def number(self, name: str, default: int = 0) -> int:
        """Return a number."""
        return int(self.fields.get(name) or default)

    @property
    def limit(self) -> int:
        """Return the requests per window, 0 for any number."""
        return self.number("rate_limit_max", LIMIT)

    @property
    def window_us(self) -> int:
        """Return the length of the window."""
        return self.number("rate_limit_window_sec", WINDOW_S) * S

    @property
    def identity(self) -> tuple[str, str, str]:
        """Return what a backend learns of the token."""
        return self.name, self.fields.get("email", ""), self.fields.get("comment", "")

    def period(self, now_us: int) -> tuple[str, int, int]:
        """Return the kind of the quota's period, its first second and that of the next one."""
        day = datetime.fromtimestamp(now_us // S, UTC).replace(hour=0, minute=0, second=0)
        kind = self.fields["quota_period"]
        first = day if kind == "day" else day.replace(day=1)
        after = first + timedelta(days=1 if kind == "day" else 32)
        following = after if kind == "day" else after.replace(day=1)
        return kind, int(first.timestamp()), int(following.timestamp())

    def quota(self, now_us: int) -> tuple[int, int, int] | None:
        """Return how much of the quota is used and left, and the first second of the next period."""
        if not (most := self.number("quota_max")):
            return None
        kind, starts, ends = self.period(now_us)
        used = self.used if self.counted == (kind, starts) else 0
        return used, max(0, most - used), ends

    def recent(self, now_us: int) -> list[int]:
        """Return the admitted requests that are in the window now."""
        self.forget(now_us)
        return [at for at in self.admitted if at + self.window_us > now_us]

    def forget(self, now_us: int) -> None:
        """Forget the admitted requests once none was admitted for a whole window."""
        if now_us // 1000 * 1000 > self.forgotten_us:
            self.admitted = []

    def touch(self, now_us: int) -> None:
        """Keep what is remembered for a window of the present length, because a request or an edit came."""
        self.forget(now_us)
        self.forgotten_us = max(self.forgotten_us, now_us // 1000 * 1000 + self.window_us)


class Owner(NamedTuple):
    """The token of a secret; of a replaced one also until when it opens the token and can't be used anew."""

    token: Modeled
    until_ms: int | None = None
    kept_ms: int | None = None


class Model:
    """All tokens, every secret that ever was one, and the time."""

    def __init__(self, now_us: int, sources: tuple[str, ...]) -> None:
        self.now_us = now_us
        self.sources = sources
        self.tokens: dict[str, Modeled] = {}
        self.ended: dict[str, Modeled] = {}
        self.owners: dict[str, Owner] = {}

    @property
    def now_s(self) -> int:
        """Return the current second."""
        return self.now_us // S

    @property
    def now_ms(self) -> int:
        """Return the current millisecond, in which Redis counts the life of keys."""
        return self.now_us // 1000

    # What operators do

    def create(self, name: str, secret: str, fields: Fields, ends_s: int | None) -> None:
        """Note a new token."""
        token = Modeled(name, secret, fields, self.now_s, ends_s)
        self.tokens[name] = token
        self.owners[secret] = Owner(token)

    def is_taken(self, secret: str) -> bool:
        """Return whether no new token may have *secret*: one has it, or had it and its grace is not over."""
        if secret not in self.owners:
            return False
        owner = self.owners[secret]
        if owner.kept_ms is not None:
            return self.now_ms <= owner.kept_ms
        return self.live().get(owner.token.name) is owner.token

    def rotate(self, token: Modeled, secret: str, grace_s: int) -> None:
        """Give *token* a new secret; every older one ends with the grace period or the token, or earlier."""
        until_ms = (self.now_s + grace_s) * 1000 if grace_s else -1
        if token.ends_s is not None:
            until_ms = min(until_ms, token.ends_s * 1000)
        for each, owner in self.owners.items():
            if owner.token is token and owner.until_ms is not None:
                self.owners[each] = owner._replace(until_ms=min(until_ms, owner.until_ms))
        self.owners[token.secret] = Owner(token, until_ms, until_ms)
        token.secret = secret
        self.owners[secret] = Owner(token)

    def edit(self, token: Modeled, typed: Fields) -> None:
        """Change the fields that are *typed*; a quota that is cleared takes its period along."""
        changed = dict(typed)
        if "ttl_seconds" in changed:
            ttl_s = int(changed.pop("ttl_seconds"))
            token.ends_s = self.now_s + ttl_s if ttl_s else None
        if changed.get("quota_max") in ("", "0"):
            changed["quota_period"] = ""
        token.fields = token.fields | changed
        token.touch(self.now_us)

    def delete(self, token: Modeled) -> None:
        """Delete *token*."""
        del self.tokens[token.name]

    def live(self) -> dict[str, Modeled]:
        """Return the tokens that exist now, after those that expired were moved to *ended*."""
        for name, token in list(self.tokens.items()):
            if token.ends_s is not None and self.now_ms > token.ends_s * 1000:
                self.ended[name] = self.tokens.pop(name)
        return self.tokens

    # What clients do

    def answers(self, headers: Mapping[str, str]) -> list[Answer]:
        """Return what a request with *headers* may get, which is nearly always one answer, and note it."""
        kind, secret = read_credential(headers, self.sources)
        if kind:
            return [Answer(kind)]
        if secret.startswith("acl_") and not is_checked(secret):
            return [Answer("mistyped_token")]
        return self._known(secret, headers)

    def _known(self, secret: str, headers: Mapping[str, str]) -> list[Answer]:
        if secret not in self.owners:
            return [Answer("unknown_token")]
        token, until_ms, _ = self.owners[secret]
        is_over = until_ms is not None and self.now_ms > until_ms
        if self.live().get(token.name) is token and not is_over:
            return [self._decide(token, headers)]
        own = (token.name, "", "")
        unknown = [Answer("unknown_token"), Answer("unknown_token", own)]  # the log may name its token
        if token.name not in self.ended or self.now_ms > ((token.ends_s or 0) + MARKED_S) * 1000:
            return unknown
        expired = Answer("expired_token", own)
        # Which of the two the holder of a replaced secret gets is not promised.
        return [expired] if until_ms is None else [expired, *unknown]

    def _decide(self, token: Modeled, headers: Mapping[str, str]) -> Answer:
        if refused := self._refusal(token, headers):
            return Answer(refused, token.identity)
        answer = self._limited(token)
        if answer.verdict == "allowed":
            self._note(token)
        return answer

    def _refusal(self, token: Modeled, headers: Mapping[str, str]) -> str:
        """Return the first verdict that applies before the limits, "" for none."""
        starts = token.fields.get("not_before", "")
        methods, paths, networks = map(token.items, ("methods", "paths", "networks"))
        method, uri = headers.get("X-Forwarded-Method"), headers.get("X-Forwarded-Uri")
        verdicts = {
            "disabled_token": not token.enabled,
            "token_not_yet_valid": bool(starts) and self.now_s < moment_s(starts),
            "wrong_host": not covers_host(token.items("hosts"), headers.get("X-Forwarded-Host")),
            "wrong_method": bool(methods) and not covers_method(methods, method),
            "wrong_path": bool(paths) and not covers_path(paths, uri),
            "wrong_network": bool(networks) and not covers_address(networks, client_address(headers)),
        }
        return next((verdict for verdict, applies in verdicts.items() if applies), "")

    def _limited(self, token: Modeled) -> Answer:
        rate = ("default", token.limit, token.window_us // S)
        quota = token.quota(self.now_us)
        policies = [rate] if token.limit else []
        if quota:
            _, starts, ends = token.period(self.now_us)
            policies.append(("quota", token.number("quota_max"), ends - starts))
        recent = sorted(token.recent(self.now_us))
        if token.limit and len(recent) >= token.limit:
            wait_us = recent[-token.limit] + token.window_us - self.now_us
            if quota and not quota[1]:
                wait_us = max(wait_us, quota[2] * S - self.now_us)
            return Answer("rate_limited", token.identity, wait_us, tuple(policies))
        if quota and not quota[1]:
            return Answer("quota_exceeded", token.identity, quota[2] * S - self.now_us, tuple(policies))
        return Answer("allowed", token.identity)

    def _note(self, token: Modeled) -> None:
        if token.limit:
            token.forget(self.now_us)
            # Redis stores the last admitted requests, as many as the limit.
            token.admitted = [*token.admitted, self.now_us][-token.limit :]
            token.forgotten_us = self.now_us // 1000 * 1000 + token.window_us
        if quota := token.quota(self.now_us):
            token.counted, token.used = token.period(self.now_us)[:2], quota[0] + 1
        token.last_s = self.now_s - self.now_s % 60
        token.first_s = token.last_s if token.first_s is None else token.first_s


def moment_s(text: str) -> int:
    """Return the second of a moment, which is in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def read_credential(headers: Mapping[str, str], sources: Iterable[str]) -> tuple[str, str]:
    """Return what is wrong with the first credential that is sent, "" for nothing, and its secret."""
    for source in sources:
        value = headers.get("X-Api-Key" if source == "x-api-key" else "Authorization")
        is_basic = value is not None and value.split(" ")[0].lower() == "basic"
        is_shared = source != "x-api-key" and {"authorization", "basic"} <= {*sources}
        if value is None or (is_shared and is_basic != (source == "basic")):
            continue
        secret = _secret_in(source, value)
        return ("", secret) if secret else ("malformed_credential", "")
    return "no_credential", ""


def _secret_in(source: str, value: str) -> str:
    """Return the secret in *value*, "" if it is malformed."""
    if source != "x-api-key":
        scheme, _, value = value.partition(" ")
        value = value.lstrip(" ")
        if scheme.lower() != {"authorization": "bearer"}.get(source, source):
            return ""
    if source == "basic":
        try:
            value = b64decode(value, validate=True).decode("ascii").partition(":")[2]
        except (Error, UnicodeDecodeError):
            return ""
    return value if SECRET.fullmatch(value) else ""


def is_checked(secret: str) -> bool:
    """Return whether a secret of the service ends in the checksum of what is before it."""
    body, digits = secret[4:-6], secret[4:][-6:]
    rest, text = crc32(body.encode()), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        text = BASE62[digit] + text
    return digits == text


def covers_host(patterns: list[str], sent: str | None) -> bool:
    """Return whether a host is listed, without one port and one trailing dot, in any case."""
    host = canonical_host(sent or "")
    is_address = host.startswith("[") or host.replace(".", "").isdigit()
    return bool(host) and any(_covers_host(text, host, is_address) for text in patterns)


def _covers_host(pattern: str, host: str, is_address: bool) -> bool:  # noqa: FBT001
    if pattern == "*":
        return True
    name = canonical_host(pattern.removeprefix("*.").encode("idna").decode())
    return host.endswith(f".{name}") and not is_address if pattern.startswith("*.") else host == name


def canonical_host(text: str) -> str:
    """Return the canonical form of a host, "" for none."""
    name, _, port = text.rpartition(":") if ":" in text and not text.endswith("]") else (text, "", "")
    name = name.lower().removesuffix(".")
    if len(port) > 5 or (port and not (port.isascii() and port.isdigit())):
        return ""
    if name.startswith("["):
        return _canonical_ipv6(name)
    labels = name.split(".")
    is_name = all(re.fullmatch("(?!-)[a-z0-9_-]{1,63}(?<!-)", label) for label in labels) and len(name) < 254
    return name if is_name and (not labels[-1].isdigit() or _is_ipv4(name)) else ""


def _canonical_ipv6(name: str) -> str:
    try:
        return f"[{IPv6Address(name[1:-1])}]" if name.endswith("]") and "%" not in name else ""
    except ValueError:
        return ""


def _is_ipv4(name: str) -> bool:
    try:
        return bool(IPv4Address(name))
    except ValueError:
        return False


def covers_method(methods: list[str], sent: str | None) -> bool:
    """Return whether a method is listed; GET lists HEAD too."""
    listed = {text.upper() for text in methods}
    return bool(sent) and (sent in listed or (sent == "HEAD" and "GET" in listed))


def covers_path(paths: list[str], uri: str | None) -> bool:
    """Return whether the path of *uri* is listed, or below a listed one, and has one reading."""
    path = (uri or "").split("?")[0]
    segments = path.split("/")
    is_plain = all("!" <= char <= "~" for char in path) and not {*"%\\;#"} & {*path}
    if segments[0] or not path or not is_plain or "" in segments[1:-1] or {".", ".."} & {*segments}:
        return False
    return any(
        path == text or (text.endswith("/*") and path.startswith(text.removesuffix("*"))) for text in paths
    )


def client_address(headers: Mapping[str, str]) -> IPv4Address | IPv6Address | None:
    """Return the address that trusted proxies report, None if it is not known."""
    if not is_trusted(_address(headers["peer"])):
        return None
    found = None
    for hop in reversed((headers.get("X-Forwarded-For") or "").split(",")):
        found = _address(hop.strip(" \t"))
        if not is_trusted(found):
            return found
    return found


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.split("%", maxsplit=1)[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_trusted(address: IPv4Address | IPv6Address | None) -> bool:
    """Return whether *address* is a proxy that may report another one."""
    return address is not None and any(address in network for network in TRUSTED)


def covers_address(networks: list[str], address: IPv4Address | IPv6Address | None) -> bool:
    """Return whether *address* is in a listed network."""
    return address is not None and any(address in _network(text) for text in networks)


def _network(text: str) -> IPv4Network | IPv6Network:
    mapped = text.lower().removeprefix("::ffff:")
    return ip_network(mapped if "." in mapped else text)
