"""SELF_SERVICE: what the holder of a token can do at /self, by that token alone."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from flask.testing import FlaskClient
from jsonschema_rs import Draft202012Validator

from app.core.errors import StoreUnavailableError, UnknownOutcomeError
from app.core.verdicts import Decision
from app.web.own_schema import OWN
from devkit.ports import free_port
from devkit.waiting import until
from tests.web.conftest import OPERATOR
from tests.web.test_brake import KNOWN, TRAEFIK, keep

Make = Callable[..., FlaskClient]
PROXY = {"TRUSTED_PROXIES": "172.18.0.0/16"}
CHANGES = [("POST", "/self/rotate"), ("DELETE", "/self")]
ALL = [("GET", "/self"), *CHANGES]


class Holder:
    """A client of an app with self-service, which sends the secret of its token."""

    def __init__(self, make_client: Make, **variables: Any) -> None:
        self.client: Any = make_client(**{"SELF_SERVICE": "full"} | variables)
        self.secret = ""
        self.document: Any = self.client.get("/api/v1/openapi.json", auth=OPERATOR).json

    def issue(self, **fields: Any) -> Holder:
        """Create a token for a.test."""
        answer = self.client.post("/api/v1/tokens", json={"hosts": ["a.test"]} | fields, auth=OPERATOR)
        assert answer.status_code == 201, answer.text
        self.secret = answer.json["token"]
        return self

    def __call__(self, method: str = "GET", path: str = "/self", secret: str = "", **more: Any) -> Any:
        """Send a request; validate what it is answered."""
        headers = {"Authorization": f"Bearer {secret or self.secret}"} | more.pop("headers", {})
        answer = self.client.open(path, method=method, headers=headers, **more)
        assert answer.headers["Cache-Control"] == "no-store"
        self.assert_described(method.lower(), path.partition("?")[0], answer)
        return answer

    def auth(self, secret: str = "") -> int:
        """Request /auth as Traefik does."""
        headers = {"Authorization": f"Bearer {secret or self.secret}", "X-Forwarded-Host": "a.test"}
        return int(self.client.get("/auth", headers=headers).status_code)

    def assert_described(self, method: str, path: str, answer: Any) -> None:
        """Compare an answer with its description."""
        described = self.document["paths"].get(path, {}).get(method, {}).get("responses", {})
        if answer.status_code >= 400:
            assert answer.mimetype == "application/problem+json"
            assert answer.json["status"] == answer.status_code
        if described:
            promised = described[f"{answer.status_code}"]
            for content in promised.get("content", {}).values():
                schema = content["schema"] | {"components": self.document["components"]}
                Draft202012Validator(schema).validate(answer.json)


@pytest.fixture(name="holder")
def _holder(make_client: Make) -> Holder:
    return Holder(make_client).issue()


@pytest.mark.parametrize(
    ("mode", "statuses"),
    [
        ("off", [404, 404, 404]),
        ("read", [200, 404, 405]),
        ("full", [200, 201, 204]),
        ("FULL", [200, 201, 204]),
    ],
)
def test_modes(make_client: Make, mode: str, statuses: list[int]) -> None:
    """What is not on does not exist, and is not described."""
    holder = Holder(make_client, SELF_SERVICE=mode)
    headers = [{"Authorization": f"Bearer {holder.issue().secret}"} for _ in ALL]
    answers = [
        holder.client.open(path, method=method, headers=each)
        for (method, path), each in zip(ALL, headers, strict=True)
    ]
    described = [method.lower() in holder.document["paths"].get(path, {}) for method, path in ALL]

    assert [answer.status_code for answer in answers] == statuses
    assert described == [status < 300 for status in statuses]
    assert mode != "off" or holder.client.get("/nowhere").text == answers[0].text


def test_show(make_client: Make) -> None:
    """The holder sees its token, with the limits that apply, and no digest."""
    holder = Holder(make_client, RATE_LIMIT_MAX=7, RATE_LIMIT_WINDOW_SEC=9, **PROXY)
    holder.issue(email="ops@a.test", comment="nightly", methods=["GET"], paths=["/v1/*"], ttl_seconds=99)
    operators = holder.client.get("/api/v1/tokens", auth=OPERATOR).json["tokens"][0]
    shown = holder().json

    assert shown.keys() == {*OWN, "quota", "replaced"}
    assert shown == {name: operators[name] for name in OWN} | {
        "rate_limit_max": 7,
        "rate_limit_window_sec": 9,
        "quota": None,
        "replaced": False,
    }
    assert operators["sha256"] not in str(shown)
    assert {"sha256", "enabled"} & shown.keys() == set()


def test_own_limits(make_client: Make) -> None:
    """Limits of the token's own are shown in place of the defaults, also where 0 is unlimited."""
    shown = Holder(make_client).issue(rate_limit_max=0, rate_limit_window_sec=30)().json

    assert (shown["rate_limit_max"], shown["rate_limit_window_sec"]) == (0, 30)


