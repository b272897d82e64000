"""skopeo and git, which can send nothing but a password, with a token as that password."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from devkit.http import call
from devkit.ports import free_port
from devkit.process import Process
from devkit.programs import program
from devkit.proxies import Caddy, HAProxy, Nginx, Proxy, Traefik
from devkit.redis_server import RedisServer
from devkit.server import Server, read_body
from devkit.service import Gunicorn

pytestmark = pytest.mark.e2e

HOST = "localhost"


@pytest.fixture(scope="module", name="passwords", params=["basic", "basic,authorization"])
def _passwords(request: Any, redis_server: RedisServer) -> Iterator[Gunicorn]:
    with Gunicorn(redis_server.port, credential_sources=request.param, redis_deadline_ms=5000) as service:
        yield service


class Registry(Process):
    """Debian's docker-registry without authentication."""

    name = "registry"

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        storage = {"filesystem": {"rootdirectory": str(self.dir / "images")}}
        config = {"version": 0.1, "storage": storage, "http": {"addr": f"127.0.0.1:{self.port}"}}
        (self.dir / "config.yml").write_text(json.dumps(config))
        self.argv = [program("docker-registry"), "serve", str(self.dir / "config.yml")]

    def is_ready(self) -> bool:
        """Return whether the registry answers."""
        return call(self.port, "/v2/").status == 200


class TestRegistry:
    """skopeo through Traefik to docker-registry."""

    @pytest.fixture(name="address")
    def _address(self, passwords: Gunicorn) -> Iterator[str]:
        with Registry() as registry, Traefik(passwords.port, registry.port, host=HOST) as traefik:
            yield f"docker://{HOST}:{traefik.port}/app:1"

    def test_push_and_pull(self, address: str, passwords: Gunicorn, tmp_path: Path) -> None:
        """An image pushed with a token for it alone can be pulled back intact with one that only pulls."""
        pushing = passwords.issue(HOST, paths="/v2/ /v2/app/*")
        pulling, files = passwords.issue(HOST, methods="GET"), write_image(tmp_path / "image")

        pushed = skopeo("copy", "--dest-creds", f"any:{pushing}", f"oci:{tmp_path / 'image'}:1", address)
        assert pushed.returncode == 0, pushed.stderr
        pulled = skopeo("copy", "--src-creds", f"any:{pulling}", address, f"oci:{tmp_path / 'back'}:1")
        assert pulled.returncode == 0, pulled.stderr
        assert [passwords.allowed(pushing), passwords.allowed(pulling)] == [10, 3]
        assert all((tmp_path / "back" / "blobs" / "sha256" / name).is_file() for name in files)

    @pytest.mark.parametrize("creds", ["any:wrong", ""])
    def test_refused(self, address: str, tmp_path: Path, creds: str) -> None:
        """Without a valid token nothing is pushed, and skopeo reports an authentication error."""
        write_image(tmp_path / "image")
        login = ["--dest-creds", creds] if creds else ["--dest-no-creds"]
        pushed = skopeo("copy", *login, f"oci:{tmp_path / 'image'}:1", address)

        assert pushed.returncode != 0
        assert "unauthorized" in pushed.stderr or "authentication required" in pushed.stderr


def test_challenges(passwords: Gunicorn) -> None:
    """HAProxy's Lua hands on all challenges in their order, because skopeo and podman look at the first."""
    program(HAProxy.binary)
    with HAProxy(passwords.port, free_port()) as haproxy:
        answers = haproxy.call(), call(passwords.port, "/auth")
    through, direct = (
        [field for field in each.all if field[0].lower() == "www-authenticate"] for each in answers
    )

    assert [value for _, value in through] == [value for _, value in direct]


