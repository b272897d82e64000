"""The service as it runs in production."""

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

from devkit import leaks
from devkit.http import Answer, Headers, bearer, call, forwarded
from devkit.ports import free_port
from devkit.proc import children, stop
from devkit.process import COVERAGE, ROOT, Process
from devkit.waiting import PATIENCE_S

PEPPER = "pepper of the tests"
_SECRETS = ("PEPPER", "ADMIN_PASS", "REDIS_PASSWORD")
ADMIN_USER, ADMIN_PASS = "operator", "correct horse battery staple"
BASIC = "Basic " + b64encode(f"{ADMIN_USER}:{ADMIN_PASS}".encode()).decode()


class Gunicorn(Process):
    """The service under gunicorn; settings are keywords in lower case, and None omits one.

    It runs in an empty directory, so that a developer's ``.env`` does not affect it. Its deadline is longer
    than in production, because of busy machines; tests about time set redis_deadline_ms.
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
        self.env |= {"PYTHONPATH": str(ROOT)}
        self.env |= {name.upper(): str(value) for name, value in values.items() if value is not None}
        self.argv = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "wsgi:app"]

    def add_hooks(self, code: str) -> None:
        """Let gunicorn.conf.py be followed by *code*, which defines server hooks."""
        ours, config = str(ROOT / "gunicorn.conf.py"), self.dir / "hooks.py"
        config.write_text(f"import runpy\nglobals().update(runpy.run_path({ours!r}))\n{code}")
        self.argv = [str(config) if each == ours else each for each in self.argv]

    def __exit__(self, kind: object = None, *_: object) -> None:
        if COVERAGE in self.env and self.is_alive:
            with suppress(subprocess.TimeoutExpired):
                self.stop()  # instead of a kill, so that the workers write their coverage
        log = self.log if self.log_path.exists() else ""
        super().__exit__()
        if kind is None:
            leaks.expect_none(log, (self.env.get(name, "") for name in _SECRETS))

    def is_ready(self) -> bool:
        """Return whether a worker answers /livez."""
        return call(self.port, "/livez").status == 200

    @property
    def workers(self) -> list[int]:
        """Return the process ids of the current workers."""
        return children(self.pid)

    def auth(self, token: str | None = None, host: str = "a.test", headers: Headers = ()) -> Answer:
        """Send a sub-request to /auth as Traefik does."""
        return call(self.port, "/auth", [*forwarded(host), *bearer(token), *headers])

    def decided(self, token: str | None = None, host: str = "a.test") -> int:
        """Repeat a sub-request while its status is 503, and return the status of the decision."""
        deadline = time.monotonic() + PATIENCE_S
        while (status := self.auth(token, host).status) == 503 and time.monotonic() < deadline:
            time.sleep(0.02)
        return status

    @contextmanager
    def alone(self, pid: int) -> Iterator[None]:
        """Stop all other workers, so that this one answers every request."""
        others = [worker for worker in self.workers if worker != pid]
        stop(others)
        try:
            yield
        finally:
            for other in others:
                os.kill(other, signals.SIGCONT)

    def page(self, target: str = "/") -> Answer:
        """Request an admin page as the operator."""
        return call(self.port, target, [("Authorization", BASIC)])

    def post(self, target: str, **form: str) -> Answer:
        """Submit a form as the operator does with curl."""
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        return call(self.port, target, [("Authorization", BASIC), kind], "POST", urlencode(form).encode())

    def issue(self, *hosts: str, **fields: str) -> str:
        """Create a token for *hosts*, by default a.test, and return its secret."""
        page = self.post("/create_token", hosts=",".join(hosts) or "a.test", **fields)
        secret = re.search(r"acl_[0-9A-Za-z]{38}", page.text)
        assert page.status == 200 and secret, page.text  # noqa: PT018
        leaks.remember(secret[0])
        return secret[0]

    def allowed(self, secret: str) -> int:
        """Return how many requests a token was allowed today."""
        token = self.page(f"/api/v1/tokens/{record_key(secret).removeprefix('tokens:')}").json()
        return int(token["usage"]["last_24_hours"]["allowed"])


def record_key(token: str) -> str:
    """Return the key of the record of *token* in Redis."""
    return f"tokens:{sha256(f'{token}{PEPPER}'.encode()).hexdigest()}"
