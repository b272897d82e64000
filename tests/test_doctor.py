"""``flask doctor`` without a service or a proxy: settings, files, limits, options and the report."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from click import unstyle

from app import create_app
from app.cli.doctor import local, report
from app.cli.doctor.visits import Url, parse_connect_to
from app.cli.doctor.wallet import Minted
from app.core.checkup import Checkup, Server, findings_of, summary_of
from app.core.credentials import SOURCES, parse_sources
from app.core.findings import EXIT_STATUS, RULES, Area, Finding, Severity, finding
from devkit.builders import ENVIRON, make_settings, make_token
from devkit.ports import free_port
from devkit.process import ROOT


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"TRUSTED_PROXIES": "private, 192.0.2.0/24, 104.16.0.0/13, 2400:cb00::/32, unix"}, set()),
        ({"TRUSTED_PROXIES": "0.0.0.0/1, 128.0.0.0/1"}, {"proxies-too-wide"}),
        ({"TRUSTED_PROXIES": "2000::/3"}, {"proxies-too-wide"}),
        ({"ADMIN_PASS": "hunter2"}, {"password-short"}),
        ({"PEPPER": "salt"}, {"pepper-short"}),
        ({"ADMIN_ENABLED": "false", "ADMIN_PASS": ""}, set()),
        ({"ADMIN_ALLOWED_NETWORKS": "10.0.0.0/8"}, {"networks-without-proxies"}),
        ({"ADMIN_ALLOWED_NETWORKS": "10.0.0.0/8", "TRUSTED_PROXIES": "private"}, set()),
        ({"REDIS_TLS": "true", "REDIS_TLS_SKIP_VERIFY": "true"}, {"redis-certificate-unchecked"}),
        ({"REDIS_HOST": "9.9.9.9"}, {"redis-unencrypted"}),
        ({"REDIS_HOST": "2620:fe::9"}, {"redis-unencrypted"}),
        ({"REDIS_HOST": "9.9.9.9", "REDIS_TLS": "true"}, set()),
        ({"REDIS_HOST": "10.0.0.9"}, set()),
        ({"REDIS_URL": "unix:///run/redis.sock"}, set()),
    ],
)
def test_settings(changes: dict[str, str], expected: set[str]) -> None:
    """Valid settings that are weak are found, and no others."""
    assert {one.id for one in local.settings_findings(make_settings(**changes))} == expected


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o600, []),
        (0o640, []),
        (0o440, []),
        (0o644, ["file-readable"]),
        (0o604, ["file-readable"]),
        (0o666, ["file-writable"]),
        (0o602, ["file-writable"]),
    ],
)
def test_modes(tmp_path: Path, mode: int, expected: list[str]) -> None:
    """A file of secrets that every user may read or change is found."""
    file = tmp_path / "secret"
    file.touch()
    file.chmod(mode)

    assert [one.id for one in local.modes(file)] == expected


def test_sources() -> None:
    """A token is sent so that each source of credentials reads it, and its traces find it again."""
    sources = parse_sources(f"{','.join(SOURCES)},header:api-key")
    minted = Minted("acl_secret", sources, make_token())

    for source in sources:
        ((header, value),) = minted.sent_in(source)
        assert (header, source.read(value)) == (source.header, "acl_secret")
        assert any(trace in value for trace in minted.traces)


def test_mounted_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that a container engine has mounted may be readable for all, but not writable."""
    monkeypatch.setattr(local, "_MOUNTED", tmp_path)
    file = tmp_path / "secret"
    file.touch()
    found = []
    for mode in (0o444, 0o666):
        file.chmod(mode)
        found.append([one.id for one in local.modes(file)])

    assert found == [[], ["file-writable"]]


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are .env, those of secrets, tables and what these name, not certificates or missing ones."""
    monkeypatch.chdir(tmp_path)
    names = [".env", "pepper", "url", "backends.toml", "tokens", "key.pem", "ca.pem", "openai", "ci"]
    for name in names:
        Path(name).touch()
    backend = '[[backend]]\nheaders = { A = { file = "openai" }, B = { file = "gone" } }'
    Path("backends.toml").write_text(backend)
    Path("tokens").write_text('[ci]\nsecret_file = "ci"')
    variables = ("PEPPER", "REDIS_URL", "BACKENDS", "TOKENS", "REDIS_TLS_KEY", "REDIS_TLS_CA")
    environ = {f"{name}_FILE": file for name, file in zip(variables, names[1:], strict=False)}
    environ |= {"ADMIN_PASS_FILE": "gone", "X_FILE": "url"}

    assert sorted(map(str, local.secret_files(environ))) == sorted({*names} - {"ca.pem"})


@pytest.mark.parametrize(
    ("limit", "expected"), [(256, {"open-files-low"}), (1024, set()), (resource.RLIM_INFINITY, set())]
)
def test_open_files(limit: int, expected: set[str]) -> None:
    """A limit of open files below what a worker needs is found."""
    found = {one.id for one in local.machine_findings({}, limit)}

    assert found & {"open-files-low"} == expected


def test_heartbeats(tmp_path: Path) -> None:
    """A missing directory for heartbeats is found."""
    assert [one.id for one in local.heartbeats(tmp_path / "missing")] == ["shm-unusable"]
    assert list(local.heartbeats(tmp_path)) == []


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"redis_version": "6.2.14"}, "redis-too-old"),
        ({"redis_version": "7.0.15", "aof_enabled": "1"}, "redis-unconfirming"),
        ({"redis_version": "7.0.15", "aof_enabled": "0"}, "redis-aof-off"),
        ({"aof_last_write_status": "err"}, "redis-write-failed"),
        ({"aof_last_bgrewrite_status": "err"}, "redis-write-failed"),
        ({"rdb_last_bgsave_status": "err"}, "redis-write-failed"),
        ({"maxmemory": "100", "used_memory": "90"}, "redis-memory-low"),
    ],
)
def test_servers(info: dict[str, str], expected: str) -> None:
    """What INFO tells about a server is judged, and the finding names the node of a Cluster."""
    (found,) = findings_of(Checkup(servers=(Server(name="10.0.0.7:6379", info=info, is_cluster=True),)))

    assert found.id == expected
    assert "Redis at 10.0.0.7:6379" in found.what


def test_healthy_servers() -> None:
    """Nothing is wrong with good servers, nodes of a Cluster with replicas, and odd or missing fields."""
    good = {"redis_version": "7.2.4", "aof_enabled": "1", "maxmemory": "100", "used_memory": "89"}
    node = Server(name="a:1", info=good | {"connected_slaves": "1"}, is_cluster=True)
    synced = Server(info=good | {"redis_version": "7.0.15"}, fsync="always")
    odd = Server(info={"redis_version": "unknown", "maxmemory": "many", "role": ""})

    assert list(findings_of(Checkup(servers=(Server(info=good), node, synced, odd), deadline_s=0.25))) == []
    assert summary_of(Checkup(servers=(node,))).startswith("7.2.4, append-only file on")
    assert summary_of(Checkup(servers=(node, odd))) == "2 primaries, 7.2.4, unknown"


def test_distance() -> None:
    """A round trip of more than half the deadline is found."""
    near, far = Server(trip_s=0.12), Server(trip_s=0.13)

    assert [one.id for one in findings_of(Checkup(servers=(near, far), deadline_s=0.25))] == ["redis-far"]


def test_one_reason() -> None:
    """That no decision can be made is told if nothing else explains it."""
    down = Checkup(servers=(Server(unreachable="refused"),), undecided="refused")
    unexplained = Checkup(servers=(Server(),), undecided="NOREPLICAS")

    assert [one.id for one in findings_of(down)] == ["redis-unreachable"]
    assert [one.id for one in findings_of(unexplained)] == ["redis-undecided"]


def test_sentinels_down() -> None:
    """Each sentinel that can't be used is found."""
    assert [one.id for one in findings_of(Checkup(sentinels_down={"a:26379": "refused"}))] == [
        "redis-sentinel-down"
    ]


