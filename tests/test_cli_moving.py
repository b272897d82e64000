"""The commands ``flask tokens export`` and ``flask tokens import``."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import Result
from flask import Flask

from app import create_app
from app.cli.complaints import Code
from app.cli.lines import MAX_LINE_BYTES
from app.core.errors import StoreUnavailableError
from app.core.importer import Importer
from app.store.copy_writer import RedisCopies
from devkit.builders import PEPPER, make_settings
from devkit.redis_server import RedisServer

Run = Callable[..., Result]
KEY, OTHER = "a-key-that-people-already-have", "another-key-that-people-have"


def app_on(server: RedisServer, **variables: Any) -> Flask:
    """Return an app with a deadline that a busy machine meets."""
    return create_app(make_settings(REDIS_PORT=server.port, REDIS_DEADLINE_MS=5000, **variables))


@pytest.fixture
def run(redis_server: RedisServer) -> Run:
    """Return a function that runs a command on an empty database, and checks that it prints no secret."""
    with redis.Redis(port=redis_server.port) as client:
        client.flushall()
    runner = app_on(redis_server).test_cli_runner()

    def invoke(*args: str, **more: Any) -> Result:
        result = runner.invoke(args=["tokens", *args], **more)
        assert not [secret for secret in (KEY, OTHER, PEPPER) if secret in result.output]
        assert not isinstance(result.exception, Exception) or isinstance(result.exception, SystemExit)
        return result

    return invoke


def emptied(server: RedisServer) -> None:
    """Empty the database."""
    with redis.Redis(port=server.port) as client:
        client.flushall()


def exported(run: Run, path: Path, count: int = 3) -> list[str]:
    """Create *count* tokens and export them to *path*; return the lines."""
    for number in range(count):
        run("create", f"{number}.example")
    assert run("export", str(path)).exit_code == 0
    return path.read_text().splitlines(keepends=True)


def test_there_and_back(run: Run, redis_server: RedisServer, tmp_path: Path) -> None:
    """What is exported to a file or to standard output is imported from a file or from standard input."""
    path = tmp_path / "tokens.jsonl"
    lines = exported(run, path)
    listed = run("list", "--json").output
    assert sorted(run("export").stdout.splitlines()[1:]) == sorted(map(str.rstrip, lines[1:]))

    for args, given in (([str(path)], ""), (["-"], path.read_text()), ([], path.read_text())):
        emptied(redis_server)
        done = run("import", *args, input=given)
        assert (done.exit_code, done.stdout) == (0, "")
        assert "tokens imported: 3\n" in done.stderr
        assert run("list", "--json").output == listed


def test_file(run: Run, tmp_path: Path) -> None:
    """An export replaces a file at once with one that only its owner can read, or leaves the old one."""
    path = tmp_path / "tokens.jsonl"
    path.write_text("old")
    path.chmod(0o644)
    exported(run, path, 1)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["tokens.jsonl"]
    assert run("export", str(tmp_path)).exit_code == Code.USAGE
    assert run("export", str(tmp_path / "missing" / "file")).exit_code == Code.REFUSED


def test_export_that_fails(run: Run, redis_server: RedisServer, tmp_path: Path) -> None:
    """An export that Redis interrupts leaves the old file and nothing else."""
    path = tmp_path / "tokens.jsonl"
    exported(run, path, 1)
    before = path.read_bytes()
    failing = app_on(redis_server, PEPPER="another one").test_cli_runner()
    result = failing.invoke(args=["tokens", "export", str(path)])

    assert (result.exit_code, "PEPPER is not the one" in result.stderr) == (Code.UNAVAILABLE, True)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["tokens.jsonl"]


def test_records_that_cannot_be_read(run: Run, redis_server: RedisServer) -> None:
    """A record that can't be read is named and counted; the others are exported."""
    run("create", "a.example")
    with redis.Redis(port=redis_server.port) as client:
        client.set("tokens:" + "ab" * 32, "no hash")
    result = run("export")

    assert (result.exit_code, len(result.stdout.splitlines())) == (Code.REFUSED, 2)
    assert result.stderr == f"not exported: {'ab' * 32}: its key holds no record\n1 not exported\n"


