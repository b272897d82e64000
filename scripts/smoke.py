"""Check a running Compose stack from outside: `python3 scripts/smoke.py --help`; docs/docker.md names it.

Needs nothing but Python and Docker. Prints each check; the exit status is 1 if one fails. Everything that it
creates is deleted, and everything that it stops is started again.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple

BACKEND, ADMIN = "whoami.localhost", "auth.localhost"
PATIENCE_S, PAUSE_S = 120, 0.2
OK, CREATED, NO_CONTENT, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_MANY = 200, 201, 204, 401, 403, 404, 429


class Answer(NamedTuple):
    """A status, 0 if there was no answer, and the rest of a response."""

    status: int
    text: str = ""
    headers: Any = None


def call(port: int, host: str, path: str = "/", *, body: Any = None, **more: str) -> Answer:
    """Send a request to this machine for *host*, with a JSON *body* and headers from *more*."""
    headers = {"Host": host, "Content-Type": "application/json"} | more
    method = headers.pop("method", "GET" if body is None else "POST")
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode(errors="replace"), answer.headers)
    except (OSError, HTTPException):
        return Answer(0)
    finally:
        connection.close()


class FailedError(Exception):
    """A check failed; the message says what was expected and what came."""


def expect(what: str, found: object, wanted: object) -> None:
    """Print a check; raises FailedError if *found* is not *wanted*."""
    if found != wanted:
        raise FailedError(f"{what}: expected {wanted}, got {found}")
    print(f"ok    {what}")


def wait(what: str, condition: Callable[[], object]) -> float:
    """Return after how many seconds *condition* holds; raises FailedError after two minutes."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE_S:
            raise FailedError(f"{what}: not within {PATIENCE_S} s")
        time.sleep(PAUSE_S)
    took = time.monotonic() - began
    print(f"ok    {what}, after {took:.1f} s")
    return took


class Stack:
    """The stack, by its commands and by its port."""

    def __init__(self, command: str, port: int) -> None:
        self._command = shlex.split(command)
        self._port = port
        self._login = ""

    def run(self, *args: str) -> str:
        """Return what a command of Compose prints; raises FailedError."""
        done = subprocess.run([*self._command, *args], capture_output=True, text=True, check=False)
        if done.returncode:
            raise FailedError(
                f"{shlex.join([*self._command, *args])}: {done.stderr.strip() or done.returncode}"
            )
        return done.stdout

    def sign_in(self) -> None:
        """Read the operator's password from the volume of secrets."""
        lines = self.run(
            "exec", "-T", "auth", "cat", "/secrets/admin_user", "/secrets/admin_pass"
        ).splitlines()
        self._login = "Basic " + b64encode(":".join(lines[-2:]).encode()).decode()

    def api(self, path: str, **more: Any) -> Answer:
        """Send a request to the API as the operator."""
        return call(self._port, ADMIN, "/api/v1" + path, Authorization=self._login, **more)

    def get(self, secret: str = "", host: str = BACKEND, path: str = "/") -> Answer:
        """Send a request to the backend with a token."""
        return call(self._port, host, path, **({"Authorization": f"Bearer {secret}"} if secret else {}))

    @contextmanager
    def token(self, **fields: Any) -> Iterator[str]:
        """Create a token, yield its secret and delete it, which must work."""
        made = self.api("/tokens", body={"hosts": [BACKEND], "comment": "smoke test"} | fields)
        expect("a token is created", made.status, CREATED)
        token = json.loads(made.text)
        try:
            yield token["token"]
        finally:
            deleted = {NO_CONTENT, NOT_FOUND}
            wait(
                "a token is deleted",
                lambda: self.api(f"/tokens/{token['id']}", method="DELETE").status in deleted,
            )
        expect("a deleted token is refused", self.get(token["token"]).status, UNAUTHORIZED)

    def role(self, server: str) -> str:
        """Return the role of a Redis server, "" if it does not answer."""
        with suppress(FailedError):
            login = ("--no-auth-warning", "--user", "health", "-a", "none")
            return self.run("exec", "-T", server, "redis-cli", *login, "role").split()[0]
        return ""

    def has_role(self, server: str, role: str) -> bool:
        """Return whether a Redis server answers and has *role*."""
        return self.role(server) == role

    @contextmanager
    def without(self, service: str) -> Iterator[None]:
        """Stop a service, and start it again at the end."""
        print(f"      stop {service}")
        self.run("stop", service)
        try:
            yield
        finally:
            self.run("start", service)