@pytest.mark.parametrize(
    ("typed", "shown", "authority"),
    [
        ("https://App.Example.com", "https://app.example.com/", "app.example.com"),
        ("http://a.test:8080/x?y=z", "http://a.test:8080/x?y=z", "a.test:8080"),
        ("https://a.test:443/", "https://a.test/", "a.test"),
        ("http://[::1]:8000", "http://[::1]:8000/", "[::1]:8000"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC", "xn--bcher-kva.example"),
    ],
)
def test_addresses(typed: str, shown: str, authority: str) -> None:
    """An address is any that a client may use."""
    assert (str(Url.parse(typed)), Url.parse(typed).authority) == (shown, authority)


@pytest.mark.parametrize(
    "args",
    [
        ["--url", "app.example.com"],
        ["--url", "ftp://a.test"],
        ["--url", "https://"],
        ["--url", "https://user:secret@a.test"],
        ["--url", "https://a.test:99999"],
        ["--url", "https://a_b..test"],
        ["--url", "http://[::1"],
        ["--url", "http://*"],
        ["--url", "https://a.test", "--connect-to", "b.test:x"],
        ["--url", "https://a.test", "--connect-to", "b.test:0"],
        ["--connect-to", "b.test"],
        ["-k"],
    ],
)
def test_wrong_options(args: list[str]) -> None:
    """A wrong option ends with status 2 and one message, which does not quote a password."""
    done = create_app(make_settings()).test_cli_runner().invoke(args=["doctor", *args])

    assert done.exit_code == 2
    assert "Error: " in done.output
    assert "secret" not in done.output


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("traefik", ("traefik", None)),
        ("a.test:81", ("a.test", 81)),
        ("[::1]:81", ("::1", 81)),
        ("[::1]", ("::1", None)),
    ],
)
def test_places(typed: str, expected: tuple[str, int | None]) -> None:
    """The proxy may be given with or without a port."""
    assert parse_connect_to(typed) == expected


