"""Several tokens at once: by name or by filter, after a confirmation, each with its own audit entry."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core import bulk
from app.core.bulk import Action
from app.core.errors import StoreUnavailableError
from app.store.changes import RedisChanges
from devkit.builders import ENVIRON
from tests.web.conftest import Operator
from tests.web.test_admin import record_of
from tests.web.test_api import Api

DAY_S = 86_400
HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')
TITLE = re.compile(r"<h1>([^<]+)")


@pytest.fixture(name="api")
def _api(client: FlaskClient) -> Api:
    return Api(client)


@pytest.fixture(name="made")
def _made(api: Api, database: Any) -> dict[str, dict[str, Any]]:
    """Create tokens: two that end, one without an end, one that is disabled, one that a file manages."""
    ttl = {"a": 5 * DAY_S, "b": 90 * DAY_S}
    made = {name: api.make(comment=f"job {name}", ttl_seconds=ttl.get(name, 0)) for name in "abcde"}
    api("PATCH", f"/tokens/{made['d']['id']}", {"enabled": False})
    database.hset(record_of(made["e"]["token"]), "managed", "kept")
    return made


def states(api: Api) -> dict[str, str]:
    """Return the status of each token by the last letter of its comment."""
    return {token["comment"][-1]: token["status"] for token in api("GET", "/tokens").json["tokens"]}


def actions(api: Api, made: dict[str, Any], name: str) -> list[tuple[str, str]]:
    """Return what the audit log has of a token, newest first, and who did it."""
    entries = api("GET", f"/audit?token={made[name]['id']}").json["entries"]
    return [(entry["action"], entry["actor"]) for entry in entries]


def test_a_name_that_is_repeated(operator: Operator) -> None:
    """A name is looked up once, however often a form repeats it."""
    missing = "0" * 16
    page = operator.post("/bulk_tokens", {"action": "disable", "token": [missing] * 1000}).text

    assert page.count(f"{missing}</") == 1


def test_an_outside_program_disables_tokens(operator: Operator, api: Api, made: dict[str, Any]) -> None:
    """One request with ids, digests or secrets changes each token once, with an audit entry."""
    names = [made["a"]["id"], made["b"]["sha256"], made["c"]["token"], made["a"]["sha256"]]
    answer = operator.post("/bulk_tokens", {"action": "disable", "token": names})

    assert (answer.status_code, TITLE.findall(answer.text)) == (200, ["3 tokens disabled"])
    assert states(api) == dict.fromkeys("abcd", "disabled") | {"e": "active"}
    for name in "abc":
        assert actions(api, made, name)[0] == ("disable", ENVIRON["ADMIN_USER"])
    assert made["c"]["token"] not in answer.text


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("disable", {"a": "disabled", "b": "disabled", "c": "disabled", "d": "disabled", "e": "active"}),
        ("enable", {"a": "expiring", "b": "active", "c": "active", "d": "active", "e": "active"}),
        ("extend", {"a": "active", "b": "active", "c": "active", "d": "disabled", "e": "active"}),
        ("delete", {"e": "active"}),
    ],
)
def test_confirmation(
    operator: Operator, api: Api, made: dict[str, Any], action: str, expected: dict[str, str]
) -> None:
    """The first page names the tokens and changes nothing; its form does it, and done twice does no harm."""
    before = api("GET", "/tokens").json
    asked = operator.post("/confirm_bulk", {"action": action, "all": "1", "q": "job"})
    form = dict(HIDDEN.findall(asked.text)) | ({"days": "30"} if action == "extend" else {})
    assert api("GET", "/tokens").json == before
    assert made["a"]["id"] in asked.text or action == "enable"
    assert f"{made['e']['id']}</code>: kept" in asked.text

    first, count = operator.post("/bulk_tokens", form), len(actions(api, made, "a"))
    second = operator.post("/bulk_tokens", form)
    assert (first.status_code, second.status_code) == (200, 200)
    assert states(api) == expected
    assert TITLE.findall(second.text)[0].startswith("0 tokens ")
    assert len(actions(api, made, "a")) == count
    assert f"{made['e']['id']}</code>: kept" in first.text


def test_extension(operator: Operator, api: Api, made: dict[str, Any], database: Any) -> None:
    """Each token ends so many days after its own end."""
    ends = {name: database.expiretime(record_of(made[name]["token"])) for name in "ab"}
    operator.post("/bulk_tokens", {"action": "extend", "days": "90", "all": "1"})

    for name, end in ends.items():
        assert database.expiretime(record_of(made[name]["token"])) == end + 90 * DAY_S
    assert states(api)["a"] == "active"


def test_secret_in_the_confirmation(operator: Operator, made: dict[str, Any]) -> None:
    """A secret that names a token is not in the page that asks."""
    sent = {"action": "delete", "token": [made["a"]["token"], "acl_unknown"]}
    asked = operator.post("/confirm_bulk", sent)

    assert made["a"]["sha256"] in asked.text
    assert made["a"]["token"] not in asked.text
    assert "acl_unknown" not in asked.text
    assert "Can\u2019t be changed" in asked.text


def test_partial_failure(operator: Operator, api: Api, made: dict[str, Any], database: Any) -> None:
    """What can be done is done; each token that can't is named with the reason."""
    database.hset("tokens:" + "ab" * 32, mapping={"hosts": "a.test", "rate_limit_max": "junk"})
    api("DELETE", f"/tokens/{made['b']['id']}")
    names = [made["a"]["id"], made["b"]["id"], "ab" * 32, "0" * 16]
    answer = operator.post("/bulk_tokens", {"action": "extend", "days": "30", "token": names})

    assert TITLE.findall(answer.text) == ["1 token extended"]
    assert "3 tokens not extended" in answer.text
    assert f"token {made['b']['id']} ended: deleted" in answer.text
    assert "edit the token before you extend it" in answer.text
    assert database.hget("tokens:" + "ab" * 32, "rate_limit_max") == "junk"


