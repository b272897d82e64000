"""How the service starts, refuses to start, logs and ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness import PEPPER, Connection, Gunicorn, RedisServer, at_best, call, seconds, until

pytestmark = pytest.mark.e2e


def _refusal(redis_port: object = 1, **settings: object) -> list[str]:
    """Return the lines that a start with *settings* ends with, and see that it does end."""
    with ExitStack() as stack:
        service = Gunicorn(redis_port, **settings)
        stack.callback(service.__exit__)
        run = subprocess.run(
            service.argv,
            env=service.env,
            cwd=service.dir,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert run.returncode != 0
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    return run.stderr.splitlines()


class TestRefused:
    """Bad settings stop the start."""

    def test_all_at_once(self) -> None:
        """One message names every problem."""
        lines = _refusal(
            pepper=None,
            admin_user="",
            admin_pass="changeme",
            redis_port="65536",
            redis_deadline_ms="soon",
            rate_limit_max=10_001,
            rate_limit_window_sec="1_0",
            token_ttl_seconds="-1",
            web_concurrency="٣",
            log_level="loud",
            log_format="xml",
            bind="8000",
        )

        assert lines[0] == "acl-auth-service can't start with these settings:"
        assert [line.split(":")[0].strip() for line in lines[1:]] == [
            "PEPPER",
            "ADMIN_USER",
            "ADMIN_PASS",
            "REDIS_PORT",
            "REDIS_DEADLINE_MS",
            "TOKEN_TTL_SECONDS",
            "RATE_LIMIT_MAX",
            "RATE_LIMIT_WINDOW_SEC",
            "BIND",
            "WEB_CONCURRENCY",
            "LOG_LEVEL",
            "LOG_FORMAT",
        ]

    @pytest.mark.parametrize("value", [None, "", "  ", "changeme", "CHANGE_ME", "<secret>"])
    def test_no_secret(self, value: str | None) -> None:
        """No secret has a default, is blank or is left as the example had it."""
        problems = _refusal(pepper=value, admin_user=value, admin_pass=value)[1:]
        assert [line.split(":")[0].strip() for line in problems] == ["PEPPER", "ADMIN_USER", "ADMIN_PASS"]

    def test_twice(self, tmp_path: Path) -> None:
        """A secret comes from one place."""
        (tmp_path / "pepper").write_text(PEPPER)
        assert _refusal(pepper_file=tmp_path / "pepper")[1:] == [
            "  PEPPER: is set twice, also as PEPPER_FILE; keep one"
        ]

    def test_no_file(self) -> None:
        """A file that can't be read is named."""
        assert "/nowhere" in _refusal(pepper=None, pepper_file="/nowhere")[1]

    def test_empty_file(self, tmp_path: Path) -> None:
        """A file that holds one newline holds no secret."""
        (tmp_path / "pepper").write_text("\n")
        assert "PEPPER" in _refusal(pepper=None, pepper_file=tmp_path / "pepper")[1]

    def test_secrets_unsaid(self) -> None:
        """The message tells no secret, good or bad."""
        said = "\n".join(
            _refusal(pepper="hush-pepper", admin_pass="changeme", redis_password="hush-password", bind="x")
        )
        assert not re.search("hush|changeme", said)


