"""A random walk through everything that operators, clients and the clock can do, compared with a model.

A walk is drawn from a seed and not by hypothesis, whose state machines take few of their steps: in ten
examples of a hundred steps each there were 130 requests, of which none met a quota.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

from werkzeug.datastructures import Headers

from app.core.errors import ConflictError, NoSuchTokenError
from app.core.fields import InvalidFieldsError
from app.core.limits import Limit
from app.core.verdicts import Decision
from app.web.answers import render
from app.web.forwarded import read_attempt
from devkit.builders import ACTOR, make_settings
from devkit.clock import StoppedClock
from devkit.gate_model import (
    DAY_S,
    LIMIT,
    MARKED_S,
    WINDOW_S,
    Answer,
    Fields,
    Model,
    Modeled,
    S,
    moment_s,
    response,
)
from devkit.replica import Replica

STEPS = 100  # of a walk
BEGIN = int(datetime(2044, 2, 27, 23, 59, 50, tzinfo=UTC).timestamp()) * S  # before a leap day
SOURCES = (("authorization",), ("x-api-key", "authorization", "basic"))
MOST_TOKENS = 4
_TRACED = 40

# What may be listed, and requests that it covers.
HOSTS = {
    "a.test": ["a.test", "A.Test", "a.test.", "a.test:443", "a.test.:80", "a.test:"],
    "*.a.test": ["b.a.test", "c.b.A.TEST:8080"],
    "*.test": ["a.test", "x.y.test."],
    "*": ["other.example", "192.0.2.1", "[2001:db8::1]:80"],
    "192.0.2.1": ["192.0.2.1", "192.0.2.1:80"],
    "[2001:DB8::1]": ["[2001:db8::1]", "[2001:db8:0:0::1]:443"],
    "b\xfccher.test": ["xn--bcher-kva.test"],
}
METHODS = {"GET": ["GET", "HEAD"], "post": ["POST"], "HEAD": ["HEAD"], "PROPFIND": ["PROPFIND"]}
PATHS = {
    "/": ["/", "/?a=/../b"],
    "/v1": ["/v1", "/v1?x"],
    "/v1/": ["/v1/"],
    "/v1/*": ["/v1/", "/v1/a", "/v1/a/b/?%2e", "/v1/*", "/v1/.a", "/v1/" + "a" * 600],
    "/v1/models": ["/v1/models", "/v1/models?a;b#c"],
    "/*": ["/", "/anything", "/V1/models"],
}
NETWORKS = {
    "203.0.113.7": ["203.0.113.7", "::ffff:203.0.113.7", "198.51.100.1, 203.0.113.7, 10.1.2.3"],
    "203.0.113.0/25": ["203.0.113.0", " 203.0.113.127", "x, ::FFFF:203.0.113.1"],
    "0.0.0.0/0": ["198.51.100.1", "::ffff:198.51.100.1"],
    "10.0.0.0/8": ["10.1.2.3", "10.1.2.3, 127.0.0.1"],
    "2001:db8::/33": ["2001:db8::7", "2001:DB8:7fff::1"],
    "2001:db8:8000::7": ["2001:db8:8000::7", "2001:db8:8000:0:0:0:0:7, fd00::1"],
    "::ffff:203.0.113.128": ["203.0.113.128"],
    "fe80::/10": ["fe80::1%eth0"],
    "::/0": ["2001:db8::1"],
}
LISTS = {"hosts": HOSTS, "methods": METHODS, "paths": PATHS, "networks": NETWORKS}
SENT = {"hosts": "X-Forwarded-Host", "methods": "X-Forwarded-Method"}
SENT |= {"paths": "X-Forwarded-Uri", "networks": "X-Forwarded-For"}
# What is covered by few lists or by none; None is a header that is not sent.
ODD: dict[str, list[str | None]] = {
    "hosts": [None, "", "a.test,b.test", "a test", "a..test", ".a.test", "a.test:123456", "a.test:80:80"],
    "methods": [None, "", "get", "GET,POST", "GETS", "DELETE", "OPTIONS", "G\xc9T", "*", "G" * 41],
    "paths": [None, "", "v1", "/v1/../v1/models", "/v1/%6dodels", "/v1//models", "//v1/models", "/v1/a;b"],
    "networks": [None, "", "unknown", "203.0.113.7:1234", "203.0.113.7, x", "203.0.113.07", "203.0.113.7,"],
}
ODD["hosts"] += [
    "test",
    "aa.test",
    "-a.test",
    "a.test..",
    "1.2.3",
    "xn--bcher-kva.test",
    "[::1",
    "a.test\x00",
]
ODD["paths"] += [
    "/v1/.",
    "/v1/..",
    "/v1/./models",
    "/v1\\models",
    "/V1/models",
    "/v1#",
    "/v1/\xe9",
    "/v12",
    "*",
]
ODD["paths"] += ["https://a.test/v1", "/v1/models/", "/v1/ ", "/v1/\x7f", "/v1/...", "/v1/..?x", "/v1/a//"]
ODD["networks"] += [
    "203.0.113.128",
    "127.0.0.1",
    "2001:db9::1",
    "203.0.113.7 203.0.113.8",
    "0x7f.1",
    "10.0.0.1",
]
ODD["networks"] += ["203.0.113.7, 198.51.100.9", "2001:db8::7, 10.0.0.1", "::ffff:10.0.0.1", "fd00::1", "::1"]
# What is nearly covered.
NEAR = {
    "a.test": ["aa.test", "b.a.test", "test", "a.test.."],
    "*.a.test": ["a.test", "ba.test", ".a.test"],
    "*.test": ["test", "a.test.example"],
    "192.0.2.1": ["192.0.2.10", "1.192.0.2.1"],
    "GET": ["get", "GETS", "POST"],
    "post": ["post", "Post", "GET"],
    "HEAD": ["GET", "head"],
    "/": ["//", "/x", "/."],
    "/v1": ["/v1/", "/V1", "/v1;x", "/v1%2f"],
    "/v1/": ["/v1", "/v1//"],
    "/v1/*": ["/v1", "/v12", "/V1/a", "/v1/../a", "/v1/.", "/v1//a", "/v1/%2e"],
    "/v1/models": ["/v1/models/", "/v1/models;x", "/v1/model", "/v1/./models"],
    "/*": ["//", "/a/../b", "/%", "x", "/a\\b"],
    "203.0.113.7": ["203.0.113.8", "203.0.113.70", "203.0.113.7, 203.0.113.8", "::203.0.113.7"],
    "203.0.113.0/25": ["203.0.113.128", "203.0.112.255", "203.0.113.7, 203.0.113.200"],
    "10.0.0.0/8": ["11.0.0.0", "10.0.0.1, 11.0.0.1", "9.255.255.255"],
    "2001:db8::/33": ["2001:db8:8000::", "2001:db7:ffff::"],
    "2001:db8:8000::7": ["2001:db8:8000::8", "2001:db8::7"],
    "fe80::/10": ["fec0::1", "fe7f::1"],
    "::/0": ["203.0.113.7", "::ffff:203.0.113.7"],
    "0.0.0.0/0": ["::1", "2001:db8::1"],
}
CREDENTIALS = [
    *["Bearer {}"] * 30,
    *("bearer {}", "BEARER   {}", "Bearer {}x", "Bearer {},Bearer {}", "Bearer\t{}", "Bearer {} ", "{}"),
    *("Bearer", "Bearer ", "", "Digest {}", "Basic {}", "Bearer acl_{}", "Bearer t\xf6ken", None),
]
EXISTING = ["an-existing-secret-1", "sk-another/secret+of=theirs", "short~"]
LIMITS: list[Fields] = [
    *({"rate_limit_max": text} for text in ("", "0", "1", "2", "5")),
    *({"rate_limit_window_sec": text} for text in ("", "1", "3", "60")),
]
QUOTAS: list[Fields] = [
    *({"quota_max": most, "quota_period": period} for most in "124" for period in ("day", "month")),
    {"quota_max": ""},
    {"quota_max": "0"},
]
TEXTS: list[Fields] = [
    *({"email": text} for text in ("", "ops@a.test")),
    *({"comment": text} for text in ("", "100 %", "f\xfcr uns", "\u20ac")),
]
STARTS = ("", "2044-02-27T23:59:53Z", "2044-02-28", "2044-03-01T00:00:00Z", "2044-04-01")
LIVES: list[Fields] = [
    *({"ttl_seconds": text} for text in ("0", "1", "3", "90000")),
    *({"not_before": text} for text in STARTS),
]
WRONG: list[Fields] = [
    {"hosts": ""},
    {"methods": "*"},
    {"paths": "/v1/%2e", "comment": "half"},
    {"networks": "10.0.0.1/8", "rate_limit_max": "1"},
    {"quota_max": "-1"},
    {"quota_max": "1", "quota_period": ""},
    {"rate_limit_max": "10001"},
    {"no_such_field": ""},
]
PAUSES = [1, 999, 999_999, S, S + 1, 2 * S, 3600 * S, DAY_S * S, 31 * DAY_S * S]
PEERS = ["127.0.0.1", "127.0.0.1", "127.0.0.1", "::ffff:10.0.0.1", "203.0.113.7"]


class DifferenceError(AssertionError):
    """Service and model differ; the message has the walk that led there."""


class Walk:
    """Tokens that are created, changed, used and end, while time passes, all drawn from *seed*."""

    def __init__(self, client: Any, clock: StoppedClock, seed: str, seen: Counter[str]) -> None:
        clock.set(BEGIN)
        client.flushall()
        self.clock, self.seed, self.seen = clock, seed, seen
        self.random = Random(seed)
        sources = self.random.choice(SOURCES)
        self.settings = make_settings(
            CREDENTIAL_SOURCES=",".join(sources), TRUSTED_PROXIES="127.0.0.0/8,10.0.0.0/8,fd00::/8"
        )
        self.replica = Replica(client, "pepper", limit=Limit(LIMIT, WINDOW_S), now=clock)
        self.model = Model(BEGIN, sources)
        self.secrets: dict[str, list[str]] = {}  # every one that a token had
        self.trace: list[object] = []

    def run(self, steps: int = STEPS) -> None:
        """Take the steps; raises DifferenceError."""
        self.create()
        table = {self.use: 18, self.use_older: 8, self.ask: 50, self.look: 5, self.wait: 5, self.reach: 10}
        table |= {self.create: 5, self.create_existing: 2, self.create_of_own: 3, self.edit: 10}
        table |= {self.edit_wrongly: 1, self.switch: 5, self.rotate: 2, self.reuse: 1, self.delete: 2}
        for step in self.random.choices([*table], [*table.values()], k=steps):
            try:
                step()
            except Exception as error:
                walk = "\n".join(map(str, self.trace[-_TRACED:]))
                raise DifferenceError(f"seed {self.seed!r}: {error!r} after\n{walk}") from error

    # Operators

    def create(self) -> None:
        """Create a token."""
        if len(self.model.live()) < MOST_TOKENS:
            self._create(self._fields())

    def create_existing(self) -> None:
        """Create a token of a secret that people have already."""
        self._create(self._fields(), self.random.choice(EXISTING))

    def create_of_own(self) -> None:
        """Create a token of a secret that a token has or had."""
        self._create(self._fields(), self._secret(self._name(), any_age=True))

    def edit(self) -> None:
        """Edit a token."""
        name, typed = self._name(), self._changes(2)
        token = self.model.live().get(name)
        self.trace.append(("edit", name, typed))
        if token is None:
            _raises(NoSuchTokenError, lambda: self.replica.edit(name, typed))
        elif self._is_refused(token, typed):
            _raises(InvalidFieldsError, lambda: self.replica.edit(name, typed))
        else:
            self.replica.edit(name, typed)
            self.model.edit(token, typed)

    def edit_wrongly(self) -> None:
        """Try an edit that is refused, and leaves no half of it."""
        name, typed = self._name(), self.random.choice(WRONG)
        if name in self.model.live():
            _raises(InvalidFieldsError, lambda: self.replica.edit(name, typed))

    def switch(self) -> None:
        """Disable a token, or enable it again."""
        disabled = [name for name, token in self.model.live().items() if not token.enabled]
        name = self.random.choice(disabled or [self._name()])
        if token := self.model.live().get(name):
            token.enabled = not token.enabled
            self.trace.append(("switch", name, token.enabled))
            self.replica.enable(name, enabled=token.enabled)
        else:
            _raises(NoSuchTokenError, lambda: self.replica.enable(name, enabled=True))

    def rotate(self) -> None:
        """Give a token a new secret."""
        self._rotate(self._name(), self.random.choice([0, 1, 5, 90_000]))

    def _rotate(self, name: str, grace_s: int) -> None:
        token = self.model.live().get(name)
        self.trace.append(("rotate", name, grace_s))
        if token is None or not token.enabled:
            error = ConflictError if token else NoSuchTokenError
            _raises(error, lambda: self.replica.rotate(name, str(grace_s)))
        else:
            _, secret = self.replica.rotate(name, str(grace_s))
            self.model.rotate(token, secret, grace_s)
            self.secrets[name].append(secret)

    def reuse(self) -> None:
        """Rotate a token, rotate it again or delete it, and give the secret in between to a new one."""
        name = self._name()
        self._rotate(name, 90_000)
        between = self._secret(name)
        if self.random.random() < 0.5:
            self._delete(name)
        else:
            self._rotate(name, 0)
        self._create(self._fields(), between)
        for secret in [*self.secrets.get(name, [])][-3:]:
            self._send(self._fitting([*self.secrets][-1]) | {"Authorization": f"Bearer {secret}"})

    def delete(self) -> None:
        """Delete a token, and try its secret."""
        self._delete(self.random.choice([*self.model.live()] or [self._name()]))

    def _delete(self, name: str) -> None:
        self.trace.append(("delete", name))
        if token := self.model.live().get(name):
            self.replica.delete(name)
            self.model.delete(token)
            self._send({"peer": "127.0.0.1", "Authorization": f"Bearer {token.secret}"})
        else:
            _raises(NoSuchTokenError, lambda: self.replica.delete(name))

    # Time

    def wait(self) -> None:
        """Let time pass."""
        self._set(self.model.now_us + self.random.choice(PAUSES))

    def reach(self) -> None:
        """Come to a moment at which something ends or begins, or to just before or after it."""
        late_us = self.random.choice([-1000, -1, 0, 1, 1000])
        moments = sorted(at for at in self._moments(self._name()) if at + late_us > self.model.now_us)
        if moments:
            self._set(self.random.choice(moments) + late_us)

    def _moments(self, name: str) -> Iterator[int]:
        yield (self.model.now_s // DAY_S + 1) * DAY_S * S
        for owner in self.model.owners.values():
            if owner.token.name == name and owner.until_ms:
                yield owner.until_ms * 1000
        if token := self.model.live().get(name):
            yield from (at + token.window_us for at in token.admitted * 2)
            if token.ends_s:
                yield token.ends_s * S
            if quota := token.quota(self.model.now_us):
                yield quota[2] * S
            if starts := token.fields.get("not_before"):
                yield moment_s(starts) * S
        elif ended := self.model.ended.get(name):
            yield ((ended.ends_s or 0) + MARKED_S) * S

    def _set(self, now_us: int) -> None:
        self.trace.append(("time", datetime.fromtimestamp(now_us // S, UTC).isoformat(), now_us % S))
        self.clock.set(now_us)
        self.model.now_us = now_us

    # Clients

    def use(self) -> None:
        """Send a good request several times."""
        name = self._name()
        headers = self._fitting(name) | {"Authorization": f"Bearer {self._secret(name)}"}
        for _ in range(self.random.randint(1, 5)):
            self._send(headers)

    def use_older(self) -> None:
        """Send a good request with any secret that a token ever had."""
        name = self._name()
        secret = self._secret(name, any_age=True)
        self._send(self._fitting(name) | {"Authorization": f"Bearer {secret}"})

    def ask(self) -> None:
        """Send any request: one or two of its headers do not fit."""
        name = self._name()
        secret = self._secret(name, any_age=self.random.random() < 0.2)
        headers = self._fitting(name) | self._credential(secret)
        headers["peer"] = self.random.choice(PEERS)
        token = self.model.live().get(name)
        listed = [field for field in LISTS if token and token.items(field)]
        for field in self.random.sample(listed, min(len(listed), self.random.choice([0, 1, 1, 2]))):
            text = self._deviation(field, token.items(field) if token else [])
            headers.pop(SENT[field], None)
            headers |= {} if text is None else {SENT[field]: text}
        self._send(headers)

    def _send(self, headers: Fields) -> None:
        self.trace.append(headers)
        expected = self.model.answers(headers)
        sent = Headers([(name, text) for name, text in headers.items() if name != "peer"])
        proxies = self.settings.trusted_proxies
        attempt = read_attempt(sent, self.settings.credential_sources, headers["peer"], proxies)
        preview = self.replica.trials.with_secret(attempt)
        decision = self.replica.gate.check(attempt)
        answer = _answer(decision)
        self.trace.append(answer)
        assert answer in expected, f"{answer} is not in {expected}"
        assert preview == decision
        self.seen[answer.verdict] += 1
        self._compare_response(decision)

    def look(self) -> None:
        """Look at a token as pages and the API show it."""
        name = self._name()
        if not (expected := self.model.live().get(name)):
            _raises(NoSuchTokenError, lambda: self.replica.catalog.find(name))
            return
        token = self.replica.catalog.find(name)
        quota = token.quota(self.model.now_s)
        figures = (quota.used, quota.remaining, quota.resets_at) if quota else None
        assert figures == expected.quota(self.model.now_us)
        assert (token.expires_at, token.enabled) == (expected.ends_s, expected.enabled)
        uses = [at and max(at, expected.created_s) for at in (expected.first_s, expected.last_s)]
        assert [token.first_used_at, token.last_used_at] == uses

    def _compare_response(self, decision: Decision) -> None:
        status, body, headers = response(_answer(decision))
        rendered = render(decision, self.settings)
        found = {key: text for key, text in rendered.headers if key not in ("Content-Type", "Cache-Control")}
        challenges = [text for key, text in rendered.headers if key == "WWW-Authenticate"]
        if challenges:
            found["WWW-Authenticate"] = next(text for text in challenges if text.startswith("Bearer"))
        assert (rendered.status, rendered.body, found) == (status, body, headers)

    # What is drawn

    def _name(self) -> str:
        """Return a token, now and then one that ended lately."""
        latest, live = [*self.secrets][-MOST_TOKENS - 2 :] or [""], [*self.model.live()]
        return self.random.choice(live if live and self.random.random() < 0.7 else latest)

    def _secret(self, name: str, *, any_age: bool = False) -> str:
        secrets = self.secrets.get(name) or EXISTING
        return self.random.choice(secrets) if any_age else secrets[-1]

    def _listed(self, name: str, least: int = 0) -> Fields:
        return {name: " ".join(self.random.sample([*LISTS[name]], self.random.randint(least, 3)))}

    def _fields(self) -> Fields:
        """Return what a new token has; each restriction nearly every second time."""
        lists = self._listed("hosts", 1)
        for field in [*LISTS][1:]:
            lists |= self._listed(field, 1) if self.random.random() < 0.4 else {}
        return lists | self._changes(4)

    def _changes(self, most: int) -> Fields:
        changes: list[Callable[[], Fields]] = [
            lambda: self._listed("hosts", 1),
            *[lambda: self._listed(self.random.choice([*LISTS][1:]))] * 2,
            *(lambda pool=pool: self.random.choice(pool) for pool in (LIMITS, QUOTAS, QUOTAS, TEXTS, LIVES)),
        ]
        drawn = [self.random.choice(changes)() for _ in range(self.random.randint(1, most))]
        return {key: text for fields in drawn for key, text in fields.items()}

    def _fitting(self, name: str) -> Fields:
        token = self.model.live().get(name)
        listed = {field: token.items(field) if token else [] for field in LISTS}
        fits = {SENT[field]: LISTS[field][self.random.choice(some)] for field, some in listed.items() if some}
        return {key: self.random.choice(texts) for key, texts in fits.items()} | {"peer": "127.0.0.1"}

    def _deviation(self, field: str, listed: list[str]) -> str | None:
        """Return a header that is probably not covered by what is *listed*."""
        near = [text for item in listed for text in NEAR.get(item, [])]
        if near and self.random.random() < 0.8:
            return self.random.choice(near)
        return self.random.choice([*ODD[field], *(text for texts in LISTS[field].values() for text in texts)])

    def _credential(self, secret: str) -> Fields:
        text = self.random.choice(CREDENTIALS)
        if text is None:
            return {}
        value = text.replace("{}", secret)
        if text.startswith("Basic "):
            value = "Basic " + b64encode(f"user:{secret}".encode()).decode()
        bare = {"X-Api-Key": value.removeprefix("Bearer ")}
        return self.random.choice([{"Authorization": value}] * 3 + [bare, bare | {"Authorization": value}])

    def _create(self, typed: Fields, secret: str | None = None) -> None:
        self.trace.append(("create", typed, secret))
        now_s, ttl_s = self.model.now_s, int(typed.get("ttl_seconds", "0"))
        ends_s = now_s + ttl_s if ttl_s else None
        is_taken = secret is not None and self.model.is_taken(secret)

        def issue() -> tuple[str, str]:
            issued = self.replica.registry.issue(ACTOR, typed, secret=secret, allow_weak=True)
            return issued.token.id, issued.secret

        if is_taken or self._is_refused(Modeled("", "", {}, now_s, ends_s), typed):
            _raises(InvalidFieldsError, issue)
            return
        name, given = issue()
        fields = {key: text for key, text in typed.items() if key != "ttl_seconds"}
        self.model.create(name, given, fields, ends_s)
        self.secrets[name] = [given]

    def _is_refused(self, token: Modeled, typed: Fields) -> bool:
        """Return whether the token would begin after its end."""
        ttl_s, ends_s = typed.get("ttl_seconds"), token.ends_s
        if ttl_s is not None:
            ends_s = self.model.now_s + int(ttl_s) if ttl_s != "0" else None
        starts = typed.get("not_before", token.fields.get("not_before", ""))
        return bool(starts) and ends_s is not None and moment_s(starts) >= ends_s


def _raises(kind: type[Exception], operation: Callable[[], object]) -> None:
    try:
        operation()
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")


def _answer(decision: Decision) -> Answer:
    """Return a decision in the terms of the model."""
    identity, refusal = decision.identity, decision.refusal
    policies = refusal.policies if refusal else []
    return Answer(
        str(decision.verdict),
        (identity.token_id.decode(), identity.email.decode(), identity.comment.decode())
        if identity
        else None,
        refusal.wait_us if refusal else 0,
        tuple((policy.name, policy.max_requests, policy.window_s) for policy in policies),
    )


def walk(client: Any, clock: StoppedClock, steps: int, seed: str = "") -> Counter[str]:
    """Take that many steps, in walks on an empty database; return how often each verdict was seen."""
    seen = Counter[str]()
    for number in range(steps // STEPS):
        Walk(client, clock, f"{seed}{number}", seen).run()
    return seen