def test_quota(make_client: Make) -> None:
    """The holder sees what is left of its quota, which seeing it does not spend."""
    holder = Holder(make_client).issue(quota_max=3, quota_period="month", rate_limit_max=3)
    assert holder.auth() == 200
    quotas = [holder().json["quota"] for _ in range(5)]

    assert [(quota["max"], quota["used"], quota["remaining"]) for quota in quotas] == [(3, 1, 2)] * 5
    assert quotas[0]["resets_at"].endswith("-01T00:00:00Z")
    assert [holder.auth() for _ in range(3)] == [200, 200, 429]
    assert holder().json["quota"]["remaining"] == 0


def test_head(holder: Holder) -> None:
    """HEAD is answered as GET is, and other methods do not exist."""
    assert holder("HEAD").status_code == 200
    for method, path in [
        ("OPTIONS", "/self"),
        ("PATCH", "/self"),
        ("POST", "/self"),
        ("GET", "/self/rotate"),
    ]:
        assert holder(method, path).status_code == 405
    for path in ("/self/", "/self/x", "/self/rotate/"):
        assert holder("GET", path).status_code == 404


SENT = {
    "nothing": {},
    "blank": {"Authorization": ""},
    "unknown": {"Authorization": "Bearer not-ours"},
    "mistyped": {"Authorization": "Bearer acl_" + "a" * 38},
    "malformed": {"Authorization": "Bearer"},
    "two": {"Authorization": "Bearer a,Bearer b"},
    "known": {"Authorization": f"Bearer {KNOWN}"},
    "basic": {"Authorization": "Basic " + b64encode(f"x:{KNOWN}".encode()).decode()},
    "operator": {"Authorization": "Basic " + b64encode(":".join(OPERATOR).encode()).decode()},
    "api key": {"X-Api-Key": KNOWN},
    "bad api key": {"X-Api-Key": "a b"},
    "api key and bearer": {"X-Api-Key": "no", "Authorization": f"Bearer {KNOWN}"},
    "header": {"Api-Key": KNOWN},
}


@pytest.mark.parametrize(
    "sources", ["authorization", "basic", "x-api-key,authorization", "authorization,basic", "header:api-key"]
)
@pytest.mark.parametrize("fields", [{}, {"enabled": "0"}, {"not_before": "99999999999"}], ids=str)
def test_credentials(make_client: Make, database: Any, sources: str, fields: dict[str, str]) -> None:
    """A credential is read, refused and challenged as at /auth, whatever REFUSAL_FORMAT is there."""
    keep(database, **fields)
    variables = {"SELF_SERVICE": "read", "CREDENTIAL_SOURCES": sources, "AUTH_REALM": "r"}
    text, json = (make_client(**variables, REFUSAL_FORMAT=form) for form in ("text", "json"))
    for headers in SENT.values():
        here = [client.get("/self", headers=headers) for client in (text, json)]
        there = json.get("/auth", headers=headers | {"X-Forwarded-Host": "a.test"})
        challenges = [answer.headers.getlist("WWW-Authenticate") for answer in (*here, there)]

        assert [answer.status_code for answer in here] == [there.status_code] * 2
        assert challenges[0] == challenges[1] == challenges[2]
        if there.status_code != 200:
            assert [(answer.mimetype, answer.text) for answer in here] == [(there.mimetype, there.text)] * 2


