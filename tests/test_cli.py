"""The commands ``flask tokens …``."""

from __future__ import annotations

import json
import re
from hashlib import sha256

import pytest
import redis

from app import create_app
from app.cli.complaints import Code
from app.core.durability import WARNINGS, Durability
from app.core.logins import WRONG_PER_CLIENT
from app.version import VERSION
from devkit.builders import PEPPER, make_settings
from devkit.commands import Run, app_on, created, runner_on
from devkit.ports import free_port
from devkit.redis_server import RedisServer, shipped_redis, valkey_binary

CHANGES = {
    "create": ["create", "a.example"],
    "edit": ["edit", "ID", "--comment", "x"],
    "disable": ["disable", "ID"],
    "enable": ["enable", "ID"],
    "rotate": ["rotate", "ID"],
    "delete": ["delete", "ID"],
}


@pytest.fixture
def run(redis_server: RedisServer) -> Run:
    """Return a function that runs a command on an empty database."""
    return runner_on(redis_server)


@pytest.mark.parametrize("group", ["tokens", "logins"])
def test_version(redis_server: RedisServer, group: str) -> None:
    """Each group of commands prints the version of the service."""
    printed = app_on(redis_server).test_cli_runner().invoke(args=[group, "--version"])

    assert (printed.exit_code, printed.output) == (0, f"acl-auth-service {VERSION}\n")


def test_create(run: Run) -> None:
    """Only the new secret is written to standard output, so that a script can read it."""
    assert re.fullmatch("acl_[A-Za-z0-9]{38}\n", run("create", "a.example").stdout)


EXISTING = "a-key-that-people-already-have"


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_create_with_an_existing_secret(run: Run, end: str) -> None:
    """The secret on standard input, without the line end of an editor, becomes that of the token."""
    result = run("create", "a.example", "--secret", "-", input=EXISTING + end)

    assert (result.exit_code, result.stdout) == (0, f"{EXISTING}\n")
    assert json.loads(run("show", "--json", "-", input=EXISTING).stdout)["hosts"] == ["a.example"]


@pytest.mark.parametrize(
    ("args", "typed", "said"),
    [
        (["--secret", EXISTING], EXISTING, "takes only -"),
        (["--secret", ""], EXISTING, "takes only -"),
        (["--secret", "-"], "short", "at least 20 characters"),
        (["--secret", "-"], "", "1 to 512 characters"),
        (["--secret", "-", "--weak"], "two words", "1 to 512 characters"),
        (["--secret", "-"], EXISTING + "\n\n", "1 to 512 characters"),
        (["--secret", "-"], b"\xff\xfe" * 20, "not UTF-8 text"),
        (["--secret", "-"], "acl_" + "a" * 38, "begins with acl_"),
    ],
)
def test_existing_secret_that_is_refused(run: Run, args: list[str], typed: str | bytes, said: str) -> None:
    """A secret among the arguments, or one that no token can have, is refused and not repeated."""
    result = run("create", "a.example", *args, input=typed)

    assert result.exit_code
    assert said in result.output
    assert not typed or str(typed).strip() not in result.output
    assert run("list").output == ""


def test_existing_secret_that_is_weak(run: Run) -> None:
    """A short secret is accepted with --weak."""
    assert run("create", "a.example", "--secret", "-", "--weak", input="short").stdout == "short\n"


def test_weak_without_a_secret(run: Run) -> None:
    """Without an existing secret --weak has no meaning, and is refused by name."""
    result = run("create", "a.example", "--weak")

    assert (result.exit_code, "--weak: only with --secret" in result.output) == (2, True)
    assert run("list").output == ""


def test_existing_secret_that_is_taken(run: Run) -> None:
    """A secret opens one token; the other one is not changed."""
    run("create", "a.example", "--secret", "-", input=EXISTING)
    again = run("create", "b.example", "--secret", "-", input=EXISTING)

    assert (again.exit_code, "exists already" in again.output, EXISTING in again.output) == (4, True, False)
    assert json.loads(run("list", "--json").output)["hosts"] == ["a.example"]


def test_life_of_a_token(run: Run) -> None:
    """A token is listed and shown without its secret, and deleted by its id."""
    token = created(run, "a.example", "*.b.example", "--email", "a@b.example", "--ttl-seconds", "60")
    listed, shown = run("list", "--json").output, run("show", "--json", token["id"]).output

    assert json.loads(listed).items() <= json.loads(shown).items()
    assert json.loads(shown).keys() - json.loads(listed).keys() == {"usage", "quota"}
    assert json.loads(shown)["hosts"] == ["a.example", "*.b.example"]
    assert token["token"] not in listed + shown
    assert run("delete", token["id"]).stdout == f"deleted {token['id']}\n"
    assert run("list").output == ""


