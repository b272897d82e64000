"""Changes of tokens by command: several at once, durations, exit codes, and what is printed."""

from __future__ import annotations

import json

import pytest
import redis

from app import create_app
from app.cli.complaints import Code
from app.core import moments
from app.core.durability import WARNINGS, Durability
from app.store.tokens import RedisTokens
from devkit.builders import make_settings
from devkit.commands import Run, created, printed_lines, runner_on
from devkit.ports import free_port
from devkit.redis_server import RedisServer

DAY = 86_400
VERBS = ("show", "edit", "extend", "disable", "enable", "rotate", "delete")
MORE = {"edit": ["--comment", "x"], "extend": ["--by", "1d"]}


@pytest.fixture
def run(redis_server: RedisServer) -> Run:
    """Return a function that runs a command on an empty database."""
    return runner_on(redis_server)


@pytest.mark.parametrize("verb", VERBS)
def test_several(run: Run, verb: str) -> None:
    """Every token is tried; the missing ones are named by their place, and the exit code tells."""
    first, last = (created(run, "a.example", "--ttl", "1d")["id"] for _ in range(2))
    more = MORE.get(verb, [])
    mixed = run(verb, "missing", first, "missing", last, *more)
    assert mixed.exit_code == Code.NO_SUCH_TOKEN
    for number in (1, 3):
        assert f"Error: token missing ({number} of 4): no token has that id" in mixed.stderr
    assert mixed.stderr.endswith(f"\nDone: {first}, {last}.\n") is (verb != "show")
    assert len(mixed.stdout.splitlines()) >= 2

    again, code = run(verb, first, last, *more), Code.NO_SUCH_TOKEN if verb == "delete" else Code.DONE
    assert again.exit_code == code, again.output


def test_several_kinds_of_failures(run: Run) -> None:
    """Failures of several kinds exit with the code for a refusal, and one failure with its own."""
    name = created(run, "a.example")["id"]
    run("disable", name)

    assert run("rotate", name).exit_code == Code.CONFLICT
    mixed = run("rotate", name, "missing")
    assert (mixed.exit_code, mixed.stdout) == (Code.REFUSED, "")
    assert f"Error: token {name}: this token is disabled" in mixed.stderr
    assert mixed.stderr.endswith("\nDone: none.\n")


def test_names_as_they_were_typed(run: Run) -> None:
    """A token is named as it was typed, unless that may be a secret, and by its id if it was not typed."""
    token, other = created(run, "a.example"), created(run, "a.example")
    mixed = run("extend", token["sha256"], "acl_" + "x" * 38, "-", "--by", "1d", input=other["token"])

    assert f"Error: token {token['sha256']}: this token has no end, so there" in mixed.stderr
    assert "Error: token 2 of 3: no token has that id" in mixed.stderr
    assert f"Error: token {other['id']}: this token has no end" in mixed.stderr
    assert "xxx" not in mixed.stderr
    assert other["token"] not in mixed.stderr


def test_one_token_named_twice(run: Run) -> None:
    """A token that is named twice, by its id and by its SHA-256, is changed once."""
    token = created(run, "a.example")
    deleted = run("delete", token["id"], token["sha256"])

    assert (deleted.exit_code, deleted.stdout) == (0, f"deleted {token['id']}\n")


def test_two_tokens_from_standard_input(run: Run) -> None:
    """Only one token can be read from standard input."""
    token = created(run, "a.example")
    result = run("show", "-", "-", input=token["token"])

    assert result.exit_code == Code.REFUSED
    assert "only one token can be read from standard input" in result.stderr


def test_warning_once(run: Run) -> None:
    """A command that changes several tokens warns once that a crash may undo the changes."""
    names = [created(run, "a.example")["id"] for _ in range(3)]

    assert run("disable", *names).stderr == f"{WARNINGS[Durability.NO_FILE]}.\n"


@pytest.mark.parametrize("verb", VERBS)
def test_json(run: Run, verb: str) -> None:
    """With --json every command prints one object per token, with moments in the format of RFC 3339."""
    names = [created(run, "a.example", "--ttl", "1d")["id"] for _ in range(2)]
    printed = printed_lines(run(verb, *names, *MORE.get(verb, []), "--json"))

    assert [shown["id"] for shown in printed] == names
    moment = "ended_at" if verb == "delete" else "expires_at"
    assert all(moments.parse(shown[moment]) for shown in printed)
    assert all("durability" in shown for shown in printed) is (verb != "show")