def test_expired(holder: Holder) -> None:
    """The holder of an expired token learns that it expired."""
    holder.issue(ttl_seconds=3600)
    assert holder.auth() == 200
    path = f"/api/v1/tokens/{holder().json['id']}"
    assert holder.client.patch(path, json={"ttl_seconds": 1}, auth=OPERATOR).status_code == 200
    until(lambda: holder().status_code == 401)

    assert 'error_description="the token expired"' in holder().headers["WWW-Authenticate"]


def test_failed_tries(make_client: Make, database: Any) -> None:
    """A bad token counts under FAIL_LIMIT_MAX for /self and /auth together; then a good one waits too."""
    keep(database)
    client: Any = make_client(SELF_SERVICE="full", FAIL_LIMIT_MAX=3, **PROXY)

    def ask(path: str, secret: str, method: str = "GET") -> Any:
        headers = {"Authorization": f"Bearer {secret}", "X-Forwarded-For": "203.0.113.7"}
        more = {"X-Forwarded-Host": "a.test"} if path == "/auth" else {}
        return client.open(path, method=method, headers=headers | more, environ_overrides=TRAEFIK)

    assert ask("/self", KNOWN).status_code == 200
    bad = [
        ("GET", "/self"),
        ("GET", "/auth"),
        ("DELETE", "/self"),
        ("GET", "/self"),
        ("POST", "/self/rotate"),
    ]
    answers = [ask(path, "not-ours", method) for method, path in bad]
    answers += [ask(path, KNOWN, method) for method, path in [*ALL, ("GET", "/auth")]]

    assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 6
    assert 0 < int(answers[3].headers["Retry-After"]) <= 60
    assert answers[3].json["detail"] == "rate limit exceeded"
    assert database.keys("tokens:*")


def test_tries_that_do_not_count(make_client: Make, database: Any) -> None:
    """Neither a missing credential nor a wrong network counts as a bad token."""
    keep(database, networks="192.0.2.0/24")
    client: Any = make_client(SELF_SERVICE="full", FAIL_LIMIT_MAX=2, **PROXY)
    sent = {"X-Forwarded-For": "203.0.113.7"}
    for headers, status in [({}, 401), ({"Authorization": f"Bearer {KNOWN}"}, 403)]:
        answers = [client.get("/self", headers=sent | headers, environ_overrides=TRAEFIK) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [status] * 4
    assert not database.keys("{acl:failures}*")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "statuses"),
    [
        ("172.18.0.2", "192.0.2.7", [200, 201]),
        ("172.18.0.2", "203.0.113.7", [403, 403]),
        ("172.18.0.2", "192.0.2.7, 203.0.113.7", [403, 403]),
        ("172.18.0.2", None, [403, 403]),
        ("192.0.2.7", None, [403, 403]),
    ],
)
def test_networks(make_client: Make, peer: str, forwarded_for: str | None, statuses: list[int]) -> None:
    """A token with networks is read and rotated in these alone; whoever finds it can end it anywhere."""
    holder = Holder(make_client, **PROXY).issue(networks=["192.0.2.0/24"])
    headers = {"X-Forwarded-For": forwarded_for} if forwarded_for else {}
    more: Any = {"headers": headers, "environ_overrides": {"REMOTE_ADDR": peer}}
    answers = [holder(method, path, **more) for method, path in ALL[:2]]
    holder.secret = (answers[1].json or {}).get("token", holder.secret)

    assert [answer.status_code for answer in answers] == statuses
    if statuses == [403, 403]:
        assert {answer.json["detail"] for answer in answers} == {"forbidden for network"}
        assert 'error="insufficient_scope"' in answers[0].headers["WWW-Authenticate"]
    assert holder("DELETE", **more).status_code == 204
    assert holder().status_code == 401


@pytest.mark.parametrize("fields", [{"methods": ["PUT"]}, {"paths": ["/x"]}, {"hosts": ["b.test"]}])
def test_other_restrictions(make_client: Make, fields: dict[str, Any]) -> None:
    """Hosts, methods and paths are those of backends and do not apply to /self."""
    holder = Holder(make_client).issue(**fields)
    assert [holder(method, path).status_code for method, path in ALL[:2]] == [200, 201]