def check_decisions(stack: Stack) -> None:
    """Check what a client gets with a token, without one, with a wrong one and over its limit."""
    wait("the backend asks for a token", lambda: stack.get().status == UNAUTHORIZED)
    expect("an unknown token is refused", stack.get("x" * 40).status, UNAUTHORIZED)
    with stack.token() as secret:
        answer = stack.get(secret)
        expect("a good token is allowed", answer.status, OK)
        expect("the backend learns its id", answer.text.count("X-Auth-Token-Id"), 1)
        expect("the backend does not see the secret", answer.text.count(secret), 0)
    with stack.token(hosts=["other.localhost"]) as secret:
        expect("a token of another host is refused", stack.get(secret).status, FORBIDDEN)
    with stack.token(rate_limit_max=1, rate_limit_window_sec=3600) as secret:
        expect("a limit admits a request", stack.get(secret).status, OK)
        expect("and refuses the next one", stack.get(secret).status, TOO_MANY)
    for path in ("/auth", "/healthz", "/metrics"):
        expect(f"{path} is not public", stack.get(host=ADMIN, path=path).status, NOT_FOUND)


def check_replicas(stack: Stack) -> None:
    """Check that one replica of the service is enough, whichever it is."""
    with stack.token() as secret:
        for replica in ("auth", "auth-2"):
            with stack.without(replica):
                wait("the other replica decides", lambda: stack.get(secret).status == OK)
                expect("and goes on", [stack.get(secret).status for _ in range(20)], [OK] * 20)


def check_failover(stack: Stack) -> None:
    """Check that a replica takes over from each primary in turn, and that tokens stay."""
    servers = ("redis", "redis-2")
    with stack.token() as secret:
        for _ in servers:
            wait("one primary, one replica", lambda: sorted(map(stack.role, servers)) == ["master", "slave"])
            primary = next(server for server in servers if stack.has_role(server, "master"))
            with stack.without(primary):
                wait("decisions are made again", lambda: stack.get(secret).status == OK)
                expect("an unknown token is refused", stack.get("x" * 40).status, UNAUTHORIZED)
                with stack.token():
                    pass
            wait(f"{primary} is a replica", partial(stack.has_role, primary, "slave"))


def check_monitoring(stack: Stack, port: int, targets: int) -> None:
    """Check that Prometheus reaches each replica and has the alerts."""
    with stack.token() as secret:
        expect("a good token is allowed", stack.get(secret).status, OK)

    def ask(path: str) -> Any:
        answer = call(port, "localhost", f"/api/v1/{path}")
        return json.loads(answer.text)["data"] if answer.status == OK else {}

    def health() -> list[str]:
        return [target["health"] for target in ask("targets?state=active").get("activeTargets", [])]

    wait(f"Prometheus reaches {targets} of {targets} replicas", lambda: health() == ["up"] * targets)
    counted = "query?query=sum(acl_auth_decisions_total)>0"
    wait("Prometheus counts decisions", lambda: ask(counted).get("result"))
    groups = [group["name"] for group in ask("rules").get("groups", [])]
    expect("Prometheus has the alerts", groups, ["acl-auth-service"])


def check_grafana(stack: Stack, port: int) -> None:
    """Check that Grafana has the dashboard, and that its data source works."""
    wait("Grafana answers", lambda: call(port, "localhost", "/api/health").status == OK)
    password = stack.run("exec", "-T", "auth", "cat", "/secrets/grafana_password").splitlines()[-1]
    login = "Basic " + b64encode(f"admin:{password}".encode()).decode()
    for what, path in {
        "Grafana has the dashboard": "/api/dashboards/uid/acl-auth-service",
        "Grafana reaches Prometheus": "/api/datasources/uid/prometheus/health",
    }.items():
        expect(what, call(port, "localhost", path, Authorization=login).status, OK)


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Check a running Compose stack from outside.")
    profiles = os.environ.get("COMPOSE_PROFILES", "")
    parser.add_argument("--profiles", default=profiles, help="ha, monitoring or both (COMPOSE_PROFILES)")
    parser.add_argument("--compose", default="docker compose", metavar="COMMAND", help="docker compose")
    parser.add_argument("--without-grafana", action="store_true", help="do not check Grafana")
    for name, default in {"PORT": 8080, "PROMETHEUS_PORT": 9090, "GRAFANA_PORT": 3000}.items():
        option = "--" + name.lower().replace("_", "-")
        parser.add_argument(option, type=int, default=int(os.environ.get(name) or default))
    return parser.parse_args()


def main() -> None:
    """Run the checks of the plain stack and of each profile."""
    options = arguments()
    profiles = set(filter(None, options.profiles.split(",")))
    stack = Stack(options.compose, options.port)
    stack.sign_in()
    check_decisions(stack)
    if "monitoring" in profiles:
        check_monitoring(stack, options.prometheus_port, 2 if "ha" in profiles else 1)
        if not options.without_grafana:
            check_grafana(stack, options.grafana_port)
    if "ha" in profiles:
        check_replicas(stack)
        check_failover(stack)


if __name__ == "__main__":
    try:
        main()
    except FailedError as failure:
        sys.exit(f"FAILED {failure}")