def test_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report has a line for each area and the worst finding first, in lines that fit the terminal."""
    monkeypatch.setenv("COLUMNS", "60")
    found = [finding("entrance-blind"), finding("redis-evicts", server="", policy="allkeys-lru\x1b[2J")]
    found += [finding("entrance-public-probe", path=path, host="a.test") for path in ("/livez", "/healthz")]
    lines = report.as_text(found, {Area.SETTINGS: "valid", Area.REDIS: "7.0"}).splitlines()

    assert max(len(unstyle(line)) for line in lines[4:]) <= 60
    assert [line.split()[0] for line in lines[:4]] == list(Area)
    assert "not checked" in lines[1]
    assert "redis-evicts: Redis has maxmemory-policy" in lines[5]
    assert "      /healthz answers to the public at Host: a.test" in lines
    assert sum("fix: " in line for line in lines) == 3
    assert "\x1b[2J" not in "".join(lines)


def test_exit_status() -> None:
    """The worst finding decides, and nothing but a warning or an error fails."""
    every = {severity: Finding("x", severity, Area.REDIS, "", "", "") for severity in Severity}
    ranked = [report.exit_status([]), *(report.exit_status([one]) for one in every.values())]

    assert ranked == [0, *EXIT_STATUS.values()] == sorted(ranked)
    assert report.exit_status(every.values()) == EXIT_STATUS[Severity.ERROR]


def doctor(tmp_path: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run ``flask doctor`` as a shell does, in an empty directory."""
    argv = [sys.executable, "-m", "flask", "--app", "wsgi", "doctor", *args]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | environ
    return subprocess.run(
        argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60
    )


def test_invalid_settings(tmp_path: Path) -> None:
    """Each invalid setting is a finding, as is a readable file of secrets, and no secret is shown."""
    (tmp_path / ".env").write_text("ADMIN_PASS='first secret'\nREDIS_PORT=many\n")
    (tmp_path / ".env").chmod(0o644)
    done = doctor(tmp_path, "--json", PEPPER="second secret", REDIS_PASSWORD_FILE="missing")
    found = json.loads(done.stdout)

    assert (done.returncode, done.stderr) == (3, "")
    assert {one["id"] for one in found} == {"file-readable", "settings-invalid"}
    assert {one["what"].partition(":")[0] for one in found[1:]} == {
        "ADMIN_USER",
        "REDIS_PORT",
        "REDIS_PASSWORD",
    }
    assert "secret'" not in done.stdout


def test_redis_down(tmp_path: Path) -> None:
    """Without Redis, doctor reports that in a few lines, without colors in a pipe."""
    done = doctor(tmp_path, REDIS_PORT=str(free_port()), **ENVIRON)

    assert (done.returncode, done.stderr) == (3, "")
    assert "redis-unreachable: no answer from Redis" in done.stdout
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) < 24


def test_every_finding_is_planted() -> None:
    """A test names every finding."""
    tests = ("tests/test_doctor.py", "tests/e2e/test_doctor.py", "tests/store/test_checkup.py")
    text = "".join((ROOT / test).read_text("utf-8") for test in tests)

    assert [name for name in RULES if f'"{name}"' not in text and f'"{name}:' not in text] == []
