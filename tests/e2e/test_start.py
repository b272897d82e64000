"""Startup, refusal of bad settings, logging and shutdown of the service."""

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
    """Start the service with *settings*, assert that it fails cleanly, and return its error lines."""
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
    """Run a flask command in the directory and environment of *service*."""
    command = [service.argv[0], "-m", "flask", "--app", "wsgi", *args]
    return subprocess.run(
        command, env=service.env, cwd=service.dir, check=True, capture_output=True, text=True, timeout=60
    )


class TestRefused:
    """Invalid settings prevent startup."""

    def test_all_at_once(self) -> None:
        """A single message lists every invalid setting."""
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
        """A secret that is missing, blank or a placeholder is refused."""
        problems = _refusal(pepper=value, admin_user=value, admin_pass=value)[1:]
        assert [line.split(":")[0].strip() for line in problems] == ["PEPPER", "ADMIN_USER", "ADMIN_PASS"]

    def test_twice(self, tmp_path: Path) -> None:
        """A secret that is set both directly and as a file is refused."""
        (tmp_path / "pepper").write_text(PEPPER)
        assert _refusal(pepper_file=tmp_path / "pepper")[1:] == [
            "  PEPPER: is set twice, also as PEPPER_FILE; keep one"
        ]

    def test_no_file(self) -> None:
        """A secret file that cannot be read is reported by name."""
        assert "/nowhere" in _refusal(pepper=None, pepper_file="/nowhere")[1]

    def test_empty_file(self, tmp_path: Path) -> None:
        """A secret file that contains only a newline counts as missing."""
        (tmp_path / "pepper").write_text("\n")
        assert "PEPPER" in _refusal(pepper=None, pepper_file=tmp_path / "pepper")[1]

    def test_message_contains_no_secret(self) -> None:
        """The error message contains no secret, valid or not."""
        message = "\n".join(
            _refusal(pepper="hush-pepper", admin_pass="changeme", redis_password="hush-password", bind="x")
        )
        assert not re.search("hush|changeme", message)


