"""Log lines."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count

import gevent
import pytest
from gunicorn.glogging import SafeAtoms

from app import logs
from app.logs import MAX_COUNTED, MAX_KINDS, MAX_OF_KIND, MAX_OF_SOURCE, Handler, JsonFormatter, TextFormatter

REFUSED = "refused verdict=%(verdict)s token=%(token)s host=%(host).80r client=%(client)s"
Line = dict[str, object]


class Log:
    """A logger whose lines are kept, as JSON."""

    def __init__(self) -> None:
        self.handler = Handler()
        self._stream = io.StringIO()
        self.handler.setStream(self._stream)
        self.handler.setFormatter(JsonFormatter())
        self.log = self.logger("app.test")

    def logger(self, name: str) -> logging.Logger:
        """Return a logger that writes here and nowhere else."""
        made = logging.Logger(name)  # noqa: LOG001 - a global one would outlive the test
        made.addHandler(self.handler)
        return made

    def refuse(self, **fields: str) -> None:
        """Log a refusal."""
        self.log.info(
            REFUSED, {"verdict": "unknown_token", "token": "-", "host": "a", "client": "c"} | fields
        )

    @property
    def text(self) -> str:
        """Return what was written."""
        return self._stream.getvalue()

    @property
    def lines(self) -> list[Line]:
        """Return the lines."""
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """Return a logger of the test's own, whose period does not end by itself."""
    monkeypatch.setattr(logs, "PERIOD_S", 3_600)
    made = Log()
    yield made
    made.handler.close()


def record(message: str, *args: object, level: int = logging.INFO) -> logging.LogRecord:
    """Return a record of a fixed moment."""
    made = logging.LogRecord("app", level, "", 1, message, args, None)
    made.created, made.msecs = 1_795_492_982.25, 250.0
    return made


def test_json_line() -> None:
    """A line is one JSON object, whatever the message holds."""
    assert json.loads(JsonFormatter().format(record('a "%s"\n', "é"))) == {
        "time": "2026-11-24T04:03:02.250Z",
        "level": "info",
        "logger": "app",
        "message": 'a "é"\\n',
    }


def test_json_fields() -> None:
    """What a line names is a field of its own, short and without control characters."""
    fields = {"verdict": "wrong_host", "host": "\x1b\u202e" + "a" * 99, "token": None, "wait_s": 3}
    line = json.loads(JsonFormatter().format(record("x %(host)s", fields)))

    assert (line["verdict"], line["token"], line["wait_s"]) == ("wrong_host", None, 3)
    assert line["host"] == r"\x1b\u202e" + "a" * 78


def test_access_log_names_no_header() -> None:
    """The fields of gunicorn's access log, credentials among them, stay out."""
    made = record("%(h)s", SafeAtoms({"h": "x", "{authorization}i": "Bearer secret"}))

    assert "secret" not in JsonFormatter().format(made)


def test_exception() -> None:
    """A traceback stays on the line of its message, or cannot be taken for other lines."""
    error = ValueError("x\x1b\n2026-11-24 [1] INFO forged")
    made = record("m", level=logging.ERROR)
    made.exc_info = (ValueError, error, None)

    assert json.loads(JsonFormatter().format(made))["exception"].splitlines()[0] == r"ValueError: x\x1b"
    first, *others = TextFormatter("%(levelname)s: %(message)s").format(made).splitlines()
    assert first == "ERROR: m"
    assert all(line.startswith("  ") for line in others)


def test_text_line() -> None:
    """A message is one line, without control characters, and no longer than is useful."""
    line = TextFormatter("%(message)s").format(record("a=%s", "\n\x1b]52;\x9b\u202e" + "x" * 9999))

    assert line.startswith(r"a=\n\x1b]52;\x9b\u202exxx")
    assert len(line) < 1_100


def test_first_ones(log: Log) -> None:
    """The first of a source are written at once, whatever another source sends."""
    for _ in range(50):
        log.refuse(client="flooder")
    log.refuse(client="somebody", token="id")
    log.refuse(client="flooder", verdict="wrong_host")

    lines = [(line["client"], line["verdict"], line["token"]) for line in log.lines]
    assert lines[:MAX_OF_SOURCE] == [("flooder", "unknown_token", "-")] * MAX_OF_SOURCE
    assert lines[MAX_OF_SOURCE:] == [
        ("somebody", "unknown_token", "id"),
        ("flooder", "wrong_host", "-"),
    ]