@pytest.mark.parametrize("name", ["X-Forwarded-Method", "X-Forwarded-Uri"])
def test_subrequests(holder: Holder, name: str) -> None:
    """A ForwardAuth sub-request is refused even with a valid token, and changes nothing."""
    for method, path in ALL:
        assert holder(method, path, headers={name: "/"}).status_code == 403
    assert holder().json["replaced"] is False


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    ],
    ids=str,
)
def test_other_sites(make_client: Make, headers: dict[str, str]) -> None:
    """A page of another site changes nothing, although a browser adds a Basic password by itself."""
    holder = Holder(make_client, CREDENTIAL_SOURCES="basic,authorization").issue()
    basic = {"Authorization": "Basic " + b64encode(f"token:{holder.secret}".encode()).decode()}
    answers = [holder(method, path, headers=basic | headers) for method, path in CHANGES]
    own = holder(*CHANGES[0], headers=basic | {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"})

    assert [answer.status_code for answer in answers] == [403, 403]
    assert "Access-Control-Allow-Origin" not in holder(headers=basic | headers).headers
    assert own.status_code == 201


def test_two_realms(make_client: Make) -> None:
    """The operator's password is no token, a token is no password, and each is told so by its own realm."""
    holder = Holder(make_client, CREDENTIAL_SOURCES="basic", SELF_SERVICE="read").issue()
    operator = holder.client.get("/self", auth=OPERATOR)
    token = holder.client.get("/api/v1/tokens", auth=("token", holder.secret))

    assert (operator.status_code, token.status_code) == (401, 401)
    assert operator.headers["WWW-Authenticate"].startswith('Basic realm="acl-auth-service", ')
    assert token.headers["WWW-Authenticate"].startswith('Basic realm="acl-auth-service admin", ')
    assert holder.client.get("/self", auth=("token", holder.secret)).status_code == 200


def test_rotate(make_client: Make) -> None:
    """The new secret is in that answer alone; without a grace period the old one ends at once."""
    holder = Holder(make_client).issue(comment="nightly", ttl_seconds=3600)
    before = holder().json
    answer = holder(*CHANGES[0])
    new = answer.json["token"]

    assert answer.status_code == 201
    assert answer.json == {"token": new} | before
    assert (holder().status_code, holder.auth(), holder.auth(new)) == (401, 401, 200)
    assert holder(secret=new).json == before | {
        name: holder(secret=new).json[name] for name in ("first_used_at", "last_used_at")
    }


def test_grace(holder: Holder) -> None:
    """During the grace period the old secret is shown as replaced, can't rotate, and ends only itself."""
    answer = holder(*CHANGES[0], json={"grace_seconds": 60})
    new = answer.json["token"]

    assert [holder(secret=secret).json["replaced"] for secret in ("", new)] == [True, False]
    assert holder(*CHANGES[0], json={"grace_seconds": 60}).status_code == 409
    assert (holder.auth(), holder.auth(new)) == (200, 200)
    assert holder("DELETE").status_code == 204
    assert (holder.auth(), holder.auth(new)) == (401, 200)
    assert holder("DELETE", secret=new).status_code == 204
    assert (holder.auth(new), holder("DELETE", secret=new).status_code) == (401, 401)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"json": {"grace_seconds": 604_801}}, 400),
        ({"json": {"grace_seconds": "60"}}, 400),
        ({"json": {"grace_seconds": True}}, 400),
        ({"json": {"grace": 60}}, 400),
        ({"json": {"grace_seconds": 60, "ttl_seconds": 5}}, 400),
        ({"json": [60]}, 400),
        ({"data": "{", "content_type": "application/json"}, 400),
        ({"data": "grace_seconds=60"}, 415),
        ({"data": {"grace_seconds": "60"}}, 415),
        ({"data": " " * 70_000, "content_type": "application/json"}, 413),
        ({"query_string": "grace_seconds=60"}, 400),
    ],
)
def test_bad_rotations(holder: Holder, sent: dict[str, Any], status: int) -> None:
    """A request that the API refuses is refused here too, and rotates nothing."""
    answer = holder(*CHANGES[0], **sent)

    assert answer.status_code == status
    assert (holder().json["replaced"], holder.auth()) == (False, 200)


