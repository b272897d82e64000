"""Clients behind nginx, which forwards one challenge only and sets Host as configured."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from devkit.http import Answer, call
from devkit.ports import free_port
from devkit.process import Process
from devkit.redis_server import RedisServer
from devkit.service import BASIC, Gunicorn

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not (which("nginx") and which("git")), reason="there is no nginx or no git on the PATH"
    ),
]

_HTTP = """
daemon off; user root; worker_processes 1; pid {dir}/pid; error_log stderr; events {{}}
http {{
  access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  server {{
    listen 127.0.0.1:{files};
    location / {{ auth_request /_auth; root {dir}/files; }}
    location = /_auth {{
      internal; proxy_pass http://127.0.0.1:{service}/auth;
      proxy_pass_request_headers off; proxy_pass_request_body off; proxy_set_header Content-Length "";
      proxy_set_header Authorization $http_authorization; proxy_set_header X-Forwarded-Host $host;
    }}
  }}
  server {{
    listen 127.0.0.1:{without_port};
    location / {{ proxy_pass http://127.0.0.1:{service}; proxy_set_header Host $host; }}
  }}
  server {{
    listen 127.0.0.1:{with_port};
    location / {{ proxy_pass http://127.0.0.1:{service}; proxy_set_header Host $http_host; }}
  }}
}}
"""


class Nginx(Process):
    """nginx with auth_request in front of files, and as a proxy of the pages with two settings of Host."""

    name = "nginx"

    def __init__(self, service: int) -> None:
        super().__init__()
        self.files, self.with_port, self.without_port = free_port(), free_port(), free_port()
        ports = {"files": self.files, "with_port": self.with_port, "without_port": self.without_port}
        (self.dir / "nginx.conf").write_text(_HTTP.format(dir=self.dir, service=service, **ports))
        self.argv = ["nginx", "-c", str(self.dir / "nginx.conf"), "-e", "stderr"]

    def is_ready(self) -> bool:
        """Return whether nginx forwards requests."""
        return call(self.with_port, "/livez").status == 200


@pytest.fixture(scope="module", name="service")
def _service(redis_server: RedisServer) -> Iterator[Gunicorn]:
    sources = "basic,authorization"
    with Gunicorn(redis_server.port, web_concurrency=1, credential_sources=sources) as service:
        yield service


@pytest.fixture(scope="module", name="nginx")
def _nginx(service: Gunicorn) -> Iterator[Nginx]:
    with Nginx(service.port) as nginx:
        yield nginx


def git(directory: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run git without any user or system configuration."""
    clean_env = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "HOME": str(directory)}
    identity = ["-c", "user.name=t", "-c", "user.email=t@t.test", "-c", "init.defaultBranch=main"]
    argv = ["git", *identity, *args]
    env = clean_env | {"PATH": os.environ["PATH"]}
    return subprocess.run(
        argv, cwd=directory, env=env, capture_output=True, text=True, check=False, timeout=60
    )


def test_git(service: Gunicorn, nginx: Nginx, tmp_path: Path) -> None:
    """Git sends its password only if the first challenge is for Basic, because nginx forwards no other."""
    repository, served = tmp_path / "repository", nginx.dir / "files" / "repository.git"
    for args in (
        ["init", str(repository)],
        ["-C", str(repository), "commit", "--allow-empty", "-m", "first"],
    ):
        assert git(tmp_path, *args).returncode == 0
    assert git(tmp_path, "clone", "--bare", str(repository), str(served)).returncode == 0
    assert git(served, "update-server-info").returncode == 0
    token = service.issue("127.0.0.1")

    def clone(password: str) -> subprocess.CompletedProcess[str]:
        address = f"http://token:{password}@127.0.0.1:{nginx.files}/repository.git"
        return git(tmp_path, "clone", address, str(tmp_path / password[:8]))

    cloned, refused = clone(token), clone("wrong")
    assert cloned.returncode == 0, cloned.stderr
    assert "Authentication failed" in refused.stderr


@pytest.mark.skipif(not which("skopeo"), reason="there is no skopeo on the PATH")
def test_registry(service: Gunicorn, nginx: Nginx, tmp_path: Path) -> None:
    """A container registry client logs in with the token as its password."""
    (nginx.dir / "files" / "v2").mkdir(parents=True)
    (nginx.dir / "files" / "v2" / "index.html").write_text("{}")
    token, registry = service.issue("127.0.0.1"), f"127.0.0.1:{nginx.files}"

    def login(password: str) -> str:
        target = ["--authfile", str(tmp_path / "auth.json"), "--tls-verify=false", registry]
        argv = ["skopeo", "login", "--username", "token", "--password-stdin", *target]
        result = subprocess.run(argv, input=password, capture_output=True, text=True, check=False, timeout=60)
        return result.stdout + result.stderr

    assert "Login Succeeded" in login(token)
    assert "invalid username/password" in login("wrong")


def post(port: int, origin: str) -> Answer:
    """Submit the token form on *port* as a browser whose page has *origin*."""
    kind = ("Content-Type", "application/x-www-form-urlencoded")
    headers = [("Host", f"127.0.0.1:{port}"), ("Origin", origin), ("Authorization", BASIC), kind]
    return call(port, "/create_token", headers, "POST", b"hosts=a.test")


def test_form(service: Gunicorn, nginx: Nginx) -> None:
    """The form needs the browser's Host; otherwise the page and the log say what arrived and what to set."""
    own_origin = f"http://127.0.0.1:{nginx.without_port}"
    refused = post(nginx.without_port, own_origin)

    assert post(nginx.with_port, f"http://127.0.0.1:{nginx.with_port}").status == 200
    assert post(nginx.with_port, "http://evil.test").status == 403
    assert refused.status == 403
    for message in (refused.text.replace("&#39;", "'"), service.log):
        assert f"Origin '{own_origin}', Host '127.0.0.1'" in message
        assert "proxy_set_header Host $http_host" in message
