"""/metrics, parsed as Prometheus does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from app import create_app
from app.core.audit import Action
from app.core.durability import Durability
from app.core.logins import WRONG_PER_CLIENT, Login
from app.core.tokens import Status
from app.core.verdicts import Verdict
from app.tally import Tally
from app.version import VERSION
from devkit.builders import make_settings
from devkit.redis_server import RedisServer
from tests.web.conftest import OPERATOR, Operator
from tests.web.test_admin import create


@pytest.fixture(name="client")
def _client(redis_server: RedisServer, database: object) -> FlaskClient:
    """Return a client of an app that has made no decision yet."""
    assert database
    variables = {"RATE_LIMIT_MAX": 1, "RATE_LIMIT_WINDOW_SEC": 3600, "REDIS_DEADLINE_MS": 5000}
    return create_app(make_settings(REDIS_PORT=redis_server.port, **variables), Tally()).test_client()


def values(client: FlaskClient) -> dict[str, float]:
    """Return every sample by its name and labels."""
    families = parse(client.get("/metrics").text)
    samples = (sample for family in families for sample in family.samples)
    return {"".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def test_verdicts(client: FlaskClient) -> None:
    """Each response of /auth is counted once by its verdict; unused verdicts are 0."""
    text = create(Operator(client), hosts="a.test")
    for token, host in [
        (text, "a.test"),
        (text, "a.test"),
        (text, "b.test"),
        ("x", "a.test"),
        ("", "a.test"),
    ]:
        client.get("/auth", headers={"Authorization": f"Bearer {token}", "X-Forwarded-Host": host})
    client.get("/auth")

    found = values(client)
    met = {"allowed", "rate_limited", "wrong_host", "unknown_token", "malformed_credential", "no_credential"}
    counts = {verdict: found[f"acl_auth_decisions_total{verdict}"] for verdict in Verdict}
    assert counts == {verdict: int(verdict in met) for verdict in Verdict}
    assert found["acl_auth_decision_seconds_count"] == found["acl_auth_decision_seconds_bucket+Inf"] == 6
    assert 0 < found["acl_auth_decision_seconds_sum"] < 60
    assert found["acl_auth_redis_up"] == 1


def test_logins(client: FlaskClient) -> None:
    """Each attempt to sign in is counted once by its outcome; a request without a password is none."""
    right, wrong = OPERATOR, (OPERATOR[0], "guess")
    for password in [right, wrong, right, *[wrong] * WRONG_PER_CLIENT.max_requests]:
        client.get("/", auth=password)
    client.get("/")

    found = values(client)
    counts = {login: found[f"acl_auth_logins_total{login}"] for login in Login}
    assert counts == {Login.ACCEPTED: 2, Login.WRONG: WRONG_PER_CLIENT.max_requests, Login.THROTTLED: 1}


def test_changes(client: FlaskClient) -> None:
    """Each change of a token counts once, by action and by durability; one that changes nothing does not."""
    operator = Operator(client)
    for _ in range(2):
        create(operator, hosts="a.test")
    ids = [token["id"] for token in client.get("/api/v1/tokens", auth=OPERATOR).get_json()["tokens"]]
    for enabled in (False, False, True):
        client.patch(f"/api/v1/tokens/{ids[0]}", json={"enabled": enabled}, auth=OPERATOR)
    client.post(f"/api/v1/tokens/{ids[0]}/rotate", json={}, auth=OPERATOR)
    client.delete(f"/api/v1/tokens/{ids[1]}", auth=OPERATOR)

    found = values(client)
    actions = {action: found[f"acl_auth_audit_entries_total{action}"] for action in Action}
    assert {action for action, number in actions.items() if number} == {
        *("create", "disable", "enable", "rotate", "delete")
    }
    durable = [found[f"acl_auth_changes_total{durability.value}"] for durability in Durability]
    assert sum(durable) == sum(actions.values()) == 6


def test_tokens(client: FlaskClient) -> None:
    """Every status has the number of its tokens, as they are at the time of the scrape."""
    operator = Operator(client)
    for fields in ({}, {}, {"ttl_seconds": "60"}):
        create(operator, hosts="a.test", **fields)
    secret = create(operator, hosts="a.test", not_before="2999-01-01")
    expected = dict.fromkeys(Status, 0) | {Status.ACTIVE: 2, Status.EXPIRING: 1, Status.NOT_YET_VALID: 1}
    assert {status: values(client)[f"acl_auth_tokens{status}"] for status in Status} == expected

    operator.post("/disable_token", {"token": secret})
    expected |= {Status.DISABLED: 1, Status.NOT_YET_VALID: 0}
    assert {status: values(client)[f"acl_auth_tokens{status}"] for status in Status} == expected


def test_tokens_before_the_first_census(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among many tokens there is no number until a census has been taken."""
    monkeypatch.setattr("app.store.census._FEW", -1)

    assert not [name for name in values(client) if name.startswith("acl_auth_tokens")]


def test_version(client: FlaskClient) -> None:
    """The service's version is a label of a constant metric."""
    assert f'\nacl_auth_build_info{{version="{VERSION}"}} 1' in client.get("/metrics").text


def test_openmetrics(client: FlaskClient) -> None:
    """A client that accepts OpenMetrics gets it."""
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert answer.mimetype == "application/openmetrics-text"
    families = parse_openmetrics(answer.text)  # type: ignore[no-untyped-call]
    assert "acl_auth_decisions" in {family.name for family in families}


def test_without_redis(offline: FlaskClient) -> None:
    """Without Redis the metrics are available and report it."""
    found = values(offline)
    assert found["acl_auth_redis_up"] == 0
    assert not [name for name in found if name.startswith("acl_auth_tokens")]


def test_disabled(make_client: Callable[..., FlaskClient]) -> None:
    """With METRICS_ENABLED=false the address is a 404."""
    assert make_client(METRICS_ENABLED="false").get("/metrics").status_code == 404


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "DELETE"])
def test_methods(client: FlaskClient, method: str) -> None:
    """Only reads are allowed."""
    assert client.open("/metrics", method=method).status_code == 405