@pytest.fixture(scope="module", name="odd")
def _odd(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """Return a running service with unusual secrets, environment and file system."""
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
    """The service works in unusual environments."""

    def test_pepper_file(self, odd: Gunicorn, token: str) -> None:
        """One trailing newline in a secret file is ignored, so both pods accept the same tokens."""
        assert odd.auth(token).status == 200

    @pytest.mark.parametrize(
        ("password", "status"),
        [("pässwörd ✓", 200), ("pässwörd x", 401), ("p", 401), ("", 401), ("pässwörd ✓ ", 401)],
    )
    def test_password(self, odd: Gunicorn, password: str, status: int) -> None:
        """A password may contain any character, and is compared in full."""
        credential = b64encode(f"operator:{password}".encode()).decode()
        assert call(odd.port, "/", [("Authorization", f"Basic {credential}")]).status == status

    @pytest.mark.parametrize(
        "credential", ["Basic", "Basic !", "Basic /w==", "Basic eA==", "Basic Og==", "Bearer x"]
    )
    def test_no_password(self, odd: Gunicorn, credential: str) -> None:
        """A malformed credential is treated as a wrong one."""
        assert call(odd.port, "/", [("Authorization", credential)]).status == 401

    def test_no_control_socket(self, odd: Gunicorn) -> None:
        """There is no control socket, and an unwritable home directory is not an error."""
        assert not list((odd.dir / "runtime").iterdir())
        assert "error" not in {json.loads(line)["level"] for line in odd.log.splitlines()}

    def test_json_log(self, odd: Gunicorn) -> None:
        """Every log line is JSON, gunicorn's own included."""
        odd.auth("wrong")
        lines = [json.loads(line) for line in odd.log.splitlines()]

        assert {"gunicorn.error", "app.web.auth"} <= {line["logger"] for line in lines}
        assert all(line.keys() >= {"time", "level", "logger", "message"} for line in lines)

    def test_json_log_of_an_error(self, redis_server: RedisServer) -> None:
        """A traceback is part of its log line."""
        with Gunicorn(redis_server.port, log_format="json", redis_db=9999) as service:
            assert service.auth("x").status == 503
            lines = [json.loads(line) for line in service.log.splitlines()]
        assert lines[-1]["level"] == "error"


def test_dotenv(redis_server: RedisServer) -> None:
    """The environment overrides .env."""
    service = Gunicorn(redis_server.port, web_concurrency=1)
    (service.dir / ".env").write_text("PEPPER=other\nAUTH_REALM=from the file\n")
    with service:
        assert 'realm="from the file"' in service.auth().headers["www-authenticate"]
        assert service.auth(service.issue()).status == 200


def test_command_line(service: Gunicorn) -> None:
    """The workers accept a token that the CLI created, and refuse it once the CLI has deleted it."""
    created = json.loads(_flask(service, "tokens", "create", "cli.test", "--json").stdout)
    assert service.auth(created["token"], "cli.test").status == 200
    _flask(service, "tokens", "delete", created["id"])
    assert service.auth(created["token"], "cli.test").status == 401


def test_end_with_idle_connections(redis_server: RedisServer) -> None:
    """SIGTERM stops the service within Docker's ten seconds, even if clients keep connections open."""

    def last_s() -> float:
        with Gunicorn(redis_server.port) as service, ExitStack() as stack:
            for _ in range(8):
                assert stack.enter_context(Connection(service.port)).call("/livez").status == 200
            return seconds(lambda: exit_codes.append(service.stop()))

    exit_codes: list[int] = []
    at_best(last_s, 10, tries=3)
    assert set(exit_codes) == {0}


def test_crashed_worker(redis_server: RedisServer) -> None:
    """A worker that is killed is replaced, and the other one answers meanwhile."""
    with Gunicorn(redis_server.port, web_concurrency=2) as service:
        token = service.issue()
        killed = service.workers[0]
        os.kill(killed, signal.SIGKILL)
        until(lambda: killed not in service.workers)
        assert [service.auth(token).status for _ in range(20)] == [200] * 20
        until(lambda: len(service.workers) == 2)


class TestEnvironment:
    """Environment variables and files that gunicorn, flask and python-dotenv read on their own."""

    def test_line_ends(self, redis_server: RedisServer) -> None:
        """A trailing line end is not part of a password; quoted values in .env may span lines."""
        line_ends = {"pepper": f"{PEPPER}\r\n", "admin_user": None, "admin_pass": f"{ADMIN_PASS}\n"}
        service = Gunicorn(redis_server.port, web_concurrency=1, **line_ends)
        (service.dir / ".env").write_bytes(f'ADMIN_USER="{ADMIN_USER}\r\n"\r\n'.encode())
        with service, Gunicorn(redis_server.port, web_concurrency=1) as other:
            assert service.page().status == 200
            assert other.auth(service.issue()).status == 200

    def test_literal_dotenv(self) -> None:
        """Gunicorn and the flask command both read dollar signs in .env literally."""
        literal = "aa${HOME}bb$HOME"
        with (
            RedisServer() as server,  # a separate one, because its pepper differs from that of other tests
            Gunicorn(server.port, web_concurrency=1, pepper=literal) as from_environment,
        ):
            from_dotenv = Gunicorn(server.port, web_concurrency=1, pepper=None)
            (from_dotenv.dir / ".env").write_text(f"PEPPER={literal}\n")
            with from_dotenv:
                assert from_dotenv.auth(from_environment.issue()).status == 200
                created = _flask(from_dotenv, "tokens", "create", "a.test", "--json")
                assert from_environment.auth(json.loads(created.stdout)["token"]).status == 200

    @pytest.mark.parametrize(
        ("content", "problem_text"),
        [
            (f"PEPPER={PEPPER}é".encode("latin-1"), "is not UTF-8 text in line 1"),
            (f"PEPPER={PEPPER}".encode("utf-16"), "is not UTF-8 text"),
            (b"PEPPER='hush\n", "line 1 is neither NAME=value nor a comment"),
            (None, "is a directory"),
        ],
    )
    def test_unusable_dotenv(self, content: bytes | None, problem_text: str) -> None:
        """An unreadable .env is reported as the only problem."""

        def prepare(directory: Path) -> None:
            if content is None:
                (directory / ".env").mkdir()
            else:
                (directory / ".env").write_bytes(content)

        (problem,) = _refusal(1, prepare, pepper=None)[1:]
        assert problem.startswith(f"  .env: {problem_text}")

    def test_empty_everything(self, redis_server: RedisServer) -> None:
        """An empty variable, which Compose passes for an unset one, selects the setting's default."""
        required = {
            name for name, f in Settings.__dataclass_fields__.items() if f.metadata["default"] is None
        }
        names = Settings.__dataclass_fields__.keys() - required - {"redis_port", "bind", "web_concurrency"}
        with Gunicorn(redis_server.port, web_concurrency=1, **dict.fromkeys(names, "")) as service:
            assert service.auth(service.issue()).status == 200

    def test_what_gunicorn_reads(self, redis_server: RedisServer) -> None:
        """Variables that gunicorn reads on its own have no effect."""
        names = {"port": "x", "forwarded_allow_ips": "*", "script_name": "/x", "sendfile": "x"}
        with Gunicorn(redis_server.port, web_concurrency=1, express_lane="off", **names) as service:
            assert service.auth(service.issue()).status == 200
            assert f"Listening at: http://127.0.0.1:{service.port} " in service.log

    @pytest.mark.parametrize("express_lane", [True, False])
    def test_parser(self, redis_server: RedisServer, tmp_path: Path, *, express_lane: bool) -> None:
        """The service uses the parser that the limits are written for, whatever else is installed."""
        (tmp_path / "gunicorn_h1c.py").write_text("raise RuntimeError('another parser')")
        service = Gunicorn(redis_server.port, web_concurrency=1, express_lane=express_lane)
        service.env["PYTHONPATH"] += f":{tmp_path}"
        with service:
            assert service.auth(service.issue()).status == 200
            assert "another parser" not in service.log


class TestEarly:
    """app/early.pth handles variables that gunicorn and flask read before any of our code runs."""

    @pytest.fixture(name="python")
    def _python(self, tmp_path: Path) -> str:
        """Return a Python with app/early.pth installed, as in the image and in ``make run``."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
        (packages,) = (tmp_path / "venv").glob("lib/python3*/site-packages")
        (packages / "a.pth").write_text(sysconfig.get_path("purelib"))
        shutil.copy(ROOT / "app" / "early.pth", packages)
        return str(tmp_path / "venv" / "bin" / "python")

    @pytest.mark.parametrize("value", ["", "\n"])
    def test_empty_web_concurrency(self, redis_server: RedisServer, python: str, value: str) -> None:
        """An empty WEB_CONCURRENCY selects the default, and an unused gunicorn variable is ignored."""
        service = Gunicorn(redis_server.port, web_concurrency=value, forwarded_allow_ips="x")
        service.argv = [python, *service.argv[1:]]
        with service:
            until(lambda: len(service.workers) == 2)
            assert service.auth(service.issue()).status == 200

    @pytest.mark.parametrize("value", ["x", "1.5", "0", "-1", " "])
    def test_invalid_web_concurrency(self, python: str, value: str) -> None:
        """An invalid WEB_CONCURRENCY is reported like any other setting."""
        (problem,) = _refusal(1, python=python, web_concurrency=value)[1:]
        assert problem.startswith("  WEB_CONCURRENCY: a whole number from 1 to 256")

    def test_commands(self, python: str, tmp_path: Path) -> None:
        """The flask command also reports an unreadable .env as one problem."""
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
        assert run.stderr.splitlines()[1:] == ["  .env: is not UTF-8 text in line 1; save it as UTF-8"]

    def test_installed(self) -> None:
        """Every way of installing copies app/early.pth into site-packages."""
        for name in ("Makefile", "Dockerfile", "docs/operations.md"):
            assert "cp app/early.pth" in (ROOT / name).read_text("utf-8")


def test_prepared_workers(redis_server: RedisServer) -> None:
    """A worker inherits all templates compiled, and never collects what it inherits as garbage.

    Either would stop all responses while somebody looks at a page.
    """
    service = Gunicorn(redis_server.port)
    service.add_hooks(
        "import gc\n"
        "def worker_exit(_, worker):\n"
        " print('objects:', gc.get_freeze_count(), len(gc.get_objects()))\n"
        " pages = worker.wsgi.jinja_env\n"
        " pages.compile = lambda *_: print('compiled')\n"
        " print('loaded:', *map(pages.get_template, pages.list_templates()))\n"
    )
    with service:
        service.stop()
        workers = re.findall(r"objects: (\d+) (\d+)\n(.*)", service.log)

    assert workers
    for exempt, others, loaded in workers:
        assert int(exempt) > 10 * int(others)
        assert loaded.startswith("loaded: <Template")
