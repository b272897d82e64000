"""The Compose stack: its first start, its isolation, and the way in which Traefik uses /auth."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from app.settings import Settings
from devkit.backend import Backend
from devkit.compose import prepare
from devkit.http import Answer, call
from devkit.ports import free_port
from devkit.process import ROOT, Process

STACK: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = STACK["services"]
GRAFANA = ROOT / "deploy/compose/grafana"
ROUTES = (ROOT / "deploy/traefik/routes.yml").read_text("utf-8")
SETTINGS = {name.upper() for name in Settings.__dataclass_fields__}
SECRETS = {name.upper() for name, f in Settings.__dataclass_fields__.items() if f.metadata["secret"]}


class ShippedTraefik(Process):
    """Traefik with the flags and routes of the stack, changed only to use local addresses."""

    name = "traefik"

    def __init__(self, backend: int, auth: int = 0) -> None:
        super().__init__()
        self.port = free_port()
        routes = ROUTES.replace("http://whoami:80", f"http://127.0.0.1:{backend}")
        routes = routes.replace("http://auth:8000", f"http://127.0.0.1:{auth or backend}")
        (self.dir / "routes.yml").write_text(routes)
        local = {":8080": f"127.0.0.1:{self.port}", "/etc/traefik/dynamic": str(self.dir)}
        flags = [flag.partition("=") for flag in SERVICES["traefik"]["command"]]
        binary = str(Path(sys.executable).with_name("traefik"))
        self.argv = [binary, *(f"{name}={local.get(value, value)}" for name, _, value in flags)]

    def is_ready(self) -> bool:
        """Return whether the routes are loaded."""
        return self.get("whoami.localhost").status != 404

    def get(self, host: str, target: str = "/", **headers: str) -> Answer:
        """Send a request for *host*; underscores in header names are kept."""
        return call(self.port, target, [("Host", host), *headers.items()])


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    """Run a backend in place of every upstream; it answers 200 to everything, including /auth."""
    with Backend() as running:
        yield running


@pytest.fixture(scope="module")
def traefik(backend: Backend) -> Iterator[ShippedTraefik]:
    """Run Traefik as the stack does."""
    with ShippedTraefik(backend.port) as running:
        yield running


def make_secrets(directory: Path, profiles: str = "", **given: str) -> str:
    """Write *given* to files in *directory*, run the secrets service there, and return its output."""
    for name, value in given.items():
        (directory / name).write_text(value)
    return prepare(directory, profiles)


def settings_from(directory: Path) -> Settings:
    """Return the settings that the service reads from the files in *directory*."""
    environment = SERVICES["auth"]["environment"]
    return Settings.from_environ(
        {k: v.replace("/secrets", str(directory)) for k, v in environment.items() if k.endswith("_FILE")}
    )


@pytest.mark.parametrize("name", SERVICES)
def test_containers_are_unprivileged(name: str) -> None:
    """No container can write to its image, has a capability or can gain one."""
    service = SERVICES[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in service
    assert "privileged" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_user(name: str) -> None:
    """No container runs as root: the image of this repository sets a user, the others are given one."""
    user = str(SERVICES[name].get("user", ""))

    assert ("build" in SERVICES[name]) != bool(user)
    assert not user.startswith(("0", "root"))


def test_published_ports() -> None:
    """Traefik publishes a port, and so do the services of the profile `monitoring`, all on loopback."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {
        "traefik": ["127.0.0.1:${PORT:-8080}:8080"],
        "prometheus": ["127.0.0.1:${PROMETHEUS_PORT:-9090}:9090"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"],
    }


def test_profiles() -> None:
    """Without a profile, the stack has the services of its first version; each profile only adds some."""
    members: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for profile in service.get("profiles", [""]):
            members.setdefault(profile, set()).add(name)

    assert members == {
        "": {"traefik", "auth", "secrets", "redis", "whoami"},
        "ha": {"auth-2", "redis-2", "sentinel-1", "sentinel-2", "sentinel-3"},
        "monitoring": {"prometheus", "grafana"},
    }
    plain = members.pop("")
    assert all(set(SERVICES[name].get("depends_on", {})) <= plain for name in plain)