def test_slices(operator: Operator, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request does so many tokens, tells how many are left, and the next one goes on from there."""
    monkeypatch.setattr(bulk, "MAX_PER_CALL", 2)
    monkeypatch.setattr(bulk, "_PER_PAGE", 2)
    made = [api.make(comment="x") for _ in range(5)]
    page = operator.post("/bulk_tokens", {"action": "delete", "all": "1", "comment": "X"}).text
    titles = TITLE.findall(page)
    assert "3 more tokens are left" in page
    while "Go on" in page:
        page = operator.post("/bulk_tokens", dict(HIDDEN.findall(page))).text
        titles += TITLE.findall(page)

    assert titles == ["2 tokens deleted", "2 tokens deleted", "1 token deleted"]
    assert api("GET", "/tokens").json["total"] == 0
    entries = [e for token in made for e in api("GET", f"/audit?token={token['id']}").json["entries"]]
    assert sorted(entry["action"] for entry in entries) == ["create"] * 5 + ["delete"] * 5


def test_only_the_last_change_waits_for_the_disk(operator: Operator, api: Api, database: Any) -> None:
    """Twenty changes ask once whether they are on disk, by WAITAOF or in an older Redis by INFO."""
    names = [api.make()["id"] for _ in range(20)]
    database.config_resetstat()
    operator.post("/bulk_tokens", {"action": "disable", "token": names})

    stats = database.info("commandstats")
    asked = sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("waitaof", "info"))
    assert 1 <= asked <= 2


def test_redis_stops_answering(
    operator: Operator, made: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage in the middle, the page tells what was done, and what was not tried."""
    enable, done = RedisChanges.enable, []

    def fail_second(self: RedisChanges, *args: Any, **more: Any) -> Any:
        done.append(args)
        if len(done) == 2:
            raise StoreUnavailableError("Redis is down")
        return enable(self, *args, **more)

    monkeypatch.setattr(RedisChanges, "enable", fail_second)
    answer = operator.post("/bulk_tokens", {"action": "disable", "token": [made[n]["id"] for n in "abc"]})

    assert answer.status_code == 200
    assert TITLE.findall(answer.text) == ["1 token disabled"]
    assert "2 tokens not disabled" in answer.text
    assert f"{made['b']['id']}</code>: Redis is down" in answer.text
    assert f"{made['c']['id']}</code>: not tried" in answer.text


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({}, "action"),
        ({"action": "bogus", "token": "x"}, "action"),
        ({"action": "disable"}, "token"),
        ({"action": "disable", "token": " "}, "token"),
        ({"action": "disable", "token": "x", "force": "1"}, "force"),
        ({"action": ["disable", "delete"], "token": "x"}, "action"),
        ({"action": "extend", "token": "x"}, "days"),
        ({"action": "extend", "token": "x", "days": "0"}, "days"),
        ({"action": "extend", "token": "x", "days": "1e3"}, "days"),
        ({"action": "delete", "token": "x", "days": "30"}, "days"),
        ({"action": "delete", "all": "yes"}, "all"),
        ({"action": "delete", "all": "1", "status": "bogus"}, "status"),
        ({"action": "delete", "all": "1", "status": "ended"}, "status"),
        ({"action": "delete", "all": "1", "q": "acl_secret"}, "q"),
        ({"action": "delete", "all": "1", "cursor": "here"}, "cursor"),
    ],
)
def test_bad_form(
    operator: Operator, api: Api, made: dict[str, Any], form: dict[str, Any], field: str
) -> None:
    """A form that can't be understood changes nothing, and the answer names the field."""
    answer = operator.post("/bulk_tokens", form)

    assert made
    assert answer.status_code == 400
    assert f"{field}: " in answer.text
    assert "acl_secret" not in answer.text
    assert len(states(api)) == 5


def test_table_offers_every_action(operator: Operator, made: dict[str, Any]) -> None:
    """The table has a button for each action, a box for each token that may be changed, and its filter."""
    page = operator.get("/?q=job&status=active").text

    assert re.findall(r'name="action" value="([a-z]+)"', page) == [*Action]
    assert re.findall(r'name="token" value="([^"]+)" form="bulk"', page) == [made[n]["id"] for n in "cb"]
    assert dict(HIDDEN.findall(page)) == {"q": "job", "status": "active"}


def test_redis_down(offline: FlaskClient) -> None:
    """Without Redis nothing is claimed to be changed."""
    answer = Operator(offline).post("/bulk_tokens", {"action": "delete", "token": "0" * 16})

    assert answer.status_code == 503
    assert "No token was changed" in answer.text
