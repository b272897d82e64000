"""Log lines."""

from __future__ import annotations

import json
import logging

import pytest

from app.logs import JsonFormatter, Sparse


def test_json_line() -> None:
    """A line is one JSON object, whatever the message holds."""
    record = logging.LogRecord("app", logging.INFO, "", 1, 'a "%s"\n', ("é",), None)
    record.created, record.msecs = 1_795_492_982.25, 250.0

    assert json.loads(JsonFormatter().format(record)) == {
        "time": "2026-11-24T04:03:02.250Z",
        "level": "info",
        "logger": "app",
        "message": 'a "é"\n',
    }


def test_json_exception() -> None:
    """A traceback stays on the line of its message."""
    error = ValueError("x")
    record = logging.LogRecord("app", logging.ERROR, "", 1, "m", (), (ValueError, error, None))

    assert json.loads(JsonFormatter().format(record))["exception"] == "ValueError: x"


def test_sparse(caplog: pytest.LogCaptureFixture) -> None:
    """An error that keeps coming is said once a period, with the count of what was left out."""
    never, always = Sparse(logging.getLogger("a"), period_s=3600), Sparse(logging.getLogger("b"), period_s=0)
    for _ in range(3):
        never.error("down: %s", "x")
    always._left_out = 2
    always.error("up: %s", "y")

    assert caplog.messages == ["down: x", "up: y (and 2 more since the last line)"]