def test_networks() -> None:
    """Redis shares a network with the service only, and the service with Traefik and Prometheus only."""
    members = {n: {s for s in SERVICES if n in SERVICES[s].get("networks", [])} for n in STACK["networks"]}

    assert members == {
        "backends": {"traefik", "whoami"},
        "auth": {"traefik", "auth", "auth-2"},
        "redis": {"auth", "auth-2", "redis", "redis-2", "sentinel-1", "sentinel-2", "sentinel-3"},
        "metrics": {"auth", "auth-2", "prometheus"},
        "monitoring": {"prometheus", "grafana"},
    }
    assert all(STACK["networks"][name]["internal"] for name in ("auth", "redis", "metrics"))
    assert SERVICES["secrets"]["network_mode"] == "none"


def test_addresses() -> None:
    """Redis and the sentinels have addresses of their own, outside the range that Docker assigns from."""
    fixed = [
        service["networks"]["redis"]["ipv4_address"]
        for service in SERVICES.values()
        if service.get("image", "").startswith("redis:")
    ]

    assert fixed == [f"${{REDIS_NETWORK:-10.213.77}}.{number}" for number in (2, 3, 11, 12, 13)]
    assert STACK["networks"]["redis"]["ipam"]["config"] == [
        {"subnet": "${REDIS_NETWORK:-10.213.77}.0/24", "ip_range": "${REDIS_NETWORK:-10.213.77}.128/25"}
    ]


def test_second_replica() -> None:
    """The second replica differs in its networks only, and Traefik finds it under the name of the first."""
    first, second = SERVICES["auth"], dict(SERVICES["auth-2"])

    assert second.pop("profiles") == ["ha"]
    assert second.pop("networks")["auth"] == {"aliases": ["auth"]}
    assert second == {name: value for name, value in first.items() if name != "networks"}
    assert SERVICES["redis-2"]["command"] == SERVICES["redis"]["command"]


@pytest.mark.parametrize("name", SERVICES)
def test_limits(name: str) -> None:
    """Every container has a limit of memory and of processes; that of Redis leaves room for a fork."""
    size = re.fullmatch(r"(\d+)m", SERVICES[name]["mem_limit"])
    command = SERVICES[name].get("command") or []

    assert size
    assert 0 < SERVICES[name]["pids_limit"] <= 512
    if "--maxmemory" in command:
        assert int(size[1]) > 2 * int(command[command.index("--maxmemory") + 1].removesuffix("mb"))


def test_monitoring() -> None:
    """Prometheus scrapes both replicas, and Grafana finds Prometheus and the dashboard."""
    read = {path.name: yaml.safe_load(path.read_text("utf-8")) for path in GRAFANA.glob("*/*.yml")}
    source = read["prometheus.yml"]["datasources"][0]
    dashboards = read["acl-auth-service.yml"]["providers"][0]["options"]["path"]
    scraped = yaml.safe_load((ROOT / "deploy/monitoring/prometheus.yml").read_text("utf-8"))
    job = scraped["scrape_configs"][0]

    assert job["static_configs"][0]["targets"] == ["auth:8000"]
    assert job["dns_sd_configs"] == [{"names": ["auth-2"], "type": "A", "port": 8000}]
    assert (source["url"], source["type"]) == ("http://prometheus:9090", "prometheus")
    assert source["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]
    assert f"./deploy/monitoring:{dashboards}:ro,z" in SERVICES["grafana"]["volumes"]
    assert "./deploy/monitoring:/etc/prometheus:ro,z" in SERVICES["prometheus"]["volumes"]
    for image in (SERVICES[name]["image"] for name in ("prometheus", "grafana")):
        assert re.search(r":v?\d+\.\d+\.\d+$", image)


def test_docker_socket() -> None:
    """No container gets Docker's socket, which would make it root on the host."""
    assert "docker.sock" not in str(STACK)


def test_environment() -> None:
    """Every variable is a setting, and no secret is in an environment, which docker inspect shows."""
    environment = SERVICES["auth"]["environment"]

    assert set(environment) - {f"{name}_FILE" for name in SECRETS} <= SETTINGS - SECRETS
    assert not {name for service in SERVICES.values() for name in service.get("environment", {})} & SECRETS
    assert not [name for name in SERVICES["grafana"]["environment"] if name.endswith("PASSWORD")]
    assert not SECRETS & set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text("utf-8")))


def test_logs_are_bounded() -> None:
    """No container can fill the disk with its log."""
    for service in SERVICES.values():
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}


def test_image_is_pinned() -> None:
    """Traefik is pinned to a version with the required security fixes."""
    name, _, version = SERVICES["traefik"]["image"].partition(":v")

    assert name == "traefik"
    assert (3, 7, 13) <= tuple(map(int, version.split("."))) < (4,)