def skopeo(command: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run skopeo without TLS verification and without the user's policy."""
    tls = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    return subprocess.run(
        [program("skopeo"), "--insecure-policy", command, *tls, *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def write_image(directory: Path) -> list[str]:
    """Write an OCI image with one empty layer, and return the names of its blobs."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(kind: str, data: bytes) -> dict[str, Any]:
        digest = sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        media_type = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    tar = bytes(10_240)
    layer = blob("layer.v1.tar+gzip", gzip.compress(tar, mtime=0))
    root = {"type": "layers", "diff_ids": [f"sha256:{sha256(tar).hexdigest()}"]}
    config = {"architecture": "amd64", "os": "linux", "rootfs": root, "config": {}}
    described = blob("config.v1+json", json.dumps(config).encode())
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": described, "layers": [layer]}
    listed = blob("manifest.v1+json", json.dumps(manifest).encode())
    index = {"schemaVersion": 2, "manifests": [listed | {"annotations": {_NAME: "1"}}]}
    (directory / "index.json").write_text(json.dumps(index))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return [name.name for name in blobs.iterdir()]


_NAME = "org.opencontainers.image.ref.name"


class TestGit:
    """git through nginx and Caddy to git http-backend."""

    @pytest.fixture(name="repository")
    def _repository(self, tmp_path: Path) -> Path:
        path = tmp_path / "served" / "project.git"
        git(tmp_path, "init", "-q", "--bare", str(path))
        return path

    @pytest.fixture(name="proxy", params=[Nginx, Caddy], ids=lambda kind: kind.name)
    def _proxy(self, request: Any, passwords: Gunicorn, repository: Path) -> Iterator[Proxy]:
        if not request.param.path():
            pytest.skip(f"{request.param.binary} is not installed")
        with (
            GitServer(repository.parent) as server,
            request.param(passwords.port, server.port, host=HOST) as proxy,
        ):
            yield proxy

    def test_clone_and_push(self, proxy: Proxy, passwords: Gunicorn, tmp_path: Path) -> None:
        """A client clones, commits and pushes, and one with a token that only reads clones the commit."""
        writing = passwords.issue(HOST)
        reading = passwords.issue(HOST, paths="/project.git/info/refs /project.git/git-upload-pack")
        address = f"http://any:{writing}@{HOST}:{proxy.port}/project.git"

        assert git(tmp_path, "clone", "-q", address, "one").returncode == 0
        (tmp_path / "one" / "file").write_bytes(b"x" * 2_000_000)
        git(tmp_path / "one", "add", "file")
        git(tmp_path / "one", "commit", "-q", "-m", "first")
        pushed = git(tmp_path / "one", "push", "-q", "origin", "HEAD:main")
        assert pushed.returncode == 0, pushed.stderr
        assert (
            git(tmp_path, "clone", "-q", "-b", "main", address.replace(writing, reading), "two").returncode
            == 0
        )
        assert git(tmp_path / "two", "push", "-q", "origin", "HEAD:other").returncode != 0
        assert [passwords.allowed(writing), passwords.allowed(reading)] == [4, 4]
        assert (tmp_path / "two" / "file").stat().st_size == 2_000_000

    def test_refused(self, proxy: Proxy, tmp_path: Path) -> None:
        """A wrong token clones nothing."""
        cloned = git(tmp_path, "clone", "-q", f"http://any:wrong@{HOST}:{proxy.port}/project.git", "one")

        assert cloned.returncode != 0
        assert "Authentication failed" in cloned.stderr


def git(directory: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run git in *directory*, without the user's configuration and without prompts."""
    identity = {
        f"GIT_{role}_{field}": "a@a.test" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")
    }
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(directory),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    return subprocess.run(
        [program("git"), *args],
        cwd=directory,
        env=env | identity,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class GitServer(Server):
    """git http-backend as a CGI program for the user that the proxy names in X-Auth-Token-Id."""

    def __init__(self, root: Path) -> None:
        super().__init__(_GitHandler)
        self.root = root


class _GitHandler(BaseHTTPRequestHandler):
    server: GitServer

    def _serve(self) -> None:
        done = subprocess.run(
            [program("git"), "http-backend"],
            env=self._env(),
            input=read_body(self.rfile, {name.lower(): value for name, value in self.headers.items()}),
            capture_output=True,
            check=False,
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _serve  # noqa: N815 - the names that http.server looks for

    def _env(self) -> dict[str, str]:
        path, _, query = self.path.partition("?")
        named = {"CONTENT_TYPE": "Content-Type", "REMOTE_USER": "X-Auth-Token-Id"}
        named |= {"HTTP_CONTENT_ENCODING": "Content-Encoding", "HTTP_GIT_PROTOCOL": "Git-Protocol"}
        return {variable: self.headers.get(name, "") for variable, name in named.items()} | {
            "PATH": "/usr/bin:/bin",
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
        }

    def log_message(self, *_: object) -> None:
        """Suppress the request log."""
