"""The table of everything that ``flask doctor`` can find: what it is, why it matters and what to change.

docs/doctor.md repeats it (``make docs``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """How much a finding matters; the worst one decides the exit status."""

    INFO = "info"  # worth knowing; nothing has to change
    WARNING = "warning"  # should be changed
    ERROR = "error"  # a promise of the service is broken, or nothing works


class Area(StrEnum):
    """What a finding is about, in the order of the report."""

    SETTINGS = "settings"
    MACHINE = "machine"
    REDIS = "redis"
    ENTRANCE = "entrance"


EXIT_STATUS: Mapping[Severity, int] = {Severity.INFO: 0, Severity.WARNING: 1, Severity.ERROR: 3}


class Rule(NamedTuple):
    """One row of the table; *what* has placeholders for the details of a finding."""

    severity: Severity
    area: Area
    what: str
    why: str
    fix: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that applies, with its details filled in."""

    id: str
    severity: Severity
    area: Area
    what: str
    why: str
    fix: str

    def described(self) -> dict[str, str]:
        """Return the finding as JSON shows it."""
        return {name: str(value) for name, value in asdict(self).items()}


def finding(name: str, /, **details: object) -> Finding:
    """Return the finding *name* with its *details*."""
    rule = RULES[name]
    return Finding(name, rule.severity, rule.area, rule.what.format(**details), rule.why, rule.fix)


_INFO, _WARNING, _ERROR = Severity
_SETTINGS, _MACHINE, _REDIS, _ENTRANCE = Area

