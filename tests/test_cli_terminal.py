"""The commands at a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator

import pytest
from click import unstyle

from app.cli.complaints import Code
from app.cli.tables import width
from devkit.builders import ENVIRON
from devkit.commands import Run, created, runner_on
from devkit.process import OUTSIDE, ROOT
from devkit.redis_server import RedisServer
from devkit.waiting import until

pytestmark = pytest.mark.e2e

FLASK = [sys.executable, "-m", "flask", "--app", "wsgi"]


@pytest.fixture
def run(redis_server: RedisServer) -> Run:
    """Return a function that runs a command on an empty database."""
    return runner_on(redis_server)


@pytest.fixture(name="environ")
def _environ(redis_server: RedisServer) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS"}}
    more = {
        "REDIS_PORT": f"{redis_server.port}",
        "REDIS_DEADLINE_MS": "5000",
        "TERM": "xterm",
        "PYTHONPATH": str(ROOT),
    }
    return kept | ENVIRON | more


@pytest.fixture(name="terminal")
def _terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 70, 0, 0))
    yield ours, theirs
    os.close(ours)


def at(terminal: tuple[int, int], environ: dict[str, str], *args: str, typed: str = "") -> tuple[str, int]:
    """Run a command at *terminal*, where *typed* was typed; return what is shown and the exit code."""
    ours, theirs = terminal
    process = subprocess.Popen(
        [*FLASK, *args], cwd=OUTSIDE, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65_536)
        except OSError:  # the last one that had it open has ended
            return shown.decode().replace("\r\n", "\n"), process.wait()


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}])
def test_table(
    run: Run, environ: dict[str, str], terminal: tuple[int, int], variables: dict[str, str]
) -> None:
    """A table fits the terminal, has colors unless they are not wanted, and shows no control characters."""
    created(run, "a.example", "--comment", "日本語 " * 30)
    run("disable", created(run, "b.example", "--ttl", "2h")["id"])
    shown, code = at(terminal, environ | variables, "tokens", "list")

    plain = unstyle(shown)
    assert code == 0, shown
    assert (shown != plain) is not bool(variables)
    assert all(width(line) <= 70 for line in plain.splitlines())
    assert re.search("ID +STATUS +EXPIRES +LAST USED +HOSTS", plain)
    assert re.search("disabled +in [0-9]+ (min|h) +never +b.examp", plain)
    assert "…" in plain


def test_little_room(run: Run, environ: dict[str, str], terminal: tuple[int, int]) -> None:
    """Columns for which there is no room are named."""
    created(run, "a.example", "--email", "ops@a.example", "--comment", "x" * 50)
    narrow = environ | {"COLUMNS": "60", "NO_COLOR": "1"}
    listed = at(terminal, narrow, "tokens", "list")[0].splitlines()

    assert " ".join(listed[2:]).startswith("No room here for EMAIL, COMMENT; a wider terminal or --json")
    assert all(width(line) <= 60 for line in listed)


def test_audit(run: Run, environ: dict[str, str], terminal: tuple[int, int]) -> None:
    """Entries of the audit log wrap below their first word."""
    created(run, "a.example", "--email", "ops@a.example", "--comment", "a long comment")
    first, *more = at(terminal, environ | {"NO_COLOR": "1"}, "audit")[0].splitlines()

    assert re.match(r"\S+Z  \S+ \(shell\) created token", first)
    assert more
    assert all(re.match(r" {22}\S", line) and width(line) <= 70 for line in more)


def test_export(run: Run, environ: dict[str, str], terminal: tuple[int, int]) -> None:
    """An export at a terminal has no bar between its lines."""
    created(run, "a.example")
    shown, _ = at(terminal, environ, "tokens", "export")

    assert [line[:9] for line in shown.splitlines()] == ['{"format"', '{"kind":"']


def test_deletion(run: Run, environ: dict[str, str], terminal: tuple[int, int]) -> None:
    """At a terminal a deletion asks, and deletes nothing without a yes."""
    name = created(run, "a.example", "--comment", "precious")["id"]
    shown, code = at(terminal, environ, "tokens", "delete", name, typed="n\n")

    assert (code, "precious" in shown, "Delete this token? [y/N]" in shown) == (Code.REFUSED, True, True)
    assert run("delete", name, "--yes").exit_code == 0


def test_new_secret(run: Run, environ: dict[str, str], terminal: tuple[int, int]) -> None:
    """At a terminal a summary follows the secret."""
    shown, code = at(terminal, environ, "tokens", "create", "a.example", "--ttl", "2d")

    assert (code, bool(re.match("acl_[0-9A-Za-z]{38}\nCreated token ", shown))) == (0, True), shown
    assert "it expires in 2 days" in shown
    assert run("list").stdout.startswith(re.findall("Created token ([0-9a-z]{16})", shown)[0])


def test_closed_pipe(run: Run, environ: dict[str, str]) -> None:
    """A reader that has seen enough ends a command quietly."""
    created(run, "a.example")
    reads, writes = os.pipe()
    os.close(reads)
    result = subprocess.run(
        [*FLASK, "tokens", "list"],
        cwd=OUTSIDE,
        env=environ,
        stdout=writes,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writes)

    assert (result.returncode, result.stderr) == (Code.CLOSED_PIPE, b"")


def test_interrupt(environ: dict[str, str]) -> None:
    """Ctrl-C ends a command that waits for its input, without a traceback."""
    command = [*FLASK, "tokens", "show", "-"]
    pipe, usual = subprocess.PIPE, signal.signal(signal.SIGINT, signal.default_int_handler)
    try:  # in the background of a shell, this process ignores SIGINT, and so would the command
        process = subprocess.Popen(command, cwd=OUTSIDE, env=environ, stdin=pipe, stderr=pipe)
    finally:
        signal.signal(signal.SIGINT, usual)
    with process:
        assert process.stdin
        assert process.stderr
        sent = process.stdin.fileno()
        os.write(sent, b"the beginning of a secret")
        until(lambda: not _unread(sent))
        process.send_signal(signal.SIGINT)
        assert (process.stderr.read(), process.wait()) == (b"", Code.INTERRUPTED)


def _unread(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
