"""The alerts and the dashboard, on a real Prometheus that scrapes a real service."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import yaml  # type: ignore[import-untyped]

from devkit.http import call
from devkit.ports import free_port
from devkit.process import ROOT, Process
from devkit.programs import program
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.waiting import until

pytestmark = pytest.mark.e2e

MONITORING = ROOT / "deploy/monitoring"
PANELS = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))["panels"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel.get("targets", [])]
RULES = yaml.safe_load((MONITORING / "alerts.yml").read_text("utf-8"))["groups"][0]["rules"]
VARIABLES = {"$__rate_interval": "10m", "$job": "acl-auth-service", "$instance": ".*"}


class Prometheus(Process):
    """Prometheus with the configuration in deploy/monitoring, for one target and with a short interval."""

    name = "prometheus"

    def __init__(self, target: int) -> None:
        super().__init__()
        self.port = free_port()
        config = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(MONITORING / name) for name in config["rule_files"]]
        job = config["scrape_configs"][0]
        job["static_configs"][0]["targets"] = [f"127.0.0.1:{target}"]
        del job["dns_sd_configs"]  # which needs a name server
        path = self.dir / "prometheus.yml"
        path.write_text(yaml.safe_dump(config))
        options = {
            "config.file": path,
            "storage.tsdb.path": self.dir / "data",
            "web.listen-address": f"127.0.0.1:{self.port}",
            "log.level": "warn",
        }
        self.argv = [program("prometheus"), *(f"--{name}={value}" for name, value in options.items())]

    def is_ready(self) -> bool:
        """Return whether it answers queries."""
        return call(self.port, "/-/ready").status == 200

    def query(self, expression: str) -> Any:
        """Return the result of *expression* now; raises AssertionError with the error if it has one."""
        answer = call(self.port, f"/api/v1/query?query={quote(expression)}").json()
        assert answer["status"] == "success", answer
        return answer["data"]["result"]


@pytest.fixture(scope="module", name="prometheus")
def _prometheus(redis_server: RedisServer) -> Iterator[Prometheus]:
    """Return a Prometheus that scraped a service before and after requests of every kind that panels show."""
    with Gunicorn(redis_server.port, web_concurrency=2) as service, Prometheus(service.port) as prometheus:
        until(lambda: prometheus.query("acl_auth_redis_up == 1"))
        token = service.issue("a.test")
        for host in ("a.test", "b.test"):
            service.auth(token, host)
        until(lambda: prometheus.query('rate(acl_auth_decisions_total{verdict="wrong_host"}[10m]) > 0'))
        yield prometheus


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_panels(prometheus: Prometheus, expression: str) -> None:
    """Every expression of the dashboard has a result, which is a number."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    found = prometheus.query(expression)

    assert found
    assert all(re.fullmatch(r"\d+(\.\d+)?(e-?\d+)?", sample["value"][1]) for sample in found)


def test_rules(prometheus: Prometheus) -> None:
    """Prometheus evaluates every alert without an error; no critical one is met while the service runs."""
    assert [rule["name"] for rule in _rules(prometheus)] == [rule["alert"] for rule in RULES]
    until(lambda: {rule["health"] for rule in _rules(prometheus)} == {"ok"})
    critical = [rule for rule in _rules(prometheus) if rule["labels"]["severity"] == "critical"]
    assert [rule["state"] for rule in critical] == ["inactive"] * 3


def _rules(prometheus: Prometheus) -> Any:
    return call(prometheus.port, "/api/v1/rules").json()["data"]["groups"][0]["rules"]


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("check config", "prometheus.yml"),
        ("check rules", "alerts.yml"),
        ("test rules", "alerts_test.yml"),
    ],
)
def test_promtool(command: str, file: str) -> None:
    """Promtool accepts the example and the alerts, and each alert fires when it should and only then."""
    argv = [program("promtool"), *command.split(), str(MONITORING / file)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