def test_grace() -> None:
    """The stop grace period is longer than gunicorn's graceful timeout."""
    config = (ROOT / "gunicorn.conf.py").read_text("utf-8")
    graceful = re.search(r"^graceful_timeout = (\d+)", config, re.MULTILINE)

    assert graceful
    assert int(graceful[1]) < int(SERVICES["auth"]["stop_grace_period"].removesuffix("s"))


def test_order() -> None:
    """The service starts after its secrets and Redis are ready, and Traefik after the service."""
    auth, traefik = SERVICES["auth"]["depends_on"], SERVICES["traefik"]["depends_on"]

    assert auth["secrets"]["condition"] == "service_completed_successfully"
    assert auth["redis"]["condition"] == traefik["auth"]["condition"] == "service_healthy"
    assert SERVICES["redis"]["depends_on"]["secrets"]["condition"] == "service_completed_successfully"
    assert "healthcheck" in SERVICES["redis"]


def test_redis_persistence() -> None:
    """Redis persists every change, evicts nothing, and keeps its data in a volume."""
    command = SERVICES["redis"]["command"]
    options = dict(itertools.pairwise(command))

    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory-policy"] == "noeviction"
    assert SERVICES["redis"]["volumes"] == ["redis:/data", "secrets:/secrets:ro"]


