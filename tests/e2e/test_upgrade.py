"""A rolling upgrade under load refuses no token and loses no count, and neither does the way back."""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import starmap
from pathlib import Path
from typing import Any

import pytest

from devkit import leaks
from devkit.backend import Backend
from devkit.http import bearer, call
from devkit.load import OpenLoop
from devkit.older import NoHistoryError, Versions, extract, versions
from devkit.service import BASIC, Gunicorn, record_key
from devkit.tally import Request, get

pytestmark = pytest.mark.e2e

# Both start with the packages of today. The first is the last commit before the audit log, the census and the
# pages of the console, so Redis has nothing of these; the second is the last one with the previous worker.
COMMITS = ["8cd65cc", "642fb3a"]
# What the service found in Redis before its first commit, c2cafd3, and in "first" what that commit stored.
RECORDS: Mapping[str, dict[str, str]] = {
    "hosts": {"hosts": "a.test"},
    "all": {"hosts": "a.test,*.b.test", "email": "ops@a.test", "comment": "nightly"},
    "typed": {"hosts": "B.test, A.test", "comment": "as typed"},
    "ends": {"hosts": "a.test"},
    "first": {"hosts": "a.test", "id": "1m8h4erptapejmxp", "created_at": "1795871433"},
}

MOST = 6
FIELDS: Mapping[str, dict[str, Any]] = {
    "plain": {"email": "ops@a.test"},
    "restricted": {"methods": ["GET"], "paths": ["/v1/*"]},
    "expiring": {"ttl_seconds": 86_400},
    "limited": {"rate_limit_max": MOST, "rate_limit_window_sec": 86_400},
    "metered": {"quota_max": MOST, "quota_period": "month"},
    "rotated": {},
    "switched": {},
    "disabled": {},
    "deleted": {},
}
LIVE = [name for name in FIELDS if name != "deleted"]
LIMITED = ["limited", "metered"]
COUNTERS = {200: "allowed", 401: "inactive", 403: "wrong_host", 429: "rate_limited"}
GRACE = {"grace_seconds": 86_400}
FOREVER = "0 999999999999"  # a period of a quota that does not end during a test
PER_SECOND = 15


def api(service: Gunicorn, target: str, method: str = "GET", body: Mapping[str, Any] | None = None) -> Any:
    """Send a request to the API as the operator and return what it answers; an error fails the test."""
    headers = [("Authorization", BASIC), ("Content-Type", "application/json")]
    data = None if body is None else json.dumps(body).encode()
    answer = call(service.port, f"/api/v1{target}", headers, method, data)
    assert 200 <= answer.status < 300, answer.text
    return answer.json() if answer.body else None


def place(secret: str) -> str:
    """Return where the API has the token of *secret*."""
    return f"/tokens/{record_key(secret).removeprefix('tokens:')}"


def issued(service: Gunicorn, target: str, body: Mapping[str, Any]) -> str:
    """Return the secret that the API answers with, which no log may have."""
    secret = str(api(service, target, "POST", body)["token"])
    leaks.remember(secret)
    return secret


def sent(name: str, secret: str, status: int = 200, target: str = "/v1/x", host: str = "a.test") -> Request:
    """Return a client's request for a backend, with the status that it gets."""
    return get(name, target, [("Host", host), *bearer(secret)], status)


def tree_of(commit: str, place: Path) -> Path:
    """Return *place* with the service of *commit* in it; skips the test if the checkout does not have it."""
    try:
        extract(commit, place)
    except NoHistoryError as error:
        pytest.skip(str(error))
    return place