@pytest.mark.parametrize(
    ("options", "ttl_s"),
    [
        (["--ttl", "30d"], 30 * DAY),
        (["--ttl", "1h30m"], 5400),
        (["--ttl", "60"], 60),
        (["--ttl-seconds", "60"], 60),
        (["--ttl", "never"], None),
        (["--ttl", "0"], None),
    ],
)
def test_ttl(redis_server: RedisServer, options: list[str], ttl_s: int | None) -> None:
    """A life can be given as a duration, in seconds, or as never, in a new token and in an edit."""
    run = runner_on(redis_server, TOKEN_TTL_SECONDS=7)
    issued = created(run, "a.example", *options)
    (edited,) = printed_lines(run("edit", created(run, "a.example")["id"], *options, "--json"))

    for token in (issued, edited):
        end = token["expires_at"]
        assert (end is None) is (ttl_s is None)
        if ttl_s is not None:
            assert 0 <= moments.parse(end) - moments.parse(token["created_at"]) - ttl_s < 30


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["create", "a.example", "--ttl", "0d"], "ttl: a token without end is asked for with never"),
        (["create", "a.example", "--ttl", "soon"], "ttl: a duration such as 30d"),
        (["create", "a.example", "--ttl", ""], "ttl: a duration such as 30d"),
        (["create", "a.example", "--ttl", "\x1b[31m"], "ttl: a duration such as 30d"),
        (["create", "a.example", "--ttl", "1d", "--ttl-seconds", "5"], "set this or ttl_seconds, not both"),
        (["create", "a.example", "--ttl", "1000w", "--expires-at", "2030-01-01"], "not both"),
        (["create", "a.example", "--ttl", "9999999999d"], "ttl_seconds: a whole number from 0 to"),
        (["rotate", "ID", "--grace", "8d"], "grace_seconds: a whole number from 0 to 604800"),
        (["rotate", "ID", "--grace", "never"], "grace: a duration such as 30d"),
        (["rotate", "ID", "--grace", "1h", "--grace-seconds", "1"], "set this or grace_seconds, not both"),
        (["extend", "ID", "--by", "1y"], "by: a duration such as 30d"),
        (["extend", "ID", "--by", "36501d"], "within a hundred years"),
        (["extend", "ID", "--to", "soon"], "expires_at: a moment such as"),
    ],
)
def test_durations_that_are_refused(run: Run, args: list[str], said: str) -> None:
    """A bad duration is refused with the option named, and changes nothing."""
    token = created(run, "a.example", "--ttl", "1d")
    result = run(*(token["id"] if arg == "ID" else arg for arg in args))

    assert (result.exit_code, said in result.stderr) == (Code.REFUSED, True), result.stderr
    assert result.output.rstrip("\n").isprintable()
    assert [line.split("\t")[0] for line in run("list").stdout.splitlines()] == [token["id"]]


def test_grace(run: Run) -> None:
    """The grace period of a rotation can be given as a duration, and then the old secret is valid."""
    token = created(run, "a.example")
    run("rotate", token["id"], "--grace", "1h")

    assert json.loads(run("show", "-", "--json", input=token["token"]).stdout)["id"] == token["id"]


def test_extend(run: Run) -> None:
    """A token is extended from its end, or to a moment, and never shortened."""
    token = created(run, "a.example", "--ttl", "1d")
    end = moments.parse(token["expires_at"])

    (longer,) = printed_lines(run("extend", token["id"], "--by", "2d", "--json"))
    assert moments.parse(longer["expires_at"]) == end + 2 * DAY
    said = run("extend", token["id"], "--to", "2090-01-01")
    assert (said.exit_code, said.stdout) == (0, f"extended {token['id']}\n")
    sooner = run("extend", token["id"], "--to", "2089-12-31")
    assert (sooner.exit_code, "ends later than that already, on 2090-01-01T00:00:00Z" in sooner.stderr) == (
        Code.CONFLICT,
        True,
    )


def test_extend_without_end(run: Run) -> None:
    """A token that never expires is not given an end by an extension."""
    token = created(run, "a.example")
    for option in (["--by", "1d"], ["--to", "2090-01-01"]):
        result = run("extend", token["id"], *option)
        assert (result.exit_code, "has no end" in result.stderr) == (Code.CONFLICT, True)
    assert json.loads(run("show", token["id"], "--json").stdout)["expires_at"] is None


@pytest.mark.parametrize("options", [[], ["--by", "1d", "--to", "2090-01-01"]])
def test_extend_by_what(run: Run, options: list[str]) -> None:
    """An extension needs a duration or a moment, and takes one of them."""
    result = run("extend", created(run, "a.example")["id"], *options)

    assert (result.exit_code, "one of --by and --to" in result.stderr) == (Code.USAGE, True)


