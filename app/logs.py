"""The formats of the log: text for people, JSON for programs."""

from __future__ import annotations

import json
import logging
import logging.config
from datetime import UTC, datetime
from textwrap import indent
from types import TracebackType
from typing import Any

import gevent
from gunicorn.config import Config
from gunicorn.glogging import Logger

from app.core.text import visible
from app.repeats import fields_of, sums_of
from app.version import NAME, VERSION

_MAX_FIELD = 80
_MAX_MESSAGE = 1_000
_MAX_TRACEBACK = 4_000

_Error = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def _message(record: logging.LogRecord) -> str:
    return visible(record.getMessage()[:_MAX_MESSAGE])


class _Formatter(logging.Formatter):
    def formatException(self, ei: _Error) -> str:  # noqa: N802 - logging's name
        """Return the end of the traceback."""
        lines = super().formatException(ei)[-_MAX_TRACEBACK:].split("\n")
        return "\n".join(map(visible, lines))


class TextFormatter(_Formatter):
    """Formats a record as one line, with the traceback of an exception below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return *record* as a line."""
        record.message = " ".join([_message(record), *(f"{name}={n}" for name, n in sums_of(record).items())])
        return super().formatMessage(record)

    def formatException(self, ei: _Error) -> str:  # noqa: N802 - logging's name
        """Return the traceback, indented so that none of its lines looks like one of the log."""
        return indent(super().formatException(ei), "  ")


class JsonFormatter(_Formatter):
    """Formats a record as JSON: time (UTC, RFC 3339), level, logger, message, named arguments, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as JSON."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": f"{moment:%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **{name: _value(value) for name, value in fields_of(record).items()},
            **sums_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _value(value: object) -> object:
    return value if value is None or isinstance(value, int | float) else visible(str(value)[:_MAX_FIELD])


def gunicorn_logger(form: str) -> type[Logger]:
    """Return gunicorn's logger class with our handlers; its access log is off, at no cost, by default.

    gunicorn creates it before it logs anything, so that the version is the first line of the log.
    """

    class Configured(Logger):
        def __init__(self, cfg: Config) -> None:
            super().__init__(cfg)
            logging.getLogger("app").info("%s %s", NAME, VERSION)

        def setup(self, cfg: Config) -> None:
            logging.config.dictConfig(config(cfg.loglevel, form))
            logging.captureWarnings(capture=True)
            vars(gevent.get_hub())["print_exception"] = _log_greenlet

    return Configured


def _log_greenlet(_: object, *error: Any) -> None:
    """Log the exception that ended a greenlet, which gevent would print."""
    logging.getLogger("gevent").error("a greenlet failed", exc_info=error)


def config(level: str, form: str) -> dict[str, Any]:
    """Return the ``logging.config`` dictionary for the app and gunicorn alike; everything goes to stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {
                "()": "app.logs.TextFormatter",
                "fmt": "%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s",
            },
            "json": {"()": "app.logs.JsonFormatter"},
        },
        "handlers": {"stderr": {"class": "app.repeats.Handler", "formatter": form}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {"level": level.upper(), "handlers": [], "propagate": True},
            "gunicorn.access": {"level": "INFO", "handlers": [], "propagate": True},
        },
    }