def test_changes_of_a_token(run: Run) -> None:
    """A token is edited, disabled, enabled and rotated by its id."""
    token = created(run, "a.example", "--comment", "kept")
    more = ["--hosts", "b.example,c.example", "--rate-limit-max", "5"]
    edited = json.loads(run("edit", token["id"], *more, "--json").stdout)

    assert (edited["hosts"], edited["comment"], edited["rate_limit_max"]) == (
        ["b.example", "c.example"],
        "kept",
        5,
    )
    assert run("disable", token["id"]).stdout == f"disabled {token['id']}\n"
    assert "is disabled" in run("rotate", token["id"]).output
    assert run("enable", token["id"]).stdout == f"enabled {token['id']}\n"
    rotated = json.loads(run("rotate", token["id"], "--grace-seconds", "60", "--json").stdout)
    assert rotated["id"] == token["id"]
    assert rotated["token"] != token["token"]


HOSTILE = "\x1b[2J\x1b]52;c;aGk=\x07 \x9b31m\x7f \u202egnp.exe\u2069 a\tb\nc\r\x00 \udc80".encode(
    "utf-8", "surrogateescape"
)


@pytest.mark.parametrize(
    "command",
    [
        *("list", "list --json", "show ID", "show ID --json", "edit ID --rate-limit-max 5"),
        *("edit ID --rate-limit-max 6 --json", "disable ID", "delete ID --json"),
    ],
)
def test_hostile_records(run: Run, redis_server: RedisServer, command: str) -> None:
    """Text that another program wrote to Redis has no control characters and stays on its line."""
    token = created(run, "a.example", "--comment", "kept")
    with redis.Redis(port=redis_server.port) as client:
        (key,) = client.scan_iter("tokens:*")
        client.hset(key, mapping={"comment": HOSTILE, "email": HOSTILE, "hosts": b"a.example," + HOSTILE})
    result = run(*command.replace("ID", token["id"]).split())

    assert result.exit_code == 0
    assert all(line.replace("\t", " ").isprintable() for line in result.output.split("\n"))
    if command == "list":
        (line,) = result.output.splitlines()
        assert (
            r"\x1b[2J\x1b]52;c;aGk=\x07 \x9b31m\x7f \u202egnp.exe\u2069 a\tb\nc\r\x00" in line.split("\t")[5]
        )
    if command == "list --json":
        assert json.loads(result.output)["comment"].startswith("\x1b[2J")


@pytest.mark.parametrize(
    "args",
    [
        ["create", "a\x1b[31m.example"],
        ["create", "a.example", "--comment", "\x1b]52;c;aGk=\x07"],
        ["create", "a.example", "--email", "\u202e\x9b"],
        ["create", "a.example", "--ttl-seconds", "\x1b[31m"],
        ["list", "--host", "\x1b[31m"],
    ],
)
def test_hostile_arguments(run: Run, args: list[str]) -> None:
    """No message repeats a control character from an argument."""
    result = run(*args)

    assert result.exit_code == 1
    assert result.output.rstrip("\n").isprintable()


@pytest.mark.parametrize("verb", ["show", "edit", "disable", "enable", "rotate", "delete"])
def test_token_from_standard_input(run: Run, verb: str) -> None:
    """Every command accepts the secret, id or SHA-256 on standard input."""
    for name in ("token", "id", "sha256"):
        token = created(run, "a.example")
        result = run(verb, "-", input=f"{token[name]}\n")
        assert result.exit_code == 0, result.output
        assert token["token"] not in result.output


@pytest.mark.parametrize("verb", ["show", "edit", "disable", "enable", "rotate", "delete"])
def test_token_as_an_argument(run: Run, redis_server: RedisServer, verb: str) -> None:
    """A secret as an argument, visible to other users, is refused and not repeated, whatever its shape."""
    created(run, "a.example")
    with redis.Redis(port=redis_server.port, decode_responses=True) as client:
        for text in (created(run, "a.example")["token"], "ab" * 32, "0123456789abcdef", "legacy"):
            record = f"tokens:{sha256((text + PEPPER).encode()).hexdigest()}"
            client.hset(record, "hosts", "a.example")
            before = client.hgetall(record)
            result = run(verb, text)
            assert (result.exit_code, client.hgetall(record)) == (3, before)
            assert "tokens show -" in result.output
            assert text not in result.output


