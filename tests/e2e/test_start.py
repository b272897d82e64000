"""How the service starts, refuses to start, logs and ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.settings import Settings
from devkit.http import Connection, call
from devkit.process import ROOT
from devkit.redis_server import RedisServer
from devkit.service import ADMIN_PASS, ADMIN_USER, PEPPER, Gunicorn
from devkit.waiting import at_best, seconds, until

pytestmark = pytest.mark.e2e


def _refusal(
    redis_port: object = 1,
    prepare: Callable[[Path], object] = Path.exists,
    python: str = sys.executable,
    **settings: object,
) -> list[str]:
    """Return the lines that a start with *settings* ends with, and see that it does end."""
    with ExitStack() as stack:
        service = Gunicorn(redis_port, **settings)
        stack.callback(service.__exit__)
        prepare(service.dir)
        run = subprocess.run(
            [python, *service.argv[1:]],
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


def _flask(service: Gunicorn, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a command where *service* runs."""
    command = [service.argv[0], "-m", "flask", "--app", "wsgi", *args]
    return subprocess.run(
        command, env=service.env, cwd=service.dir, check=True, capture_output=True, text=True, timeout=20
    )


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
    made = json.loads(_flask(service, "tokens", "create", "cli.test", "--json").stdout)
    assert service.auth(made["token"], "cli.test").status == 200
    _flask(service, "tokens", "delete", made["id"])
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


class TestSurroundings:
    """What gunicorn, flask and dotenv do with an environment by themselves."""

    def test_line_ends(self, redis_server: RedisServer) -> None:
        """A password that came with its line end is what is typed; quotes in .env may span two lines."""
        ends = {"pepper": f"{PEPPER}\r\n", "admin_user": None, "admin_pass": f"{ADMIN_PASS}\n"}
        service = Gunicorn(redis_server.port, web_concurrency=1, **ends)
        (service.dir / ".env").write_bytes(f'ADMIN_USER="{ADMIN_USER}\r\n"\r\n'.encode())
        with service, Gunicorn(redis_server.port, web_concurrency=1) as other:
            assert service.page().status == 200
            assert other.auth(service.issue()).status == 200

    def test_literal_dotenv(self) -> None:
        """Dollar signs in .env are kept by gunicorn and by the flask command alike."""
        literal = "aa${HOME}bb$HOME"
        with (
            RedisServer() as server,  # of its own: it is no pepper of other tests
            Gunicorn(server.port, web_concurrency=1, pepper=literal) as given,
        ):
            read = Gunicorn(server.port, web_concurrency=1, pepper=None)
            (read.dir / ".env").write_text(f"PEPPER={literal}\n")
            with read:
                assert read.auth(given.issue()).status == 200
                made = _flask(read, "tokens", "create", "a.test", "--json")
                assert given.auth(json.loads(made.stdout)["token"]).status == 200

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (f"PEPPER={PEPPER}é".encode("latin-1"), "is no UTF-8 text in line 1"),
            (f"PEPPER={PEPPER}".encode("utf-16"), "is no UTF-8 text"),
            (b"PEPPER='hush\n", "has in line 1 neither NAME=value nor a comment"),
            (None, "is a directory"),
        ],
    )
    def test_unusable_dotenv(self, content: bytes | None, said: str) -> None:
        """A .env that can't be read is the one problem that is named."""

        def prepare(directory: Path) -> None:
            if content is None:
                (directory / ".env").mkdir()
            else:
                (directory / ".env").write_bytes(content)

        (problem,) = _refusal(1, prepare, pepper=None)[1:]
        assert problem.startswith(f"  .env: {said}")

    def test_empty_everything(self, redis_server: RedisServer) -> None:
        """Compose hands on what is not set as empty: then each setting has its default."""
        required = {
            name for name, f in Settings.__dataclass_fields__.items() if f.metadata["default"] is None
        }
        names = Settings.__dataclass_fields__.keys() - required - {"redis_port", "bind", "web_concurrency"}
        with Gunicorn(redis_server.port, web_concurrency=1, **dict.fromkeys(names, "")) as service:
            assert service.auth(service.issue()).status == 200

    def test_what_gunicorn_reads(self, redis_server: RedisServer) -> None:
        """Variables that gunicorn looks at by itself change nothing here."""
        names = {"port": "x", "forwarded_allow_ips": "*", "script_name": "/x", "sendfile": "x"}
        with Gunicorn(redis_server.port, web_concurrency=1, express_lane="off", **names) as service:
            assert service.auth(service.issue()).status == 200
            assert f"Listening at: http://127.0.0.1:{service.port} " in service.log

    @pytest.mark.parametrize("express_lane", [True, False])
    def test_parser(self, redis_server: RedisServer, tmp_path: Path, *, express_lane: bool) -> None:
        """The parser that limits and fuzzing are about serves, whatever package is installed beside it."""
        (tmp_path / "gunicorn_h1c.py").write_text("raise RuntimeError('another parser')")
        service = Gunicorn(redis_server.port, web_concurrency=1, express_lane=express_lane)
        service.env["PYTHONPATH"] += f":{tmp_path}"
        with service:
            assert service.auth(service.issue()).status == 200
            assert "another parser" not in service.log


class TestEarly:
    """What gunicorn and flask read before any file of ours is seen to when Python starts."""

    @pytest.fixture(name="python")
    def _python(self, tmp_path: Path) -> str:
        """Return a Python that is installed as the image's and that of make."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
        (packages,) = (tmp_path / "venv").glob("lib/python3*/site-packages")
        (packages / "a.pth").write_text(sysconfig.get_path("purelib"))
        shutil.copy(ROOT / "app" / "early.pth", packages)
        return str(tmp_path / "venv" / "bin" / "python")

    @pytest.mark.parametrize("value", ["", "\n"])
    def test_no_workers_named(self, redis_server: RedisServer, python: str, value: str) -> None:
        """Set to nothing, it is the default; what is nothing to us may be nonsense."""
        service = Gunicorn(redis_server.port, web_concurrency=value, forwarded_allow_ips="x")
        service.argv = [python, *service.argv[1:]]
        with service:
            until(lambda: len(service.workers) == 2)
            assert service.auth(service.issue()).status == 200

    @pytest.mark.parametrize("value", ["x", "1.5", "0", "-1", " "])
    def test_nonsense_of_workers(self, python: str, value: str) -> None:
        """Set to nonsense, it is a problem among others."""
        (problem,) = _refusal(1, python=python, web_concurrency=value)[1:]
        assert problem.startswith("  WEB_CONCURRENCY: a whole number from 1 to 256")

    def test_commands(self, python: str, tmp_path: Path) -> None:
        """A .env that can't be read is one problem for the flask command too."""
        (tmp_path / ".env").write_bytes("PEPPER=é".encode("latin-1"))
        command = [python, "-m", "flask", "--app", "wsgi", "tokens", "list"]
        run = subprocess.run(
            command,
            env=Gunicorn(1).env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode != 0
        assert run.stderr.splitlines()[1:] == ["  .env: is no UTF-8 text in line 1; save it as UTF-8"]

    def test_installed(self) -> None:
        """Everything that installs puts the file where Python looks."""
        for name in ("Makefile", "Dockerfile", "docs/operations.md"):
            assert "cp app/early.pth" in (ROOT / name).read_text("utf-8")