def test_dry_run(run: Run, redis_server: RedisServer, tmp_path: Path) -> None:
    """A dry run says what would happen, and changes nothing."""
    path = tmp_path / "tokens.jsonl"
    exported(run, path)
    emptied(redis_server)
    result = run("import", str(path), "--dry-run")

    assert (result.exit_code, result.stderr) == (
        0,
        "tokens to import: 3\nThis was a dry run; nothing was imported.\n",
    )
    with redis.Redis(port=redis_server.port) as client:
        assert client.dbsize() == 0


def test_broken_lines(run: Run, redis_server: RedisServer, tmp_path: Path) -> None:
    """Lines that are broken are named, and nothing is imported, or all but them with --keep-going."""
    path = tmp_path / "tokens.jsonl"
    first, *lines = exported(run, path, 4)
    emptied(redis_server)
    bad = [b"{\xff}\n", b"a\0b\n", b"x" * (MAX_LINE_BYTES + 5) + b"\n", KEY.encode() + b"\n"]
    whole = [line.encode() for line in lines]
    path.write_bytes(b"".join([first.encode(), whole[0], *bad, whole[1], b"\n", whole[1], *whole[2:]]))
    problems = [
        "line 3: not UTF-8 text",
        "line 4: not a JSON object on one line, with each name once",
        f"line 5: longer than {MAX_LINE_BYTES} bytes",
        "line 6: not a JSON object on one line, with each name once",
        "line 9: id: the same as in line 7",
    ]

    refused = run("import", str(path))
    assert (refused.exit_code, refused.stdout) == (Code.REFUSED, "")
    assert refused.stderr.splitlines()[:5] == problems
    assert refused.stderr.endswith("Nothing was imported.\n")
    assert run("list").output == ""
    done = run("import", str(path), "--keep-going")
    assert (done.exit_code, done.stderr.splitlines()[:5]) == (Code.REFUSED, problems)
    assert len(run("list").output.splitlines()) == 4


def test_many_broken_lines(run: Run, tmp_path: Path) -> None:
    """Of many broken lines, the first ones are named and the others counted."""
    path = tmp_path / "tokens.jsonl"
    first, *_ = exported(run, path, 1)
    path.write_text(first + "{}\n" * 50)

    lines = run("import", str(path)).stderr.splitlines()
    assert [line for line in lines if line.startswith("line ")] == lines[:20]
    assert lines[20] == "and 30 more lines"
    assert run("import", str(path), "--keep-going").stderr.count("kind: ") == 50


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: not a JSON object"),
        ("{}\n", "line 1: not the first line of a file that tokens export wrote"),
        ('{"format":"acl-auth-service tokens","version":9}\n', "line 1: version: 1 is all"),
        (
            '{"format":"acl-auth-service tokens","version":1,"peppers":["0123456789abcdef"]}\n',
            "line 1: its tokens were made with another PEPPER",
        ),
        (f"{KEY}\n", "line 1: not a JSON object"),
    ],
)
def test_other_files(run: Run, text: str, said: str) -> None:
    """A file that is no export, or one of another pepper, is refused at its first line, whatever is asked."""
    result = run("import", "--keep-going", input=text)

    assert (result.exit_code, said in result.stderr) == (Code.REFUSED, True), result.stderr
    assert result.stderr.endswith("Nothing was imported.\n")


def test_conflicts(run: Run, tmp_path: Path) -> None:
    """A token that is here and differs has an exit code of its own, and can be left out."""
    path = tmp_path / "tokens.jsonl"
    name = json.loads(exported(run, path, 1)[1])["id"]
    run("edit", name, "--comment", "new")

    refused = run("import", str(path))
    assert refused.exit_code == Code.CONFLICT
    assert f"line 2: sha256: token {name} is here and differs: comment\n" in refused.stderr
    assert "tokens in conflict with what is here: 1" in refused.stderr
    skipped = run("import", str(path), "--skip-existing")
    assert (
        skipped.exit_code,
        "tokens left out, because they differ from what is here: 1" in skipped.stderr,
    ) == (0, True)


