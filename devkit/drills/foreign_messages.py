"""`python -m devkit.drills.foreign_messages`: what Python and gevent report beside a worker's own log."""

# ruff: noqa: E402 - patched first of all, as in a worker
from gevent import monkey

monkey.patch_all()

import warnings

from gevent import spawn
from gunicorn.config import Config

from app.logs import gunicorn_logger


def main() -> None:
    """Set up the log, then cause a warning and an unhandled exception in a greenlet."""
    gunicorn_logger("json")(Config())
    warnings.warn("foreign \x1b[31m", stacklevel=1)
    spawn(lambda: 1 / 0).join()


if __name__ == "__main__":
    main()
