"""Configure gunicorn: ``gunicorn -c gunicorn.conf.py wsgi:app``."""

from gevent import monkey

# Before redis is imported, because it copies names from `time` and `socket` that gevent must patch first.
monkey.patch_all()

import gc
import os
import sys
from itertools import count
from pathlib import Path
from typing import Any

from app import backends_file, listening, logs, settings, tally, tokens_file
from app.web import compiled
from app.worker.heads import MAX_FIELDS, MAX_HEAD_BYTES

# gunicorn executes this file again on SIGHUP. Only the master reads these; workers inherit what they hold.
backends_file.SHARED.expire()
tokens_file.SHARED.expire()
_settings = settings.load()  # in the master too, so that a bad setting stops the start

if _settings.admin_enabled:
    compiled.compile_all()

wsgi_app = "wsgi:app"
bind = _settings.bind.split(",")
workers = _settings.web_concurrency
_worker = "express.ExpressWorker" if _settings.express_lane else "draining.DrainingWorker"
worker_class = f"app.worker.{_worker}"
worker_connections = listening.WORKER_CONNECTIONS

# gunicorn would prefer gunicorn_h1c if it were installed, but limits and express lane rely on this parser.
http_parser = "python"

# No header may change the path of a request, regardless of its sender.
forwarder_headers = ""
header_map = "drop"
forwarded_allow_ips = "127.0.0.1"
# No response depends on the scheme, and gunicorn would refuse contradictory scheme headers.
secure_scheme_headers: dict[str, str] = {}
# gunicorn reads SCRIPT_NAME on each request, and would answer 500 to every path without that prefix.
os.environ.pop("SCRIPT_NAME", None)

# The heartbeat file must be on a tmpfs: on a slow disk, a worker could miss its heartbeat and be killed.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
# The control socket could stop the server, and would need a writable home directory.
control_socket_disable = True

# In seconds: long enough to reuse Traefik's two idle connections, short enough to drop half-sent heads.
keepalive = 20
# In seconds: five for the body of a form and two for Redis; Docker sends SIGKILL after ten.
graceful_timeout = 7
timeout = 30

# Proxies forward long URLs and cookies of clients. app/worker/heads.py limits the size of each head and the
# total size of all unfinished heads.
limit_request_line = 0
limit_request_fields = MAX_FIELDS
limit_request_field_size = MAX_HEAD_BYTES

loglevel = _settings.log_level
logger_class = logs.gunicorn_logger(_settings.log_format)


def on_starting(server: Any) -> None:
    """Exit with one message if an address cannot be bound, unless sockets are inherited or shared."""
    if not ({"GUNICORN_FD", "LISTEN_FDS"} & os.environ.keys() or server.cfg.reuse_port):
        problems = [("BIND", problem) for problem in map(listening.problem, server.cfg.address) if problem]
        if problems:
            sys.exit(str(settings.InvalidSettingsError(*problems)))


def pre_request(_: Any, __: Any) -> None:
    """Replace gunicorn's hook, which logs the URL at debug level: the URL may contain a token."""


def pre_fork(server: Any, worker: Any) -> None:
    """Assign a row of the shared numbers to the worker, which inherits it; no other worker writes to it."""
    taken = {other.row for other in server.WORKERS.values()}
    worker.row = next(row for row in count() if row not in taken)
    tally.SHARED.write_to(worker.row)
    # No worker collects what it inherits: it would answer no request for tens of milliseconds.
    gc.collect()
    gc.freeze()


def child_exit(_: Any, worker: Any) -> None:
    """Clear what a worker had at the end, even if it was killed; its counts stay."""
    tally.SHARED.clear_gauges(worker.row)
