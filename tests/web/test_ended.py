"""Ended tokens on the pages, in the API and in the log; a client hears only of an expiry."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core.failures import COUNTED
from app.core.tokens import Status
from app.core.verdicts import Verdict
from app.store import keys
from tests.web.conftest import OPERATOR, Operator
from tests.web.test_admin import create, record_of
from tests.web.test_api import Api, assert_described
from tests.web.test_auth import ask

ROW = re.compile(r'<code class="id">([^<]+)</code>')
HOW = re.compile(r'<span class="status \w+"[^>]*>([^<]+)<')


@pytest.fixture(name="api")
def _api(client: FlaskClient) -> Api:
    return Api(client)


def expire(database: Any, secret: str) -> None:
    """Let a token expire now."""
    record = record_of(secret)
    database.delete(record)
    database.pexpire(f"{{{record}}}:ended", keys.REMEMBERED_MS)


def end_each(api: Api, database: Any) -> dict[str, tuple[str, str]]:
    """End three tokens, each in its own way, and return their ids and secrets by the word for it."""
    made = {
        how: api.make(hosts=[f"{how}.test"], ttl_seconds=600) for how in ("expired", "deleted", "replaced")
    }
    ended = {how: (str(token["id"]), str(token["token"])) for how, token in made.items()}
    expire(database, ended["expired"][1])
    api("DELETE", f"/tokens/{ended['deleted'][0]}")
    api("POST", f"/tokens/{ended['replaced'][0]}/rotate", {"grace_seconds": 0})
    return ended


def test_client_hears_no_difference(api: Api, database: Any, client: FlaskClient) -> None:
    """A deleted or replaced secret gets the bytes that one gets that never was; nothing is written."""
    ended = end_each(api, database)
    before = sorted(database.scan_iter())
    answers = [ask(client, secret) for secret in (ended["deleted"][1], ended["replaced"][1], "never-was")]

    assert len({(answer.status, answer.data, str(answer.headers)) for answer in answers}) == 1
    assert answers[0].status_code == 401
    assert sorted(database.scan_iter()) == before
    assert (
        'error_description="the token expired"'
        in ask(client, ended["expired"][1]).headers["WWW-Authenticate"]
    )


def test_log_names_them(
    api: Api, database: Any, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The log of a refusal names the token and how it ended; the metric counts it as unknown."""
    ended = end_each(api, database)
    metric = 'acl_auth_decisions_total{verdict="unknown_token"} '
    before = client.get("/metrics").text.partition(metric)[2].partition("\n")[0]
    caplog.set_level("INFO")
    for _, secret in ended.values():
        ask(client, secret)

    for how in ("deleted", "replaced"):
        line = f"refused verdict=unknown_token token={ended[how][0]} ended={how} host='example.com' client="
        assert line in caplog.text
    assert f"verdict=expired_token token={ended['expired'][0]} host=" in caplog.text
    after = client.get("/metrics").text.partition(metric)[2].partition("\n")[0]
    assert float(after) == float(before or 0) + 2


@pytest.mark.parametrize("how", ["expired", "deleted", "replaced", "never"])
def test_bad_tokens_are_counted(make_client: Callable[..., FlaskClient], database: Any, how: str) -> None:
    """With FAIL_LIMIT_MAX, an ended token counts as any bad one."""
    client = make_client(FAIL_LIMIT_MAX=2, TRUSTED_PROXIES="127.0.0.1")
    ended = end_each(Api(client), database) | {"never": ("", "never-was")}
    sent: dict[str, Any] = {"headers": {"X-Forwarded-For": "192.0.2.7"}}

    assert [ask(client, ended[how][1], **sent).status_code for _ in range(3)] == [401, 401, 429]
    assert {Verdict.UNKNOWN_TOKEN, Verdict.EXPIRED_TOKEN} <= COUNTED