class Tokens:
    """Tokens of an old version by name, their secrets, and what became of the requests with each of them."""

    def __init__(self, pair: Versions) -> None:
        self.old, self.new, redis, traefik = pair
        self.secrets = {
            name: [issued(self.old, "/tokens", {"hosts": ["a.test"], "comment": name} | fields)]
            for name, fields in FIELDS.items()
        }
        redis.hset(record_key(self.last("metered")), "quota_used", f"{FOREVER} 0")
        self.seed = dict(self._seeded(redis))
        self.ids = {name: api(self.old, place(secret))["id"] for name, secret in self.seed.items()}
        self.rotate(self.old)
        api(self.old, place(self.last("disabled")), "PATCH", {"enabled": False})
        api(self.old, place(self.last("deleted")), "DELETE")
        self.forms = self.old.page("/").text + self.old.page("/new").text
        self.load = OpenLoop(traefik.port, *self._requests(), per_second=PER_SECOND)
        self.asked: dict[str, list[int]] = {name: [] for name in FIELDS}

    def _seeded(self, redis: Any) -> Iterator[tuple[str, str]]:
        for name, fields in RECORDS.items():
            secret = f"{name}-{secrets.token_hex(16)}"
            redis.hset(record_key(secret), mapping=fields)
            if name == "ends":
                redis.expire(record_key(secret), 86_400)
            yield name, secret

    def _requests(self) -> Iterator[Request]:
        yield from starmap(sent, self.seed.items())
        opens = ("plain", "restricted", "expiring", "rotated")
        yield from (sent(name, secret) for name in opens for secret in self.secrets[name])
        yield sent("restricted", self.last("restricted"), 403, "/v2")
        yield sent("plain", self.last("plain"), 403, host="b.test")
        yield from (sent(name, self.last(name), 401) for name in ("disabled", "deleted"))
        yield sent("unknown", secrets.token_hex(16), 401)

    def last(self, name: str) -> str:
        """Return the current secret of a token."""
        return self.secrets[name][-1]

    def shown(self, service: Gunicorn, name: str) -> Any:
        """Return what a version shows of a token."""
        return api(service, place(self.last(name)))

    def rotate(self, service: Gunicorn) -> None:
        """Give a token one more secret beside those that it has."""
        self.secrets["rotated"].append(issued(service, f"{place(self.last('rotated'))}/rotate", GRACE))

    def change(self) -> None:
        """Change tokens of the old version in the new one."""
        self.rotate(self.new)
        api(self.new, place(self.last("plain")), "PATCH", {"email": "new@a.test"})
        api(self.new, place(self.last("switched")), "PATCH", {"enabled": False})

    def ask(self, service: Gunicorn, name: str) -> None:
        """Ask one version about each secret of a token."""
        self.asked[name] += [service.auth(secret).status for secret in self.secrets[name]]

    def ask_limits(self, *services: Gunicorn) -> None:
        """Ask one version after another about the tokens that have a limit."""
        for service in services:
            self.ask(service, "limited")
            self.ask(service, "metered")

    def counts(self, name: str) -> dict[str, int]:
        """Return what the usage of a token has to be."""
        statuses = self.load.tally.named(name).statuses + Counter(self.asked[name])
        return {counter: statuses[status] for status, counter in COUNTERS.items()}

    @property
    def running(self) -> list[Gunicorn]:
        """Return the versions that run."""
        return [service for service in (self.old, self.new) if service.is_alive]


@pytest.fixture(scope="module", name="tokens", params=COMMITS)
def _tokens(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, echo: Backend
) -> Iterator[Tokens]:
    """Replace an old version by the new one under load; from the first of COMMITS go back again, too."""
    with versions(tree_of(request.param, tmp_path_factory.mktemp("old")), echo.port) as pair:
        tokens, old, new = Tokens(pair), pair.old, pair.new
        with tokens.load as load:
            tokens.ask_limits(old, old)
            with pair.rolling(load, old, new):
                tokens.ask_limits(new, old, new, old, new, old)
            assert old.stop() == 0
            tokens.change()
            if request.param == COMMITS[0]:
                with pair.rolling(load, new, old):
                    tokens.ask_limits(old, new)
        yield tokens


def test_no_request_is_lost(tokens: Tokens) -> None:
    """While replicas are replaced, each request gets the answer that it gets at any other time."""
    assert tokens.load.tally.lost == {}


@pytest.mark.parametrize("name", LIMITED)
def test_limits(tokens: Tokens, name: str) -> None:
    """Both versions together admit as many requests as a rate limit or a quota allows, and no more."""
    tokens.ask(tokens.new, name)

    assert tokens.asked[name][:MOST] == [200] * MOST
    assert set(tokens.asked[name][MOST:]) == {429}


def test_usage(tokens: Tokens) -> None:
    """The usage has every request, whichever version decided on it, and both show the same."""
    expected = {name: tokens.counts(name) for name in LIVE}

    for service in tokens.running:
        shown = {name: tokens.shown(service, name) for name in LIVE}
        assert {name: token["usage"]["last_24_hours"] for name, token in shown.items()} == expected
        assert shown["metered"]["quota"]["used"] == MOST