def test_tokens_that_appear(
    run: Run, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that somebody creates between the check and the import is kept, and the exit code says so."""
    path = tmp_path / "tokens.jsonl"
    digest = json.loads(exported(run, path, 1)[1])["sha256"]
    emptied(redis_server)
    check = Importer.check

    def check_and_create(*args: Any) -> Any:
        report = check(*args)
        with redis.Redis(port=redis_server.port) as client:
            client.hset(f"tokens:{digest}", "hosts", "b.example")
        return report

    monkeypatch.setattr(Importer, "check", check_and_create)
    result = run("import", str(path))
    assert (result.exit_code, "for 1 line, other tokens" in result.stderr) == (Code.CONFLICT, True)
    assert json.loads(run("list", "--json").output)["hosts"] == ["b.example"]


def test_redis_that_stops(run: Run, redis_server: RedisServer, tmp_path: Path, monkeypatch: Any) -> None:
    """An import that Redis interrupts says how far it came, and its repetition imports the rest."""
    path = tmp_path / "tokens.jsonl"
    exported(run, path, 3)
    emptied(redis_server)
    monkeypatch.setattr("app.core.importer._BATCH", 1)
    write, calls = RedisCopies.write, []

    def write_once(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise StoreUnavailableError("Redis stopped")
        return write(*args, **options)

    monkeypatch.setattr(RedisCopies, "write", write_once)
    result = run("import", str(path))
    assert result.exit_code == Code.UNAVAILABLE
    assert "Redis stopped. 1 line imported. Repeat" in result.stderr
    again = run("import", str(path))
    assert (again.exit_code, len(run("list").output.splitlines())) == (0, 3)


def test_pipe(run: Run, redis_server: RedisServer, tmp_path: Path) -> None:
    """A file that can't be read twice, such as that of a shell's process substitution, is copied first."""
    path = tmp_path / "tokens.jsonl"
    exported(run, path, 1)
    emptied(redis_server)
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(path.read_bytes())
    with os.fdopen(reader):
        assert run("import", f"/dev/fd/{reader}").exit_code == 0


CSV = f'name,key,hosts\nAnn,{KEY},"a.example, *.b.example"\nBob,{OTHER},\n'
PASSWD = f"Ann:{KEY}\nBob:{OTHER}\n"


@pytest.mark.parametrize(
    ("name", "text", "args"),
    [
        ("keys.csv", CSV, []),
        ("keys.CSV", CSV, []),
        ("keys.txt", CSV, ["--format", "csv"]),
        ("-", CSV, ["--format", "csv"]),
        (".htpasswd", PASSWD, []),
        ("-", PASSWD, ["--format", "htpasswd"]),
    ],
)
def test_keys(run: Run, tmp_path: Path, name: str, text: str, args: list[str]) -> None:
    """Existing keys become tokens, which their holders use at once; only ids and names are printed."""
    path = name if name == "-" else str(tmp_path / name)
    if name != "-":
        Path(path).write_text(text)
    options = ["--hosts", "c.example", "--ttl", "30d"]
    result = run("import", path, *args, *options, input=text if name == "-" else None)

    assert result.exit_code == 0, result.output
    ids, names = zip(*(row.split("\t") for row in result.stdout.splitlines()), strict=True)
    assert names == ("Ann", "Bob")
    ann, bob = (json.loads(run("show", "-", "--json", input=key).stdout) for key in (KEY, OTHER))
    assert (ann["id"], bob["id"]) == ids
    assert (ann["comment"], bob["hosts"]) == ("Ann", ["c.example"])
    assert bob["expires_at"]


def test_keys_twice(run: Run, tmp_path: Path) -> None:
    """A key that is in the file twice, or here already, is refused with both lines or with its token."""
    path = tmp_path / "keys.csv"
    path.write_text(f"name,key\nAnn,{KEY}\nBob,{OTHER}\nEve,{KEY}\n")
    twice = run("import", str(path), "--hosts", "a.example")
    assert (twice.exit_code, "line 4: key: the same as in line 2" in twice.stderr) == (Code.REFUSED, True)

    path.write_text(f"name,key\nAnn,{KEY}\n")
    assert run("import", str(path), "--hosts", "a.example").exit_code == 0
    token = run("list", "--json").output
    again = run("import", str(path), "--hosts", "b.example")
    assert (again.exit_code, "line 2: key: another token, " in again.stderr) == (Code.CONFLICT, True)
    assert json.loads(token)["id"] in again.stderr
    assert run("import", str(path), "--hosts", "b.example", "--skip-existing").exit_code == 0
    assert run("list", "--json").output == token


def test_key_under_the_previous_pepper(run: Run, redis_server: RedisServer, tmp_path: Path) -> None:
    """A key is taken if its token is stored under a previous pepper."""
    path = tmp_path / "htpasswd"
    path.write_text(f"Ann:{KEY}\n")
    run("import", str(path), "--hosts", "a.example")
    later = app_on(redis_server, PEPPER="a new one", PEPPER_PREVIOUS=PEPPER).test_cli_runner()
    result = later.invoke(args=["tokens", "import", str(path), "--hosts", "a.example"])

    assert (result.exit_code, "line 1: key: another token" in result.stderr) == (Code.CONFLICT, True)


@pytest.mark.parametrize(
    ("args", "text", "code"),
    [
        (["--format", "csv"], "key\nshort\n", Code.REFUSED),
        (["--format", "csv", "--weak"], "key\nshort\n", Code.DONE),
        (["--format", "htpasswd"], "ann:$2y$05$abcdefghijklmnopqrstuv\n", Code.REFUSED),
        (["--format", "csv"], f"{KEY}\n", Code.REFUSED),
        (["--format", "csv", "--ttl", "soon"], "key\n", Code.REFUSED),
        ([], "", Code.USAGE),
    ],
)
def test_keys_that_are_refused(run: Run, args: list[str], text: str, code: Code) -> None:
    """Weak keys need --weak, hashes and files without a header are refused, and so are useless options."""
    result = run("import", *args, "--hosts", "a.example", input=text)

    assert (result.exit_code, "short" in result.output) == (code, False), result.output


def test_export_in_json(run: Run, redis_server: RedisServer, tmp_path: Path) -> None:
    """The summary is never in the copy: it goes to standard output only if the copy is a file."""
    path = tmp_path / "tokens.jsonl"
    run("create", "a.example")
    with redis.Redis(port=redis_server.port) as client:
        client.set("tokens:" + "ab" * 32, "no hash")
    summary = {"exported": 1, "problems": [{"sha256": "ab" * 32, "problem": "its key holds no record"}]}
    piped, written = run("export", "--json"), run("export", str(path), "--json")

    assert (piped.exit_code, json.loads(piped.stderr)) == (Code.REFUSED, summary)
    assert (json.loads(written.stdout), written.stderr) == (summary, "")
    assert piped.stdout.splitlines()[1:] == path.read_text().splitlines()[1:]


def test_import_in_json(run: Run, tmp_path: Path) -> None:
    """A program receives one object: what was imported, how many lines have each fate, and every problem."""
    path = tmp_path / "tokens.jsonl"
    name = json.loads(exported(run, path, 1)[1])["id"]
    run("edit", name, "--comment", "new")
    path.write_text(path.read_text() + "{}\n" * 30)
    result = run("import", str(path), "--json")
    shown = json.loads(result.stdout)

    assert (result.exit_code, result.stderr) == (Code.REFUSED, "")
    assert (shown["imported"], shown["durability"], shown["created"]) == (0, None, [])
    assert shown["counts"] == {"lines": {"bad": 30}, "tokens": {"taken": 1}}
    assert [problem["line"] for problem in shown["problems"]] == [*range(2, 33)]
    assert shown["problems"][0]["problem"] == f"sha256: token {name} is here and differs: comment"


def test_import_of_keys_in_json(run: Run, tmp_path: Path) -> None:
    """The ids and names of tokens of existing keys are in the same object."""
    path = tmp_path / "keys.csv"
    path.write_text(CSV)
    shown = json.loads(run("import", str(path), "--hosts", "c.example", "--json").stdout)

    assert [each["name"] for each in shown["created"]] == ["Ann", "Bob"]
    assert shown["counts"] == {"tokens": {"new": 2}}
    assert (shown["imported"], shown["durability"]) == (2, "no_file")
    assert json.loads(run("show", shown["created"][0]["id"], "--json").stdout)["comment"] == "Ann"
    again = json.loads(run("import", str(path), "--hosts", "c.example", "--skip-existing", "--json").stdout)
    assert (again["imported"], again["durability"], again["counts"]) == (0, None, {"tokens": {"taken": 2}})