def test_api_lists_them(api: Api, database: Any) -> None:
    """The API lists ended tokens as it is described, in pages and by a search, and no other tokens."""
    ended = end_each(api, database)
    answer = api("GET", "/tokens?status=ended")

    assert_described("GET", "/tokens", answer)
    assert {(token["id"], token["status"], *token["hosts"]) for token in answer.json["tokens"]} == {
        (ended[how][0], how, f"{how}.test") for how in ended
    }
    assert answer.json["total"] == 3
    assert all(re.fullmatch(r"[0-9-]+T[0-9:]+Z", token["ended_at"]) for token in answer.json["tokens"])
    (found,) = api("GET", "/tokens?status=ended&q=deleted.test").json["tokens"]
    assert found["id"] == ended["deleted"][0]
    first = api("GET", "/tokens?status=ended&limit=2").json
    rest = api("GET", f"/tokens?status=ended&limit=2&cursor={first['next_cursor']}").json
    assert [*first["tokens"], *rest["tokens"]] == answer.json["tokens"]
    assert (len(first["tokens"]), rest["next_cursor"]) == (2, None)
    living = api("GET", "/tokens").json
    assert ([token["id"] for token in living["tokens"]], living["total"]) == ([ended["replaced"][0]], 1)


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/?status=bogus", ""),
        ("/api/v1/tokens?status=bogus", "status: "),
    ],
)
def test_other_status(operator: Operator, path: str, where: str) -> None:
    """Another status is refused, naming the parameter and what it takes."""
    answer = operator.get(path)

    assert answer.status_code == 400
    assert re.search(f"{where}one of {', '.join(Status)}, ended", answer.text, re.IGNORECASE)


def test_page_of_another_status_changes_nothing(operator: Operator) -> None:
    """A page that would change nothing does not say that nothing was changed."""
    assert "Nothing was changed" not in operator.get("/?status=bogus").text


@pytest.mark.parametrize(
    ("cursor", "status"), [("0" * 16, 409), ("0" * 80, 409), ("here", 400), ("1-0", 400)]
)
def test_cursor_of_another_list(api: Api, operator: Operator, cursor: str, status: int) -> None:
    """The API refuses a cursor of another list, instead of starting over; the page starts over."""
    name = api.make()["id"]
    api("DELETE", f"/tokens/{name}")
    answer = api("GET", f"/tokens?status=ended&cursor={cursor}")

    assert answer.status == status
    assert set(answer.json["errors"]) == {"cursor"}
    assert_described("GET", "/tokens", answer)
    assert ROW.findall(operator.get(f"/?status=ended&from={cursor}").text) == [name]


def test_cursor_of_ended_tokens_in_the_list_of_others(api: Api) -> None:
    """A cursor of the list of ended tokens is not one of the list of tokens that exist."""
    for _ in range(2):
        api("DELETE", f"/tokens/{api.make()['id']}")
    cursor = api("GET", "/tokens?status=ended&limit=1").json["next_cursor"]

    assert cursor
    assert api("GET", f"/tokens?cursor={cursor}").status == 409


def test_blank_status(api: Api, operator: Operator) -> None:
    """A blank status lists the tokens that exist."""
    made = api.make()

    assert [token["id"] for token in api("GET", "/tokens?status=").json["tokens"]] == [made["id"]]
    assert ROW.findall(operator.get("/?status=").text) == [made["id"]]


def test_page_lists_them(api: Api, operator: Operator, database: Any) -> None:
    """The page lists ended tokens with how they ended, and offers nothing to change them."""
    ended = end_each(api, database)
    page = operator.get("/?status=ended").text

    assert 'href="/?status=ended"' in operator.get().text
    assert dict(zip(ROW.findall(page), HOW.findall(page), strict=True)) == {
        ended[how][0]: how.capitalize() for how in ended
    }
    assert "3 ended tokens, the last to end first" in page
    assert 'method="post"' not in page
    found = operator.get("/?status=ended&q=deleted.test").text
    assert ROW.findall(found) == [ended["deleted"][0]]
    assert '<option value="ended" selected>' in found
    assert "No ended tokens that match" in operator.get("/?status=ended&q=x.test").text