def test_extend_beyond_the_longest_life(redis_server: RedisServer) -> None:
    """MAX_TTL_SECONDS bounds an extension."""
    run = runner_on(redis_server, MAX_TTL_SECONDS=10 * DAY)
    token = created(run, "a.example", "--ttl", "8d")

    assert run("extend", token["id"], "--by", "1d").exit_code == Code.DONE
    beyond = run("extend", token["id"], "--by", "2d")
    assert (beyond.exit_code, "which is MAX_TTL_SECONDS" in beyond.stderr) == (Code.REFUSED, True)


@pytest.mark.parametrize("option", [[], ["-q"], ["--quiet"]])
def test_secret_alone(run: Run, option: list[str]) -> None:
    """Standard output has the secret alone, one for each token of a rotation, quiet or not."""
    name = created(run, "a.example")["id"]
    for result in (run("create", "a.example", *option), run("rotate", name, *option)):
        assert result.stdout.startswith("acl_")
        assert len(result.stdout.splitlines()) == 1


def test_unavailable() -> None:
    """Without Redis each of several tokens is tried, and the exit code tells."""
    runner = create_app(make_settings(REDIS_PORT=free_port())).test_cli_runner()
    result = runner.invoke(args=["tokens", "disable", "ab" * 32, "cd" * 32])

    assert (result.exit_code, result.stderr.count("Redis is unavailable")) == (Code.UNAVAILABLE, 2)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), Code.INTERRUPTED, ""),
        (BrokenPipeError(), Code.CLOSED_PIPE, ""),
        (OSError(28, "No space left on device"), Code.REFUSED, "Error: output: No space left on device\n"),
        (RuntimeError("\x1b[31m"), Code.REFUSED, "a bug, please report it: RuntimeError('\\x1b[31m') at "),
    ],
    ids=["Ctrl-C", "a closed pipe", "a full disk", "a bug"],
)
def test_no_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: Code, said: str
) -> None:
    """Whatever happens, a command prints one line at most, and no traceback."""

    def fail(*_: object, **__: object) -> None:
        raise error

    token = created(run, "a.example")
    monkeypatch.setattr(RedisTokens, "usage", fail)
    result = run("show", token["id"])

    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == bool(said)
    assert result.stderr.rstrip("\n").isprintable()


def test_hostile_usage(run: Run) -> None:
    """A usage error repeats no control character."""
    for args in (
        ["list", "--\x1b[31m"],
        ["\x1b]52;c;aGk=\x07"],
        ["list", "\x9b31m"],
        ["list", "--sort", "\x1b"],
    ):
        result = run(*args)
        assert result.exit_code == Code.USAGE
        assert result.output.replace("\n", "").isprintable()


def test_hostile_end(run: Run, redis_server: RedisServer) -> None:
    """The error for a token that has ended repeats no control character of its hosts."""
    token = created(run, "a.example")
    with redis.Redis(port=redis_server.port) as client:
        client.hset(f"tokens:{token['sha256']}", "hosts", "a.example,\x1b[31m")
    run("delete", token["id"])
    result = run("show", token["id"])

    assert (result.exit_code, r"valid for a.example, \x1b[31m" in result.stderr) == (Code.NO_SUCH_TOKEN, True)
    assert result.stderr.rstrip("\n").isprintable()


def test_unreadable_record(run: Run, redis_server: RedisServer) -> None:
    """A record that can't be read is a conflict for a change."""
    digest = created(run, "a.example")["sha256"]
    with redis.Redis(port=redis_server.port) as client:
        client.delete(f"tokens:{digest}")
        client.rpush(f"tokens:{digest}", "x")

    assert run("disable", digest).exit_code == Code.CONFLICT
    assert "unreadable: " in run("show", digest).stdout


@pytest.mark.parametrize(
    ("variables", "is_colored"),
    [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "0"}, False), ({"TERM": "dumb"}, False)],
)
def test_colors(
    run: Run, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, is_colored: bool
) -> None:
    """Colors are left out if NO_COLOR is set to anything, and on a terminal that knows none."""
    for name, value in ({"NO_COLOR": "", "TERM": "xterm"} | variables).items():
        monkeypatch.setenv(name, value)
    name = created(run, "a.example")["id"]

    assert ("\x1b[32mactive\x1b[0m" in run("show", name, color=True).stdout) is is_colored
    assert "\x1b" not in run("show", name).stdout