RULES: Mapping[str, Rule] = {
    "settings-invalid": Rule(
        _ERROR,
        _SETTINGS,
        "{name}: {problem}",
        "The service does not start with this setting.",
        "Correct it in the environment or in .env; docs/configuration.md lists every setting.",
    ),
    "password-short": Rule(
        _WARNING,
        _SETTINGS,
        "ADMIN_PASS has fewer than {minimum} characters",
        "Whoever guesses it creates tokens for every host.",
        "Set a longer one, for instance from: openssl rand -hex 32",
    ),
    "pepper-short": Rule(
        _WARNING,
        _SETTINGS,
        "PEPPER has fewer than {minimum} characters",
        "Whoever reads Redis can guess it, and then test guesses at the secrets of tokens.",
        "Set a longer one, and the present one as PEPPER_PREVIOUS, so that tokens stay valid.",
    ),
    "proxies-too-wide": Rule(
        _WARNING,
        _SETTINGS,
        "TRUSTED_PROXIES contains {network}",
        "Clients in that network choose the address that they are counted under and that the `networks` of a "
        "token are compared with.",
        "List the addresses of your own proxies and nothing else.",
    ),
    "networks-without-proxies": Rule(
        _INFO,
        _SETTINGS,
        "ADMIN_ALLOWED_NETWORKS is set and TRUSTED_PROXIES is not",
        "Behind a proxy, every client is refused, because nothing tells its address.",
        "Name the proxy in TRUSTED_PROXIES, unless clients connect to the service directly.",
    ),
    "redis-certificate-unchecked": Rule(
        _WARNING,
        _SETTINGS,
        "REDIS_TLS_SKIP_VERIFY accepts any certificate",
        "Whoever can redirect the connection reads the password of Redis and makes the decisions.",
        "Leave it out, and name the authority in REDIS_TLS_CA_FILE.",
    ),
    "redis-unencrypted": Rule(
        _WARNING,
        _SETTINGS,
        "Redis at {address} has a public address and is used without TLS",
        "Whoever can read or change the traffic reads the password of Redis and makes the decisions.",
        "Use TLS (REDIS_TLS=true, or rediss:// in REDIS_URL) or a private network.",
    ),
    "file-readable": Rule(
        _WARNING,
        _MACHINE,
        "{path} can be read by every user of the machine",
        "It holds secrets, or says which secrets open what.",
        "chmod o= on that file, and make the user that runs the service its owner.",
    ),
    "file-writable": Rule(
        _ERROR,
        _MACHINE,
        "{path} can be changed by every user of the machine",
        "Whoever changes it replaces secrets and decides who is let in.",
        "chmod o= on that file, and make the user that runs the service its owner.",
    ),
    "open-files-low": Rule(
        _WARNING,
        _MACHINE,
        "a process started here may open {limit} files; a worker needs {needed}",
        "Under load a worker can accept no more connections, and Traefik answers 500.",
        "Raise the limit where gunicorn starts: ulimit -n, LimitNOFILE= of systemd, ulimits: of Compose.",
    ),
    "shm-unusable": Rule(
        _WARNING,
        _MACHINE,
        "{path} is {problem}",
        "Workers write their heartbeat there: without it they don't start, or are killed on a slow disk.",
        "Mount a tmpfs there that every user may write to (mode 1777).",
    ),
    "redis-unreachable": Rule(
        _ERROR,
        _REDIS,
        "no answer from Redis{server}: {reason}",
        "Every request is answered with 503.",
        "Start Redis, or correct REDIS_URL or REDIS_HOST and the login; docs/redis.md explains them.",
    ),
    "redis-undecided": Rule(
        _ERROR,
        _REDIS,
        "no decision can be made: {reason}",
        "Every request is answered with 503.",
        "The reason says what to change; the log of Redis may say more.",
    ),
    "pepper-wrong": Rule(
        _ERROR,
        _REDIS,
        "PEPPER is not the one that the tokens in this Redis were created with",
        "No token would be known, so every request is answered with 503.",
        "Set the right PEPPER, or the old one as PEPPER_PREVIOUS. To give up all existing tokens: "
        "flask --app wsgi tokens forget-pepper",
    ),
    "redis-too-old": Rule(
        _ERROR,
        _REDIS,
        "Redis{server} is version {version}",
        "The scripts need 7.0 or newer; with an older one every request is answered with 503.",
        "Upgrade to Redis 7.2 or newer, or Valkey.",
    ),
    "redis-is-replica": Rule(
        _ERROR,
        _REDIS,
        "Redis{server} is a replica",
        "It refuses writes, so every request is answered with 503.",
        "Name the primary, or all sentinels in redis+sentinel://, so that a failover is followed.",
    ),
    "redis-right-missing": Rule(
        _ERROR,
        _REDIS,
        "the user of this service may not run {commands}{server}",
        "What needs these commands fails: decisions with 503, or some of the pages and commands.",
        "Give the user the rights in docs/redis.md#rights.",
    ),
    "redis-key-denied": Rule(
        _ERROR,
        _REDIS,
        "the user of this service may not use the keys {patterns}{server}",
        "What needs these keys fails: decisions with 503, or some of the pages and commands.",
        "Give the user the rights in docs/redis.md#rights.",
    ),
    "redis-info-denied": Rule(
        _WARNING,
        _REDIS,
        "the user of this service may not run INFO{server}",
        "Version, persistence, memory and replication could not be checked here.",
        "Give the user the rights in docs/redis.md#rights, which include +info.",
    ),
    "redis-aof-off": Rule(
        _ERROR,
        _REDIS,
        "Redis{server} has no append-only file",
        "A crash of Redis brings deleted tokens back and loses new ones.",
        "Set appendonly yes, with CONFIG SET for now and in the configuration of Redis for good.",
    ),
    "redis-fsync-off": Rule(
        _WARNING,
        _REDIS,
        "Redis{server} runs with appendfsync no",
        "The disk may lag by half a minute: a crash of the machine brings deleted tokens back.",
        "Set appendfsync everysec; a change waits until it is on disk.",
    ),
    "redis-unconfirming": Rule(
        _INFO,
        _REDIS,
        "Redis{server} is version {version}, which can't confirm that a change is on disk",
        "Each change carries a warning, and a crash within a second after it may undo it.",
        "Upgrade to Redis 7.2 or newer, or Valkey; or set appendfsync always and give the user +config|get.",
    ),
    "redis-write-failed": Rule(
        _ERROR,
        _REDIS,
        "Redis{server} failed to {action}",
        "Changes are not on disk, and Redis may refuse all writes, which answers every request with 503.",
        "Look at the log of Redis; often its disk is full or not writable.",
    ),
    "redis-evicts": Rule(
        _ERROR,
        _REDIS,
        "Redis{server} has maxmemory-policy {policy}",
        "When its memory is full, it drops tokens and the times that rate limits are counted by.",
        "Set maxmemory-policy noeviction, with CONFIG SET for now and in the configuration for good.",
    ),
    "redis-memory-low": Rule(
        _WARNING,
        _REDIS,
        "Redis{server} uses {percent} % of its maxmemory ({used} of {limit} MiB)",
        "When it is full, it refuses writes, and every request is answered with 503.",
        "Raise maxmemory, or delete tokens that nobody uses.",
    ),
    "redis-clock": Rule(
        _WARNING,
        _REDIS,
        "the clock of Redis{server} is {seconds} s {direction} of the clock here",
        "Tokens begin and end by both clocks: they open too early or too late by that much.",
        "Let NTP set both clocks.",
    ),
    "redis-far": Rule(
        _WARNING,
        _REDIS,
        "a round trip to Redis{server} takes {trip_ms} ms; REDIS_DEADLINE_MS is {deadline_ms}",
        "A slower moment than this one is answered with 503.",
        "Put Redis closer, or raise REDIS_DEADLINE_MS to several round trips.",
    ),
    "redis-replicas-unguarded": Rule(
        _WARNING,
        _REDIS,
        "Redis{server} has {replicas} and min-replicas-to-write 0",
        "Cut off from its replicas, it goes on taking writes that a failover undoes: deleted tokens return.",
        "Set min-replicas-to-write 1 and min-replicas-max-lag 2; see docs/redis.md#what-can-be-lost.",
    ),
    "redis-sentinel-down": Rule(
        _WARNING,
        _REDIS,
        "the sentinel {address} can't be used: {reason}",
        "With too few sentinels there is no failover, and workers may not find the primary.",
        "Start it, or correct its address in REDIS_URL.",
    ),
    "entrance-silent": Rule(
        _ERROR,
        _ENTRANCE,
        "no answer from {url}: {reason}",
        "Nothing could be checked there, and clients may get no answer either.",
        "Correct the address; with --connect-to, the proxy is reached at another one.",
    ),
    "entrance-certificate": Rule(
        _ERROR,
        _ENTRANCE,
        "the certificate of {url} can't be verified: {reason}",
        "Clients refuse it, or were told to accept any, and then anyone in between reads their tokens.",
        "Install a certificate for that name; -k checks the rest regardless.",
    ),
    "entrance-redirects": Rule(
        _WARNING,
        _ENTRANCE,
        "{url} answers {status} and redirects to {target}",
        "Redirects are not followed, so nothing was checked behind it.",
        "Run doctor again with the address that it redirects to.",
    ),
    "entrance-unprotected": Rule(
        _ERROR,
        _ENTRANCE,
        "{url} answers {status} without a token",
        "Anyone can use the backend.",
        "Give every router of that host the ForwardAuth middleware, as README.md does.",
    ),
    "entrance-not-found": Rule(
        _WARNING,
        _ENTRANCE,
        "{url} answers {status} without a token",
        "Either no router serves that address, or one without the middleware leads to a backend.",
        "Give an address that the backend serves, and protect every router that leads to it.",
    ),
    "entrance-foreign": Rule(
        _WARNING,
        _ENTRANCE,
        "{url} answers {status} without a token, and the answer is not this service's",
        "Something else refuses clients there, or the service runs with another AUTH_REALM than this shell.",
        "Run doctor with the settings of the service, for an address that it protects.",
    ),
    "entrance-failing": Rule(
        _ERROR,
        _ENTRANCE,
        "{url} answers {status}",
        "No client is let in: the proxy does not reach this service, or the service does not reach Redis.",
        "Check the address of the middleware and the log of the service; see docs/troubleshooting.md.",
    ),
    "entrance-wrong-address": Rule(
        _ERROR,
        _ENTRANCE,
        "{url} is checked at a path of this service that is not /auth",
        "No client is let in.",
        "Let the address of the middleware end in /auth.",
    ),
    "entrance-token-refused": Rule(
        _ERROR,
        _ENTRANCE,
        "{url} refuses a valid token in {header}: {status} {reason}",
        "No client is let in: the service behind it has another Redis or PEPPER than this shell, or does not "
        "receive the token or the host.",
        "Compare the settings; let the proxy send that header (authRequestHeaders) and X-Forwarded-Host.",
    ),
    "entrance-forged-host": Rule(
        _ERROR,
        _ENTRANCE,
        "a token for another host opens {url} with X-Forwarded-Host set by the client",
        "A token for one host opens every host, at least for clients with an address like this machine's.",
        "In Traefik, set trustForwardHeader: false, remove forwardedHeaders.insecure and name only your own "
        "proxies in trustedIPs. In other proxies, set X-Forwarded-Host as the pages in docs/recipes do.",
    ),
    "entrance-forged-path": Rule(
        _ERROR,
        _ENTRANCE,
        "a token for one path opens {url} with X-Forwarded-Uri set by the client",
        "The `paths` of a token restrict nothing.",
        "In Traefik, set trustForwardHeader: false. In other proxies, set X-Forwarded-Uri as the pages in "
        "docs/recipes do.",
    ),
    "entrance-any-host": Rule(
        _ERROR,
        _ENTRANCE,
        "a request with Host: {host} reaches a backend with a token for that made-up host",
        "The client chooses the host that its token is checked against: a token for one host opens this "
        "backend.",
        "Name the host in the rule of every router: Host(`app.example.com`), never PathPrefix alone.",
    ),
    "entrance-any-host-open": Rule(
        _ERROR,
        _ENTRANCE,
        "a request with Host: {host} reaches the backend without a token",
        "Anyone can use the backend by naming a host that no rule mentions.",
        "Name the host in the rule of every router, and give every router the ForwardAuth middleware.",
    ),
    "entrance-service-any-host": Rule(
        _WARNING,
        _ENTRANCE,
        "a request with Host: {host} reaches the admin pages",
        "Whoever finds the address of the proxy can try passwords.",
        "Name the host of the admin pages in the rule of their router.",
    ),
    "entrance-public-auth": Rule(
        _WARNING,
        _ENTRANCE,
        "/auth answers to the public at Host: {host}",
        "Anyone can test tokens without a trace in the logs of a backend, and use up their limits.",
        "Route only the admin pages: Host(…) && !PathRegexp(`^/+(auth|healthz|livez|metrics)(/|$)`).",
    ),
    "entrance-public-metrics": Rule(
        _WARNING,
        _ENTRANCE,
        "/metrics answers to the public at Host: {host}",
        "Anyone can read how many requests are allowed and refused, and when Redis fails.",
        "Route only the admin pages: Host(…) && !PathRegexp(`^/+(auth|healthz|livez|metrics)(/|$)`).",
    ),
    "entrance-public-probe": Rule(
        _WARNING,
        _ENTRANCE,
        "{path} answers to the public at Host: {host}",
        "Anyone can watch the service fail and recover.",
        "Route only the admin pages: Host(…) && !PathRegexp(`^/+(auth|healthz|livez|metrics)(/|$)`).",
    ),
    "entrance-public-admin": Rule(
        _WARNING,
        _ENTRANCE,
        "the admin pages or the API answer at the host of a backend: {url}",
        "Every client of the backend can try passwords.",
        "Route the admin pages at a host of their own, which only trusted people reach.",
    ),
    "entrance-open-path": Rule(
        _ERROR,
        _ENTRANCE,
        "{path} of the backend opens without a token",
        "The proxy asks the path of the client instead of /auth, or a router of that path has no middleware.",
        "Let the middleware ask /auth and nothing else, and protect every router of the host.",
    ),
    "entrance-open-method": Rule(
        _ERROR,
        _ENTRANCE,
        "{method} reaches the backend without a token",
        "Anyone can use the backend with that method.",
        "Protect every method; a CORS middleware before the token's answers preflight requests by itself.",
    ),
    "entrance-token-forwarded": Rule(
        _ERROR,
        _ENTRANCE,
        "the backend receives the secret of a token in {header}",
        "The backend, and whoever reads its logs, can use the token at every other host that it opens.",
        "In Traefik, list every header that carries a token in authResponseHeaders. In other proxies, remove "
        "these headers.",
    ),
    "entrance-forged-identity": Rule(
        _ERROR,
        _ENTRANCE,
        "the backend receives {names} as the client sent it",
        "Clients choose the identity under which the backend knows them.",
        "In Traefik, list X-Auth-Token-Id, X-Auth-Email and X-Auth-Comment in authResponseHeaders.",
    ),
    "entrance-forged-alias": Rule(
        _ERROR,
        _ENTRANCE,
        "the backend receives {names} as the client sent it",
        "Many backends can't tell it from the real header, so that clients choose their identity.",
        "In Traefik 3.7.13 or newer, set http.aliasHeadersStrategy: delete on every entry point. In other "
        "proxies, remove headers with `_` or `.` in their names.",
    ),
    "entrance-unencrypted": Rule(
        _WARNING,
        _ENTRANCE,
        "{url} is served without TLS",
        "Whoever is in between reads tokens and passwords.",
        "Serve it over https, and redirect http there.",
    ),
    "entrance-no-redirect": Rule(
        _WARNING,
        _ENTRANCE,
        "{url} answers {status} over plain http instead of a redirect",
        "A client with a typo in its address sends its token unencrypted.",
        "In Traefik, set http.redirections.entryPoint on the entry point without TLS, or close its port.",
    ),
    "entrance-slow": Rule(
        _WARNING,
        _ENTRANCE,
        "{url} stopped answering, or answers slowly: {reason}",
        "Some of the checks were not made.",
        "Run doctor again; if it happens again, look at the log of the proxy.",
    ),
    "entrance-leftover": Rule(
        _WARNING,
        _ENTRANCE,
        "the token {token} of this check could not be deleted: {reason}",
        "It expires within a minute by itself.",
        "Delete it with flask --app wsgi tokens delete.",
    ),
    "entrance-no-token": Rule(
        _WARNING,
        _ENTRANCE,
        "no token could be created: {reason}",
        "Only what shows without a token was checked.",
        "Run doctor where the service runs, with its settings and its Redis.",
    ),
    "entrance-blind": Rule(
        _INFO,
        _ENTRANCE,
        "what the backend receives is not visible: it does not echo the headers of a request",
        "Whether it receives the secret, or identity headers of clients, could not be checked.",
        "Run doctor once for a host with the same entry point and middleware that leads to traefik/whoami.",
    ),
    "entrance-clients-unknown": Rule(
        _INFO,
        _ENTRANCE,
        "TRUSTED_PROXIES is empty, but a proxy is in front of the service",
        "All clients count as one: one who guesses passwords shuts everybody out of the admin pages.",
        "Name the proxy, or set TRUSTED_PROXIES=private; see docs/guessing.md#whose-address.",
    ),
}