def test_empty_page(operator: Operator) -> None:
    """Without any ended token the page says so, and it is linked even if there are no tokens."""
    assert "No ended tokens." in operator.get("/?status=ended").text
    assert 'href="/?status=ended"' in operator.get().text


def test_pages(operator: Operator, api: Api) -> None:
    """A long list continues on further pages."""
    for _ in range(51):
        api("DELETE", f"/tokens/{api.make()['id']}")
    first = operator.get("/?status=ended").text
    more = re.search(r'rel="next" href="([^"]+)"', first)
    assert more
    second = operator.get(more[1].replace("&amp;", "&")).text

    assert (len(ROW.findall(first)), len(ROW.findall(second))) == (50, 1)
    assert set(ROW.findall(first)).isdisjoint(ROW.findall(second))
    assert 'rel="next"' not in second


@pytest.mark.parametrize("secret", ["acl_" + "x" * 38, "legacy" * 9])
def test_search_for_a_secret(operator: Operator, secret: str) -> None:
    """A secret in the search field is refused with advice and not repeated."""
    page = operator.get(f"/?status=ended&q={secret}").text

    assert "flask --app wsgi tokens show" in page
    assert secret not in page


def test_page_of_an_ended_token(api: Api, operator: Operator, database: Any) -> None:
    """Whoever opens an ended token, by a link or from the log, reads how it ended."""
    ended = end_each(api, database)
    for how in ("expired", "deleted"):
        answer, detail = operator.get(f"/tokens/{ended[how][0]}"), api("GET", f"/tokens/{ended[how][0]}")
        text = rf"oken {ended[how][0]} ended: {how} on [0-9TZ:-]+; it was valid for {how}\.test"
        assert (answer.status_code, detail.status) == (404, 404)
        assert re.search(text, answer.text)
        assert re.search(text, detail.json["detail"])
    assert operator.get(f"/tokens/{ended['replaced'][0]}").status_code == 200


def test_hostile_facts(operator: Operator, client: FlaskClient, database: Any) -> None:
    """What another program wrote into an expiry marker is shown without markup or control characters."""
    secret = create(operator)
    record = record_of(secret)
    token_id = database.hget(record, "id")
    database.delete(record)
    marker = f"{token_id}\ndeleted\n<b>.test,\x1b[31m\nx@\u202ey\n<script>"
    database.set(f"{{{record}}}:ended", marker, px=keys.REMEMBERED_MS)

    page = operator.get("/?status=ended").text
    assert ROW.findall(page) == [token_id]
    assert "&lt;script&gt;" in page
    listed = client.application.test_cli_runner().invoke(args=["tokens", "list", "--status", "ended"]).output
    for text in (page, listed, operator.get(f"/tokens/{token_id}").text):
        assert not {"\x1b", "\u202e"} & set(text)
    assert not re.search("<script>|<b>", page)


def test_command(api: Api, client: FlaskClient, database: Any) -> None:
    """The command lists ended tokens, as lines or as JSON, and those of a host."""
    ended = end_each(api, database)
    run = client.application.test_cli_runner().invoke
    lines = run(args=["tokens", "list", "--status", "ended"]).output.splitlines()
    objects = [
        json.loads(line)
        for line in run(args=["tokens", "list", "--status", "ended", "--json"]).output.splitlines()
    ]
    of_host = run(args=["tokens", "list", "--status", "ended", "--host", "expired.test"]).output

    assert {tuple(line.split("\t")[:2]) for line in lines} == {(ended[how][0], how) for how in ended}
    assert {(each["id"], each["status"], *each["hosts"]) for each in objects} == {
        (ended[how][0], how, f"{how}.test") for how in ended
    }
    assert of_host.split("\t")[0] == ended["expired"][0]
    assert "ended: deleted on" in run(args=["tokens", "show", ended["deleted"][0]]).output
    assert "'ended'" in run(args=["tokens", "list", "--status", "gone"]).output


def test_redis_down(offline: FlaskClient) -> None:
    """Without Redis the page and the API answer 503."""
    for path in ("/?status=ended", "/api/v1/tokens?status=ended"):
        assert offline.get(path, auth=OPERATOR).status_code == 503