def test_secret_in_an_address(holder: Holder) -> None:
    """A parameter is refused, and not repeated if it may be a secret."""
    answer = holder(path=f"/self?{holder.secret}")

    assert answer.status_code == 400
    assert holder.secret not in answer.text
    assert holder.client.get(f"/self?token={holder.secret}").status_code == 401


def test_too_many_rotations(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many rotations within an hour, the holder waits and keeps the secret."""
    monkeypatch.setattr("app.core.holders.MAX_ROTATIONS", 1)
    holder.secret = holder(*CHANGES[0]).json["token"]
    answer = holder(*CHANGES[0])

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3600")
    assert holder.auth() == 200


@pytest.mark.parametrize("variables", [{}, {"FAIL_LIMIT_MAX": 5} | PROXY], ids=["plain", "limited"])
def test_redis_down(make_client: Make, variables: dict[str, Any]) -> None:
    """Without Redis every request with a token is a 503 that names the time to wait."""
    client: Any = make_client(SELF_SERVICE="full", REDIS_PORT=free_port(), **variables)
    for method, path in ALL:
        answer = client.open(
            path, method=method, headers={"Authorization": "Bearer x"}, environ_overrides=TRAEFIK
        )
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.mimetype == "application/problem+json"
        assert answer.json["detail"] == "redis unavailable"


LOST = [
    (
        StoreUnavailableError,
        "The token was not rotated: it has the secret that you sent.",
        "The secret was not ended: ",
    ),
    (
        UnknownOutcomeError,
        "Whether the token was rotated is not known.",
        "Whether the secret was ended is not known.",
    ),
]


@pytest.mark.parametrize(("error", "rotation", "end"), LOST)
def test_redis_lost_during_a_change(
    holder: Holder,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
    rotation: str,
    end: str,
) -> None:
    """The holder learns whether the change was made; the reason is in the log alone."""

    def fail(*_: object) -> None:
        raise error("10.0.0.9 refused: check REDIS_USERNAME")

    monkeypatch.setattr("app.store.durable._run", fail)
    for change, effect in zip(CHANGES, (rotation, end), strict=True):
        answer = holder(*change)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json["detail"].startswith(f"redis unavailable. {effect}")
        assert "REDIS_USERNAME" not in answer.text


def test_deadline(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is not found and counted within the deadline is a 503."""

    def decide(*_: object) -> Decision:
        raise gevent.Timeout

    monkeypatch.setattr("app.web.self_service.decide", decide)
    answer = holder()

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert holder.auth() == 200


def test_log(holder: Holder, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the token and the client of a change and of a refusal, and no secret."""
    name = holder().json["id"]
    with caplog.at_level(logging.INFO):
        new = holder(*CHANGES[0], json={"grace_seconds": 60}).json["token"]
        holder("DELETE")
        holder("DELETE", secret=new)
        holder()
    end = f"token={name} client=127.0.0.1"

    assert [line for line in caplog.messages if "holder" in line] == [
        f"the holder rotated the token {end}",
        f"the holder ended a replaced secret of the token {end}",
        f"the holder deleted the token {end}",
    ]
    assert (
        caplog.messages[-1]
        == f"refused verdict=unknown_token token={name} ended=replaced path=/self client=127.0.0.1"
    )
    assert not any(secret in caplog.text for secret in (holder.secret, new))


def test_log_of_refusals(make_client: Make, database: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The line of a refusal names the path here, and the host of the backend at /auth."""
    keep(database)
    client: Any = make_client(SELF_SERVICE="full")
    headers = {"Authorization": "Bearer not-ours", "X-Forwarded-Host": "a.test"}
    with caplog.at_level(logging.INFO):
        for method, path in [*ALL, ("GET", "/auth")]:
            client.open(path, method=method, headers=headers)
    places = ["path=/self", "path=/self/rotate", "path=/self", "host='a.test'"]

    assert [line for line in caplog.messages if line.startswith("refused")] == [
        f"refused verdict=unknown_token token=- {place} client=127.0.0.1" for place in places
    ]