def test_sum(log: Log) -> None:
    """Nothing is lost: the lines, and those that stand for several, are as many as were logged."""
    for number in range(1_000):
        log.refuse(client=f"{number % 7}", host=f"{number}")
    log.handler.settle()

    *_, last = log.lines
    assert sum(line.get("count", 1) for line in log.lines) == 1_000  # type: ignore[misc]
    assert (last["clients"], last["hosts"], last["tokens"], last["host"]) == (7, MAX_COUNTED, 1, "999")
    assert last["count"] == 1_000 - MAX_OF_KIND


def test_one_alone(log: Log) -> None:
    """A single one that was held is written as it is, with its traceback."""
    for number in range(MAX_OF_SOURCE + 1):
        log.log.error("failed", exc_info=ValueError(number))
    log.handler.settle()

    assert "count" not in log.lines[-1]
    assert f"ValueError: {MAX_OF_SOURCE}" in str(log.lines[-1]["exception"])


def test_end_of_the_flood(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing more comes, the sum is written all the same."""
    monkeypatch.setattr(logs, "PERIOD_S", 0.05)
    for _ in range(50):
        log.refuse()
    deadline = time.monotonic() + 20
    while "count" not in log.lines[-1]:
        assert time.monotonic() < deadline
        gevent.sleep(0.01)

    assert log.lines[-1]["count"] == 50 - MAX_OF_SOURCE


def test_end_of_the_process(log: Log) -> None:
    """A process that ends writes what it held."""
    for _ in range(50):
        log.refuse()
    log.handler.close()

    assert log.lines[-1]["count"] == 50 - MAX_OF_SOURCE


def test_fork(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process held before it forked is not written by both."""
    for _ in range(50):
        log.refuse()
    monkeypatch.setattr("os.getpid", lambda: -1)
    log.handler.settle()

    assert len(log.lines) == MAX_OF_SOURCE


def test_bounded(log: Log) -> None:
    """Whatever is sent, a period has so many lines and bytes, and little is kept."""
    long = "\U000e0041" * 10_000
    for number in range(20_000):
        log.refuse(verdict=f"{number % 97}", client=f"{number}{long}", host=f"{number}{long}", token=long)
        log.log.warning(f"foreign {number} {long}")  # noqa: G004 - as gunicorn does
    log.handler.settle()

    assert len(log.handler._kinds) == 0
    assert len(log.lines) <= (MAX_KINDS + 1) * (MAX_OF_KIND + 1)
    assert max(map(len, log.text.splitlines())) < 20_000
    assert sum(line.get("count", 1) for line in log.lines) == 40_000  # type: ignore[misc]


def test_what_was_asked_for(log: Log) -> None:
    """Lines for debugging and of an access log are all written."""
    access = log.logger("gunicorn.access")
    for _ in range(50):
        log.log.debug("x")
        access.info("x")

    assert len(log.lines) == 100


def test_rare_lines(log: Log) -> None:
    """Different lines, as a server writes in its life, are not held."""
    numbers = count()
    for word in ("starting %d", "worker %d", "signal %s", "stopping %d"):
        for _ in range(MAX_OF_KIND):
            log.log.info(word, next(numbers))

    assert len(log.lines) == 4 * MAX_OF_KIND


def test_failing_line(log: Log, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that can't be written raises nothing."""
    monkeypatch.setattr(Handler, "_is_due", lambda *_: 1 / 0)
    log.refuse()

    assert "ZeroDivisionError" in capsys.readouterr().err
    assert sys.exc_info() == (None, None, None)


BESIDE = """
import warnings
from gevent import monkey, spawn
monkey.patch_all()
from gunicorn.config import Config
from app.logs import gunicorn_logger
gunicorn_logger("json")(Config())
warnings.warn("foreign \\x1b[31m")
spawn(lambda: 1 / 0).join()
"""


def test_beside_the_log() -> None:
    """What Python and gevent would print is a line as well."""
    done = subprocess.run([sys.executable, "-c", BESIDE], capture_output=True, check=True, timeout=60)
    warning, failure = map(json.loads, done.stderr.splitlines())

    assert (warning["logger"], failure["logger"]) == ("py.warnings", "gevent")
    assert "ZeroDivisionError" in failure["exception"]
    assert warning["message"].isprintable()
