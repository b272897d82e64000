"""Log lines for people or for machines."""

from __future__ import annotations

import json
import logging
import logging.config
import time
from datetime import UTC, datetime
from typing import Any

from gunicorn.config import Config
from gunicorn.glogging import Logger


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC, RFC 3339), level, logger, message and, if any, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as JSON."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": f"{moment:%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class Sparse:
    """Logs an error that may come a thousand times a second once per period, and how often it came."""

    def __init__(self, log: logging.Logger, period_s: float) -> None:
        self._log = log
        self._period_s = period_s
        self._last = float("-inf")
        self._left_out = 0

    def error(self, message: str, *args: object, exc_info: bool = False) -> None:
        """Log unless the period is not over."""
        now = time.monotonic()
        if now - self._last < self._period_s:
            self._left_out += 1
            return
        if self._left_out:
            message, args = f"{message} (and %d more since the last line)", (*args, self._left_out)
        self._log.error(message, *args, exc_info=exc_info)
        self._last, self._left_out = now, 0


def gunicorn_logger(form: str) -> type[Logger]:
    """Return gunicorn's logger with our handlers; its access log is off, and free, until asked for."""

    class Configured(Logger):
        def setup(self, cfg: Config) -> None:
            logging.config.dictConfig(config(cfg.loglevel, form))

    return Configured


def config(level: str, form: str) -> dict[str, Any]:
    """Return the ``logging.config`` dictionary for the app and gunicorn alike; everything goes to stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {"format": "%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s"},
            "json": {"()": "app.logs.JsonFormatter"},
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": form}},
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {"level": level.upper(), "handlers": [], "propagate": True},
            "gunicorn.access": {"level": "INFO", "handlers": [], "propagate": True},
        },
    }
