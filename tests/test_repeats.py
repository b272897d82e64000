"""Summing up repeated log lines."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from collections.abc import Iterator
from itertools import count

import gevent
import pytest

from app import repeats
from app.logs import JsonFormatter
from app.repeats import MAX_COUNTED, MAX_KINDS, MAX_OF_KIND, MAX_OF_SOURCE, Handler

REFUSED = "refused verdict=%(verdict)s token=%(token)s host=%(host).80r client=%(client)s"
Line = dict[str, object]


class Log:
    """A logger whose lines are kept as JSON."""

    def __init__(self) -> None:
        self.handler = Handler()
        self._stream = io.StringIO()
        self.handler.setStream(self._stream)
        self.handler.setFormatter(JsonFormatter())
        self.log = self.logger("app.test")

    def logger(self, name: str) -> logging.Logger:
        """Return a logger that writes only here."""
        logger = logging.Logger(name)  # noqa: LOG001 - a global one would outlive the test
        logger.addHandler(self.handler)
        return logger

    def refuse(self, **fields: str) -> None:
        """Log a refusal."""
        self.log.info(
            REFUSED, {"verdict": "unknown_token", "token": "-", "host": "a", "client": "c"} | fields
        )

    @property
    def text(self) -> str:
        """Return the text that was written."""
        return self._stream.getvalue()

    @property
    def lines(self) -> list[Line]:
        """Return the lines."""
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """Return a logger for one test, whose period does not end by itself."""
    monkeypatch.setattr(repeats, "PERIOD_S", 3_600)
    logger = Log()
    yield logger
    logger.handler.close()


def test_first_lines(log: Log) -> None:
    """The first lines of each source are written immediately, whatever other sources log."""
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


def test_counts_add_up(log: Log) -> None:
    """The lines and the counts of the summaries add up to what was logged."""
    for number in range(1_000):
        log.refuse(client=f"{number % 7}", host=f"{number}")
    log.handler.settle()

    *_, last = log.lines
    assert sum(line.get("count", 1) for line in log.lines) == 1_000  # type: ignore[misc]
    assert (last["clients"], last["hosts"], last["tokens"], last["host"]) == (7, MAX_COUNTED, 1, "999")
    assert last["count"] == 1_000 - MAX_OF_KIND


def test_single_held_line(log: Log) -> None:
    """If only one line was held, it is written unchanged, with its traceback."""
    for number in range(MAX_OF_SOURCE + 1):
        log.log.error("failed", exc_info=ValueError(number))
    log.handler.settle()

    assert "count" not in log.lines[-1]
    assert f"ValueError: {MAX_OF_SOURCE}" in str(log.lines[-1]["exception"])


def test_end_of_the_flood(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary is written even if no further line follows."""
    monkeypatch.setattr(repeats, "PERIOD_S", 0.05)
    for _ in range(50):
        log.refuse()
    deadline = time.monotonic() + 20
    while "count" not in log.lines[-1]:
        assert time.monotonic() < deadline
        gevent.sleep(0.01)

    assert log.lines[-1]["count"] == 50 - MAX_OF_SOURCE


def test_end_of_the_process(log: Log) -> None:
    """A process that exits writes the lines it held."""
    for _ in range(50):
        log.refuse()
    log.handler.close()

    assert log.lines[-1]["count"] == 50 - MAX_OF_SOURCE


def test_fork(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process does not write the lines that its parent held before the fork."""
    for _ in range(50):
        log.refuse()
    monkeypatch.setattr("os.getpid", lambda: -1)
    log.handler.settle()

    assert len(log.lines) == MAX_OF_SOURCE


def test_bounded(log: Log) -> None:
    """Lines, bytes and memory of one period are limited, and every logged line is still counted."""
    long = "\U000e0041" * 10_000
    for number in range(1_000):
        log.refuse(verdict=f"{number % 97}", client=f"{number}{long}", host=f"{number}{long}", token=long)
        log.log.warning(f"foreign {number} {long}")  # noqa: G004 - as gunicorn does
    log.handler.settle()

    assert len(log.handler._kinds) == 0
    assert len(log.lines) <= (MAX_KINDS + 1) * (MAX_OF_KIND + 1)
    assert max(map(len, log.text.splitlines())) < 20_000
    assert sum(line.get("count", 1) for line in log.lines) == 2_000  # type: ignore[misc]


def test_requested_lines(log: Log) -> None:
    """Debug lines and access-log lines are always written."""
    access = log.logger("gunicorn.access")
    for _ in range(50):
        log.log.debug("x")
        access.info("x")

    assert len(log.lines) == 100


def test_rare_lines(log: Log) -> None:
    """Different lines, such as those of a server's life cycle, are not held."""
    numbers = count()
    for word in ("starting %d", "worker %d", "signal %s", "stopping %d"):
        for _ in range(MAX_OF_KIND):
            log.log.info(word, next(numbers))

    assert len(log.lines) == 4 * MAX_OF_KIND


def test_failing_line(log: Log, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that can't be written raises no error."""
    monkeypatch.setattr(Handler, "_is_due", lambda *_: 1 / 0)
    log.refuse()

    assert "ZeroDivisionError" in capsys.readouterr().err
    assert sys.exc_info() == (None, None, None)
