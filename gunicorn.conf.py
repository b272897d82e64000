"""gunicorn -c gunicorn.conf.py wsgi:app — every line with its reason."""

from gevent import monkey

# Before anything imports redis: what it copies from `time` and `socket` must be gevent's.
monkey.patch_all()

import os
import sys
from itertools import count
from pathlib import Path
from typing import Any

from app import listening, logs, settings, tally
from app.worker.heads import MAX_FIELDS, MAX_HEAD_BYTES

_settings = settings.load()  # in the master too, so that a bad setting stops the start

wsgi_app = "wsgi:app"
bind = _settings.bind.split(",")
workers = _settings.web_concurrency
_worker = "express.ExpressWorker" if _settings.express_lane else "draining.DrainingWorker"
worker_class = f"app.worker.{_worker}"
worker_connections = 1000

# Else it is another one as soon as gunicorn_h1c is installed; limits and express lane count on this one.
http_parser = "python"

# Headers alone may not move a request to another path, whoever sends them.
forwarder_headers = ""
header_map = "drop"
forwarded_allow_ips = "127.0.0.1"
# No answer depends on the scheme, and two headers that disagree on it would be refused.
secure_scheme_headers: dict[str, str] = {}
# gunicorn reads it with each request, and would answer 500 to every path that does not begin with it.
os.environ.pop("SCRIPT_NAME", None)

# The heartbeat file: on a disk, a slow write would look like a hung worker.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
# It can stop the server, and would need a writable home.
control_socket_disable = True

# Traefik keeps two idle connections; this outlives the pauses between requests and ends half-sent heads.
keepalive = 20
# Five seconds for the body of a form and two for Redis; below the ten that Docker waits before it kills.
graceful_timeout = 7
timeout = 30

# Proxies hand on what clients send, long addresses and cookies among it. What a head may hold in all, and
# what all unfinished heads may hold together, is bounded in app/worker/heads.py.
limit_request_line = 0
limit_request_fields = MAX_FIELDS
limit_request_field_size = MAX_HEAD_BYTES

loglevel = _settings.log_level
logger_class = logs.gunicorn_logger(_settings.log_format)


def on_starting(server: Any) -> None:
    """End with one message where gunicorn could not listen, unless sockets are inherited or shared."""
    if not ({"GUNICORN_FD", "LISTEN_FDS"} & os.environ.keys() or server.cfg.reuse_port):
        problems = [("BIND", said) for said in map(listening.problem, server.cfg.address) if said]
        if problems:
            sys.exit(str(settings.InvalidSettingsError(*problems)))


def pre_request(_: Any, __: Any) -> None:
    """Log no address, as gunicorn would for debugging: somebody may have put a token into it."""


def pre_fork(server: Any, worker: Any) -> None:
    """Give a worker a row of the tally that no other one writes to."""
    taken = {other.row for other in server.WORKERS.values()}
    worker.row = next(row for row in count() if row not in taken)


def post_fork(_: Any, worker: Any) -> None:
    """Let it write there."""
    tally.SHARED.write_to(worker.row)