def test_first_start_creates_secrets(tmp_path: Path) -> None:
    """The first start creates secrets that the service accepts and only their owner can read.

    The containers of other users are in its group, and can open what is meant for them but list nothing.
    """
    make_secrets(tmp_path)
    settings = settings_from(tmp_path)
    shared = {"grafana_password", "redis.acl", "redis.conf", "sentinel.conf", "sentinels.acl"}

    assert len(settings.pepper) == len(settings.redis_password) == 64
    assert len(settings.admin_pass) >= 20
    assert {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {
        file.name: 0o640 if file.name in shared else 0o600 for file in tmp_path.iterdir()
    }
    assert tmp_path.stat().st_mode & 0o777 == 0o710
    assert [n for n in SERVICES if SERVICES[n].get("group_add")] == [
        n
        for n in SERVICES
        if "build" not in SERVICES[n] and "secrets:/secrets:ro" in SERVICES[n].get("volumes", [])
    ]


def test_password_is_shown_once(tmp_path: Path) -> None:
    """The generated password is printed once; later starts print the command that shows it."""
    first, second = make_secrets(tmp_path), make_secrets(tmp_path)
    password = settings_from(tmp_path).admin_pass

    assert password in first
    assert password not in second
    assert "docker compose exec auth cat /secrets/admin_user /secrets/admin_pass" in second


def test_secrets_stay(tmp_path: Path) -> None:
    """A second start leaves the secrets unchanged."""
    make_secrets(tmp_path)
    before = {file.name: file.read_text() for file in tmp_path.iterdir()}
    make_secrets(tmp_path)

    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == before


def test_secrets_of_an_older_stack(tmp_path: Path) -> None:
    """Secrets of a stack without a password for Redis stay, and it gets one."""
    older = {
        "pepper": "p" * 64,
        "pepper_previous": "",
        "admin_user": "admin",
        "admin_pass": "of the operator",
    }
    make_secrets(tmp_path, **{name: value + "\n" for name, value in older.items()})
    settings = settings_from(tmp_path)

    assert (settings.pepper, settings.admin_pass) == (older["pepper"], older["admin_pass"])
    assert len(settings.redis_password) == 64


def test_address_of_redis(tmp_path: Path) -> None:
    """The service asks the sentinels with the profile `ha`, alone or not, and else the one server."""
    make_secrets(tmp_path)
    assert settings_from(tmp_path).redis.server == ("redis", 6379)

    make_secrets(tmp_path, "monitoring,ha")
    location = settings_from(tmp_path).redis
    assert [host for host, _ in location.addresses] == [f"10.213.77.{number}" for number in (11, 12, 13)]
    assert location.service in (tmp_path / "sentinel.conf").read_text()


def test_back_to_one_server(tmp_path: Path) -> None:
    """A stack that had a replica does not start without it, because the first server may have old data."""
    make_secrets(tmp_path, "ha")
    before = (tmp_path / "redis_url").read_text()
    with pytest.raises(subprocess.CalledProcessError) as refused:
        make_secrets(tmp_path)
    assert b"COMPOSE_PROFILES=ha" in refused.value.stderr
    assert (tmp_path / "redis_url").read_text() == before

    (tmp_path / "redis_url").unlink()
    make_secrets(tmp_path)
    assert settings_from(tmp_path).redis.server


def test_passwords_in_configurations(tmp_path: Path) -> None:
    """Redis has its users' passwords as hashes, and no file of others has the password of the service."""
    make_secrets(tmp_path)
    passwords = {name: (tmp_path / name).read_text().strip() for name in ("redis_password", "ha_password")}

    for name in ("redis.acl", "sentinels.acl"):
        text = (tmp_path / name).read_text()
        assert all(f" #{sha256(password.encode()).hexdigest()} " in text for password in passwords.values())
        assert not [password for password in passwords.values() if password in text]
    for name in ("redis.conf", "sentinel.conf"):
        assert passwords["redis_password"] not in (tmp_path / name).read_text()


def test_own_secrets(tmp_path: Path) -> None:
    """Secrets supplied by the operator are used, without line ends, are kept and are never printed."""
    printed = make_secrets(
        tmp_path, new_pepper="salt\n", new_admin_user="operator\r\n", new_admin_pass="correct horse"
    )
    make_secrets(tmp_path)
    settings = settings_from(tmp_path)

    assert (settings.pepper, settings.admin_user, settings.admin_pass) == (
        "salt",
        "operator",
        "correct horse",
    )
    assert "correct horse" not in printed
    assert "salt" not in printed.split()


def test_new_pepper(tmp_path: Path) -> None:
    """A new pepper moves the old ones to pepper_previous without duplicates, so that tokens stay valid."""
    peppers = ("first", "second", "third", "second")
    printed = [make_secrets(tmp_path, new_pepper=pepper) for pepper in peppers]
    settings = settings_from(tmp_path)

    assert settings.pepper == "second"
    assert settings.pepper_previous == ("third", "first")
    assert "tokens from before stay valid" in printed[-1]


def test_forward_auth() -> None:
    """The middleware asks /auth, trusts no client header, and removes the raw token from the request."""
    assert yaml.safe_load(ROUTES)["http"]["middlewares"]["auth-middleware"]["forwardAuth"] == {
        "address": "http://auth:8000/auth",
        "trustForwardHeader": False,
        "authRequestHeaders": ["Authorization"],
        "authResponseHeaders": ["Authorization", "X-Auth-Token-Id", "X-Auth-Email", "X-Auth-Comment"],
        "maxResponseBodySize": 4096,
    }


def test_traefik_warns_of_nothing(traefik: ShippedTraefik) -> None:
    """Traefik starts with the shipped flags and routes without a warning."""
    assert "Traefik version" in traefik.log
    assert not re.search("WRN|ERR", traefik.log)


def test_auth_is_asked_first(traefik: ShippedTraefik, backend: Backend) -> None:
    """A request to the backend causes a request to /auth first."""
    backend.seen.clear()
    traefik.get("whoami.localhost", "/page")

    assert [received.path for received in backend.seen] == ["/auth", "/page"]


def test_aliases(traefik: ShippedTraefik, backend: Backend) -> None:
    """Neither an identity header with underscores nor the raw token reaches the backend."""
    traefik.get("whoami.localhost", X_Auth_Token_Id="forged", Authorization="Bearer secret")
    arrived = {name.lower() for name, _ in backend.seen[-1].headers}

    assert not arrived & {"x_auth_token_id", "x-auth-token-id", "authorization"}


def test_admin_pages(traefik: ShippedTraefik, backend: Backend) -> None:
    """The admin host leads to the pages without asking for a token."""
    backend.seen.clear()

    assert traefik.get("auth.localhost", "/create_token").status == 200
    assert [received.path for received in backend.seen] == ["/create_token"]


@pytest.mark.parametrize("host", ["auth.localhost", "AUTH.localhost:8080", "other.localhost", "auth"])
@pytest.mark.parametrize(
    "target",
    ["/auth", "/auth/", "//auth", "/%61uth", "/x/../auth", "/auth?x", "/healthz", "/livez", "/metrics"],
)
def test_not_public(traefik: ShippedTraefik, host: str, target: str) -> None:
    """/auth, the probes and the metrics are not public, in any spelling of host and path."""
    assert traefik.get(host, target).status == 404
