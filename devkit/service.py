"""This service, as it runs in production."""

from __future__ import annotations

import os
import re
import signal as signals
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from urllib.parse import urlencode

from devkit.http import Answer, Headers, bearer, call, forwarded
from devkit.ports import free_port
from devkit.proc import children, stop
from devkit.process import COVERAGE, ROOT, Process
from devkit.waiting import PATIENCE_S

PEPPER = "pepper of the tests"
ADMIN_USER, ADMIN_PASS = "operator", "correct horse battery staple"
BASIC = "Basic " + b64encode(f"{ADMIN_USER}:{ADMIN_PASS}".encode()).decode()


class Gunicorn(Process):
    """This service in production form; settings are lower-case keywords, None leaves one out.

    It runs in an empty directory, so that no ``.env`` of a developer has a say. A decision may take longer
    than in production, for a busy machine is no fault; where time is the matter, redis_deadline_ms is given.
    """

    name = "gunicorn"

    def __init__(self, redis_port: object, **settings: object) -> None:
        super().__init__()
        self.port = free_port()
        values = {
            "pepper": PEPPER,
            "admin_user": ADMIN_USER,
            "admin_pass": ADMIN_PASS,
            "redis_port": redis_port,
            "bind": f"127.0.0.1:{self.port}",
            "rate_limit_max": 10_000,
            "redis_deadline_ms": 5000,
        } | settings
        self.env |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        self.env |= {name.upper(): str(value) for name, value in values.items() if value is not None}
        self.argv = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "wsgi:app"]

    def __exit__(self, *_: object) -> None:
        if COVERAGE in self.env and self.is_alive:
            with suppress(subprocess.TimeoutExpired):
                self.stop()  # in place of a crash, so that the workers can say which lines they ran
        super().__exit__()

    def is_ready(self) -> bool:
        """Tell whether a worker answers /livez."""
        return call(self.port, "/livez").status == 200

    @property
    def workers(self) -> list[int]:
        """Return the process ids of the workers that run now."""
        return children(self.pid)

    def auth(self, token: str | None = None, host: str = "a.test", headers: Headers = ()) -> Answer:
        """Ask /auth as Traefik would."""
        return call(self.port, "/auth", [*forwarded(host), *bearer(token), *headers])

    def decided(self, token: str | None = None, host: str = "a.test") -> int:
        """Ask /auth until there is a decision and return its status: with a short deadline, 503 is none."""
        deadline = time.monotonic() + PATIENCE_S
        while (status := self.auth(token, host).status) == 503 and time.monotonic() < deadline:
            time.sleep(0.02)
        return status

    @contextmanager
    def alone(self, pid: int) -> Iterator[None]:
        """Have one worker answer everything, the others being stopped."""
        others = [worker for worker in self.workers if worker != pid]
        stop(others)
        try:
            yield
        finally:
            for other in others:
                os.kill(other, signals.SIGCONT)

    def page(self, target: str = "/") -> Answer:
        """Open an admin page as the operator."""
        return call(self.port, target, [("Authorization", BASIC)])

    def post(self, target: str, **form: str) -> Answer:
        """Post a form as the operator's curl would."""
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        return call(self.port, target, [("Authorization", BASIC), kind], "POST", urlencode(form).encode())

    def issue(self, *hosts: str, **fields: str) -> str:
        """Make a token for *hosts*, a.test if none are named, and return its text."""
        page = self.post("/create_token", hosts=",".join(hosts) or "a.test", **fields)
        made = re.search(r"acl_[0-9A-Za-z]{38}", page.text)
        assert page.status == 200 and made, page.text  # noqa: PT018
        return made[0]


def record_key(token: str) -> str:
    """Return the key in Redis that *token* is kept under."""
    return f"tokens:{sha256(f'{token}{PEPPER}'.encode()).hexdigest()}"