def test_lists(tokens: Tokens) -> None:
    """Every token is listed once, in the orders of the new version too, and the deleted one as ended."""
    orders = [(service, "") for service in tokens.running]
    orders += [(tokens.new, "?sort=expires_at"), (tokens.new, "?sort=-last_used_at")]
    for service, order in orders:
        listed = Counter(token["comment"] for token in api(service, f"/tokens{order}")["tokens"])
        assert {name: listed[name] for name in FIELDS} == dict.fromkeys(FIELDS, 1) | {"deleted": 0}

    for service in tokens.running:
        ended = Counter(token["comment"] for token in api(service, "/tokens?status=ended")["tokens"])
        assert ended["deleted"] == 1
    (first, *_) = api(tokens.new, "/tokens?sort=expires_at")["tokens"]
    assert first["expires_at"]


def test_pages(tokens: Tokens) -> None:
    """The new pages show and find what the old version stored."""
    (disabled,) = api(tokens.new, "/tokens?q=isable&status=disabled&sort=last_used_at")["tokens"]

    assert disabled["comment"] == "disabled"
    token_id = tokens.shown(tokens.new, "rotated")["id"]  # the busiest one
    for target in ("/", "/?q=rotated", f"/tokens/{token_id}", "/overview"):
        page = tokens.new.page(target)
        assert (page.status, token_id in page.text) == (200, True), target


def test_audit(tokens: Tokens) -> None:
    """The audit log has all changes that the new version made."""
    expected = {"plain": "edit", "rotated": "rotate", "switched": "disable"}
    ids = {name: tokens.shown(tokens.new, name)["id"] for name in expected}
    page = tokens.new.page("/audit").text

    for name, token_id in ids.items():
        assert api(tokens.new, f"/audit?token={token_id}")["entries"][0]["action"] == expected[name]
        assert token_id in page


def test_open_form(tokens: Tokens) -> None:
    """A form that an operator opened in the old version can be sent to the new one."""
    (form,) = re.findall(r'<form[^>]*action="/create_token".*?</form>', tokens.forms, re.DOTALL)
    fields = dict.fromkeys(re.findall(r'name="(\w+)"', form), "")
    page = tokens.new.post("/create_token", **fields | {"hosts": "a.test"})

    assert {"hosts", "form", "quota_period"} <= fields.keys()
    assert (page.status, "acl_" in page.text) == (200, True)


@pytest.mark.parametrize("tokens", COMMITS[:1], indirect=True)
def test_way_back(tokens: Tokens) -> None:
    """The old version applies what the new one has changed and created, and changes it again."""
    later = tokens.new.issue("a.test", paths="/v1/*")
    tokens.ask(tokens.old, "rotated")
    tokens.ask(tokens.old, "switched")

    assert (tokens.asked["rotated"], tokens.asked["switched"]) == ([200] * 3, [401])
    assert tokens.shown(tokens.old, "plain")["email"] == "new@a.test"
    assert tokens.old.auth(later).status == 403
    api(tokens.old, place(later), "PATCH", {"paths": ["/"]})
    assert [service.auth(later).status for service in tokens.running] == [200, 200]


@pytest.mark.parametrize("tokens", COMMITS[1:], indirect=True)
@pytest.mark.parametrize("name", RECORDS)
def test_seed(tokens: Tokens, name: str) -> None:
    """A plain record keeps its id, and is listed, found, counted, edited, rotated, deleted as any token."""
    new, secret = tokens.new, tokens.seed[name]
    token = api(new, place(secret))
    assert token["id"] == tokens.ids[name]
    assert [each["id"] for each in api(new, "/tokens")["tokens"]].count(token["id"]) == 1
    assert token["id"] in new.page(f"/?q={token['id']}").text
    assert token["id"] in new.page(f"/tokens/{token['id']}").text
    assert new.allowed(secret) == tokens.load.tally.named(name).statuses[200]

    api(new, f"/tokens/{token['id']}", "PATCH", {"comment": "edited"})
    rotated = issued(new, f"/tokens/{token['id']}/rotate", GRACE)
    assert [new.auth(each).headers["x-auth-comment"] for each in (secret, rotated)] == ["edited"] * 2
    kept = ("id", "hosts", "expires_at")
    assert [api(new, place(rotated))[field] for field in kept] == [token[field] for field in kept]
    api(new, f"/tokens/{token['id']}", "DELETE")
    assert [new.auth(each).status for each in (secret, rotated)] == [401, 401]