@pytest.mark.parametrize("args", CHANGES.values(), ids=CHANGES)
def test_warning_after_a_change(run: Run, args: list[str]) -> None:
    """Without an append-only file every change warns on standard error that a crash may undo it."""
    token = created(run, "a.example")
    result = run(*[token["id"] if arg == "ID" else arg for arg in args])

    assert (result.exit_code, result.stderr) == (0, f"{WARNINGS[Durability.NO_FILE]}.\n")
    assert "append-only" not in result.stdout


ON_DISK = [*shipped_redis(rights=False), "--appendonly", "yes"]
SERVERS = {
    Durability.CONFIRMED: (ON_DISK, []),
    Durability.UNCONFIRMED: ([*ON_DISK, "--appendfsync", "no"], []),
    Durability.NO_FILE: (["--appendonly", "no"], []),
    Durability.UNTOLD: (ON_DISK, ["ACL", "SETUSER", "default", "-waitaof", "-config"]),
}


@pytest.mark.parametrize("durability", Durability)
def test_durability(durability: Durability) -> None:
    """The JSON output has the durability, and standard error a warning unless the change is on disk."""
    options, command = SERVERS[durability]
    with RedisServer(options=options, binary=valkey_binary()) as server:
        if command:
            server.client().execute_command(*command)
        runner = app_on(server).test_cli_runner()
        issued = runner.invoke(args=["tokens", "create", "a.example", "--json"])
        name = json.loads(issued.stdout)["id"]
        edited = runner.invoke(args=["tokens", "edit", name, "--comment", "x", "--json"])
        rotated = runner.invoke(args=["tokens", "rotate", name, "--json"])

    warning = f"{WARNINGS[durability]}.\n" if durability in WARNINGS else ""
    for result in (issued, edited, rotated):
        assert (json.loads(result.stdout)["durability"], result.stderr) == (durability.value, warning)


def test_peppers(run: Run) -> None:
    """Without a previous pepper no token uses one; forgetting one asks for confirmation."""
    assert run("old-peppers").output == "0\n"
    assert run("forget-pepper").exit_code == 1
    assert run("forget-pepper", "--yes").exit_code == 0


def test_list_of_several_pages(run: Run) -> None:
    """The list is complete and newest first, whatever its length."""
    ids = [created(run, "a.example")["id"] for _ in range(60)]

    assert sorted(line.split("\t")[0] for line in run("list").output.splitlines()) == sorted(ids)


def test_list_by_host(run: Run) -> None:
    """A host lists every token that is valid for it; a pattern only tokens that list it."""
    ids = [created(run, "*.b.example")["id"] for _ in range(51)]
    created(run, "a.example")

    listed = run("list", "--host", "x.b.example").output.splitlines()
    assert sorted(line.split("\t")[0] for line in listed) == sorted(ids)
    assert run("list", "--host", "*.a.example").output == ""


@pytest.mark.parametrize(
    ("args", "message", "code"),
    [
        (["create", "https://a.example"], "write the host alone", Code.REFUSED),
        (["create", "a.example", "--ttl-seconds", "-1"], "ttl_seconds: a whole number", Code.REFUSED),
        (["list", "--host", "https://a.example"], "write the host alone", Code.REFUSED),
        (["show", "nothing"], "no token has that id", Code.NO_SUCH_TOKEN),
        (["delete", "nothing"], "no token has that id", Code.NO_SUCH_TOKEN),
    ],
)
def test_mistakes(run: Run, args: list[str], message: str, code: Code) -> None:
    """A mistake prints one line and exits with the code of its kind."""
    result = run(*args)

    assert result.exit_code == code
    assert message in result.output
    assert len(result.output.splitlines()) == 1


def test_redis_down() -> None:
    """Without Redis a command reports it."""
    result = (
        create_app(make_settings(REDIS_PORT=free_port())).test_cli_runner().invoke(args=["tokens", "list"])
    )

    assert result.exit_code == Code.UNAVAILABLE
    assert "Redis is unavailable" in result.output


def test_reset_of_logins(redis_server: RedisServer) -> None:
    """The operator can lift the limits on logins for everyone."""
    app = app_on(redis_server)
    reset = ["logins", "reset"]
    app.test_cli_runner().invoke(args=reset)

    def guess() -> int:
        return app.test_client().get("/", auth=("operator", "wrong")).status_code

    most = WRONG_PER_CLIENT.max_requests
    refused = [guess() for _ in range(most + 1)]
    result = app.test_cli_runner().invoke(args=reset)

    assert (refused[-1], result.output) == (429, f"forgot {most} wrong passwords\n")
    assert guess() == 401