@pytest.fixture(scope="module", name="odd")
def _odd(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """Return a service with all that is unusual about its surroundings."""
    secret = tmp_path_factory.mktemp("secrets") / "pepper"
    secret.write_text(f"{PEPPER}\n")
    odd = Gunicorn(
        redis_server.port,
        pepper=None,
        pepper_file=secret,
        admin_pass="pässwörd ✓",
        home="/proc/unwritable",
        log_format="json",
        log_level="debug",
        web_concurrency=1,
    )
    odd.env["XDG_RUNTIME_DIR"] = str(odd.dir / "runtime")
    (odd.dir / "runtime").mkdir()
    with odd:
        yield odd


class TestStarted:
    """Unusual surroundings don't matter."""

    def test_pepper_file(self, odd: Gunicorn, token: str) -> None:
        """A file's one trailing newline is not the secret's: both pods know the same tokens."""
        assert odd.auth(token).status == 200

    @pytest.mark.parametrize(
        ("password", "status"),
        [("pässwörd ✓", 200), ("pässwörd x", 401), ("p", 401), ("", 401), ("pässwörd ✓ ", 401)],
    )
    def test_password(self, odd: Gunicorn, password: str, status: int) -> None:
        """A password may have any character, and is compared whole."""
        credential = b64encode(f"operator:{password}".encode()).decode()
        assert call(odd.port, "/", [("Authorization", f"Basic {credential}")]).status == status

    @pytest.mark.parametrize(
        "credential", ["Basic", "Basic !", "Basic /w==", "Basic eA==", "Basic Og==", "Bearer x"]
    )
    def test_no_password(self, odd: Gunicorn, credential: str) -> None:
        """A credential that can't be read is a wrong one."""
        assert call(odd.port, "/", [("Authorization", credential)]).status == 401

    def test_no_control_socket(self, odd: Gunicorn) -> None:
        """Nothing beside HTTP can steer the workers, and a home that can't be written is no error."""
        assert not list((odd.dir / "runtime").iterdir())
        assert "error" not in {json.loads(line)["level"] for line in odd.log.splitlines()}

    def test_json_log(self, odd: Gunicorn) -> None:
        """Every line of the log is JSON, from gunicorn and from us."""
        odd.auth("wrong")
        lines = [json.loads(line) for line in odd.log.splitlines()]

        assert {"gunicorn.error", "app.web.auth"} <= {line["logger"] for line in lines}
        assert all(line.keys() >= {"time", "level", "logger", "message"} for line in lines)

    def test_json_log_of_an_error(self, redis_server: RedisServer) -> None:
        """A traceback stays inside its line."""
        with Gunicorn(redis_server.port, log_format="json", redis_db=9999) as service:
            assert service.auth("x").status == 503
            lines = [json.loads(line) for line in service.log.splitlines()]
        assert lines[-1]["level"] == "error"


def test_dotenv(redis_server: RedisServer) -> None:
    """What a .env says counts below the environment."""
    service = Gunicorn(redis_server.port, web_concurrency=1)
    (service.dir / ".env").write_text("PEPPER=other\nAUTH_REALM=from the file\n")
    with service:
        assert 'realm="from the file"' in service.auth().headers["www-authenticate"]
        assert service.auth(service.issue()).status == 200


def test_command_line(service: Gunicorn) -> None:
    """A token that the command makes, the workers know; one that it deletes, they don't."""

    def flask(*args: str) -> str:
        command = [service.argv[0], "-m", "flask", "--app", "wsgi", "tokens", *args]
        return subprocess.run(
            command, env=service.env, cwd=service.dir, check=True, capture_output=True, text=True, timeout=100
        ).stdout

    made = json.loads(flask("create", "cli.test", "--json"))
    assert service.auth(made["token"], "cli.test").status == 200
    flask("delete", made["id"])
    assert service.auth(made["token"], "cli.test").status == 401


def test_end_with_idle_connections(redis_server: RedisServer) -> None:
    """SIGTERM ends the service before Docker's ten seconds are over, though clients keep connections open."""

    def last_s() -> float:
        with Gunicorn(redis_server.port) as service, ExitStack() as stack:
            for _ in range(8):
                assert stack.enter_context(Connection(service.port)).call("/livez").status == 200
            return seconds(lambda: ends.append(service.stop()))

    ends: list[int] = []
    at_best(last_s, 10, tries=3)
    assert set(ends) == {0}


def test_crashed_worker(redis_server: RedisServer) -> None:
    """A worker that dies is replaced, and the others answer meanwhile."""
    with Gunicorn(redis_server.port, web_concurrency=2) as service:
        token = service.issue()
        killed = service.workers[0]
        os.kill(killed, signal.SIGKILL)
        until(lambda: killed not in service.workers)
        assert [service.auth(token).status for _ in range(20)] == [200] * 20
        until(lambda: len(service.workers) == 2)
