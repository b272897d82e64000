"""Log formats."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

from gunicorn.glogging import SafeAtoms

from app.logs import JsonFormatter, TextFormatter
from app.version import VERSION
from devkit.process import ROOT


def record(message: str, *args: object, level: int = logging.INFO) -> logging.LogRecord:
    """Return a record of a fixed moment."""
    entry = logging.LogRecord("app", level, "", 1, message, args, None)
    entry.created, entry.msecs = 1_795_492_982.25, 250.0
    return entry


def test_json_line() -> None:
    """A log line is one JSON object, whatever the message contains."""
    assert json.loads(JsonFormatter().format(record('a "%s"\n', "é"))) == {
        "time": "2026-11-24T04:03:02.250Z",
        "level": "info",
        "logger": "app",
        "message": 'a "é"\\n',
    }


def test_json_fields() -> None:
    """Values passed with a message are separate fields, shortened and without control characters."""
    fields = {"verdict": "wrong_host", "host": "\x1b\u202e" + "a" * 99, "token": None, "wait_s": 3}
    line = json.loads(JsonFormatter().format(record("x %(host)s", fields)))

    assert (line["verdict"], line["token"], line["wait_s"]) == ("wrong_host", None, 3)
    assert line["host"] == r"\x1b\u202e" + "a" * 78


def test_access_log_has_no_headers() -> None:
    """The JSON log omits gunicorn's access-log atoms, which include credentials."""
    entry = record("%(h)s", SafeAtoms({"h": "x", "{authorization}i": "Bearer secret"}))

    assert "secret" not in JsonFormatter().format(entry)


def test_exception() -> None:
    """A traceback can't be mistaken for other log lines."""
    error = ValueError("x\x1b\n2026-11-24 [1] INFO forged")
    entry = record("m", level=logging.ERROR)
    entry.exc_info = (ValueError, error, None)

    assert json.loads(JsonFormatter().format(entry))["exception"].splitlines()[0] == r"ValueError: x\x1b"
    first, *others = TextFormatter("%(levelname)s: %(message)s").format(entry).splitlines()
    assert first == "ERROR: m"
    assert all(line.startswith("  ") for line in others)


def test_text_line() -> None:
    """A message is one line of limited length, without control characters."""
    line = TextFormatter("%(message)s").format(record("a=%s", "\n\x1b]52;\x9b\u202e" + "x" * 9999))

    assert line.startswith(r"a=\n\x1b]52;\x9b\u202exxx")
    assert len(line) < 1_100


def test_output_of_other_code() -> None:
    """What Python and gevent would print to standard error is logged instead."""
    argv = [sys.executable, "-m", "devkit.drills.foreign_messages"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, check=True, timeout=60)
    version, warning, failure = map(json.loads, done.stderr.splitlines())
    assert version["message"] == f"acl-auth-service {VERSION}"

    assert (warning["logger"], failure["logger"]) == ("py.warnings", "gevent")
    assert "ZeroDivisionError" in failure["exception"]
    assert warning["message"].isprintable()
