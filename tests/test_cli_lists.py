"""``tokens list``: which tokens it lists, in which order, and how."""

from __future__ import annotations

import time

import pytest
import redis

from app.cli.complaints import Code
from devkit.commands import Run, created, printed_lines, runner_on
from devkit.redis_server import RedisServer

DAY = 86_400


@pytest.fixture(scope="module", name="run")
def _run(redis_server: RedisServer) -> Run:
    """Return a function that runs a command on a database with a token of each kind."""
    run = runner_on(redis_server)
    for host, *options in (
        ("forever.test", "--comment", "Nightly job"),
        ("week.test", "--ttl", "5d", "--email", "Ops@example.com"),
        ("month.test", "--ttl", "20d"),
        ("off.test", "--ttl", "5d"),
        ("later.test", "--not-before", "2090-01-01"),
        ("used.test",),
    ):
        created(run, host, *options)
    run("disable", dict(hosts_and_ids(run))["off.test"])
    _age(redis_server, run)
    return run


def hosts_and_ids(run: Run) -> list[tuple[str, str]]:
    """Return the host and the id of each token."""
    return [(token["hosts"][0], token["id"]) for token in printed_lines(run("list", "--json"))]


def _age(server: RedisServer, run: Run) -> None:
    """Let all tokens be a hundred days old, and one of them used yesterday."""
    now_s = int(time.time())
    with redis.Redis(port=server.port) as client:
        for token in printed_lines(run("list", "--json")):
            record = f"tokens:{token['sha256']}"
            client.hset(record, "created_at", now_s - 100 * DAY)
            if token["hosts"] == ["used.test"]:
                client.hset(record, "last_used_at", now_s - DAY)


@pytest.mark.parametrize(
    ("options", "hosts"),
    [
        ("--status active", "forever month used"),
        ("--status expiring", "week"),
        ("--expiring", "week"),
        ("--expiring 30d", "week month"),
        ("--status expiring --within 30d", "week month"),
        ("--status expiring --expiring 30d", "week month"),
        ("--status expiring --within 1d", ""),
        ("--within 30d", "week month off"),
        ("--status disabled --within 30d", "off"),
        ("--status disabled --within 1d", ""),
        ("--status not_yet_valid", "later"),
        ("--status unreadable", ""),
        ("--unused 90d", "forever week month off later"),
        ("--unused 90d --expiring", "week"),
        ("--unused 200d", ""),
        ("--unused 12h", "forever week month off later used"),
        ("--host week.test", "week"),
        ("--host *.test", ""),
        ("--query week.test", "week"),
        ("--query JOB", "forever"),
        ("--query ops@ --comment job", ""),
        ("--email ops@", "week"),
        ("--comment job", "forever"),
        ("--comment job --email ops", ""),
    ],
)
def test_filters(run: Run, options: str, hosts: str) -> None:
    """Every filter lists the tokens that it is for, and several list what they have in common."""
    listed = printed_lines(run("list", "--json", *options.split()))

    assert {token["hosts"][0].removesuffix(".test") for token in listed} == set(hosts.split())


def test_sort(run: Run) -> None:
    """Lists are newest first, and in any other order on request."""
    newest = [host for host, _ in hosts_and_ids(run)]
    ending = printed_lines(run("list", "--json", "--sort", "expires_at"))

    assert [row.split("\t")[3] for row in run("list", "--sort", "created_at").stdout.splitlines()] == newest[
        ::-1
    ]
    ends = [token["expires_at"] or "9" for token in ending]
    assert ends == sorted(ends)
    assert len(ends) == len(newest)


def test_columns(run: Run) -> None:
    """Elsewhere than on a terminal a row has six columns separated by tabs, in full."""
    rows = [row.split("\t") for row in run("list").stdout.splitlines()]

    assert {len(row) for row in rows} == {6}
    (week,) = printed_lines(run("list", "--host", "week.test", "--json"))
    assert [week["id"], "expiring", week["expires_at"], "week.test", "Ops@example.com", ""] in rows


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("--status gone", Code.USAGE, "'not_yet_valid', 'disabled', 'ended'"),
        ("--sort name", Code.USAGE, "'-created_at'"),
        ("--expiring 3d --within 3d", Code.USAGE, "--expiring goes with no other --status"),
        ("--expiring --status disabled", Code.USAGE, "--expiring goes with no other --status"),
        ("--status ended --email x", Code.USAGE, "--status ended goes with --query or with --host alone"),
        (
            "--status ended --sort created_at",
            Code.USAGE,
            "--status ended goes with --query or with --host alone",
        ),
        ("--status expiring --within soon", Code.REFUSED, "within: a duration such as 30d"),
        ("--unused 1y", Code.REFUSED, "unused: a duration such as 30d"),
        ("--status ended --query x --host x", Code.USAGE, "with --query or with --host alone"),
        ("--host https://a.test", Code.REFUSED, "write the host alone"),
        ("--query acl_x", Code.REFUSED, "may be a token"),
    ],
)
def test_filters_that_are_refused(run: Run, options: str, code: Code, said: str) -> None:
    """A bad filter is refused with what it takes."""
    result = run("list", *options.split())

    assert (result.exit_code, said in result.stderr, result.stdout) == (code, True, ""), result.stderr
