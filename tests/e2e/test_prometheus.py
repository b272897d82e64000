"""docs/recipes/prometheus.md: a real Prometheus scrapes and writes through a real Traefik."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest
import yaml  # type: ignore[import-untyped]

from devkit.backend import Backend, EchoHandler, Seen
from devkit.http import call
from devkit.ports import free_port
from devkit.process import Process
from devkit.programs import program
from devkit.proxies import Traefik, recipe
from devkit.server import read_body
from devkit.service import Gunicorn
from devkit.waiting import until

pytestmark = pytest.mark.e2e

PAGE = "docs/recipes/prometheus.md"


class _Metrics(EchoHandler):
    def answer(self, seen: Seen) -> None:
        """Answer a scrape, and accept a remote write."""
        self.server.seen.append(seen)
        read_body(self.rfile, seen.fields)
        body = b"answer 42\n"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.wfile.write(head + body)


class Prometheus(Process):
    """Prometheus with the documented configuration twice: with good tokens, and with a wrong one."""

    name = "prometheus"

    def __init__(self, traefik: int, **tokens: str) -> None:
        super().__init__()
        self.port = free_port()
        for name, token in tokens.items():
            (self.dir / f"{name}.token").write_text(token)
        config: dict[str, Any] = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}}
        for part in (self._part("", traefik), self._part("wrong", traefik)):
            for name, found in part.items():
                config.setdefault(name, []).extend(found)
        (self.dir / "prometheus.yml").write_text(yaml.safe_dump(config))
        options = {
            "config.file": self.dir / "prometheus.yml",
            "storage.tsdb.path": self.dir / "data",
            "web.listen-address": f"127.0.0.1:{self.port}",
        }
        self.argv = [program("prometheus"), *(f"--{name}={value}" for name, value in options.items())]

    def _part(self, token: str, traefik: int) -> Any:
        """Return the configuration, with *token* instead of the documented ones if it is given."""
        text = recipe("", "yaml", PAGE) + recipe("", "yaml", PAGE, 1)
        text = re.sub(r"\w+\.example\.com", f"127.0.0.1:{traefik}", text).replace("https", "http")
        text = re.sub(r"/etc/prometheus/(\w+)", f"{self.dir}/" + (token or r"\1"), text)
        return yaml.safe_load(text.replace("job_name: app", f"job_name: app{token}"))

    def is_ready(self) -> bool:
        """Return whether it answers queries."""
        return call(self.port, "/-/ready").status == 200

    def up(self, job: str) -> list[str]:
        """Return the last samples of `up`."""
        query = quote(f'up{{job="{job}"}}')
        found = call(self.port, f"/api/v1/query?query={query}").json()["data"]["result"]
        return [sample["value"][1] for sample in found]

    def errors(self) -> list[str]:
        """Return the errors that the page of targets shows."""
        targets = call(self.port, "/api/v1/targets").json()["data"]["activeTargets"]
        return [target["lastError"] for target in targets if target["lastError"]]


def test_scrape_and_write(service: Gunicorn) -> None:
    """Good tokens scrape and write; what a wrong one gets is lost, until its file has a good one."""
    scraping = service.issue("127.0.0.1", methods="GET", paths="/metrics")
    writing = service.issue("127.0.0.1", methods="POST", paths="/api/v1/write")
    with (
        Backend(_Metrics) as backend,
        Traefik(service.port, backend.port, host="127.0.0.1") as traefik,
        Prometheus(traefik.port, app=scraping, write=writing, wrong="acl_wrong") as prometheus,
    ):
        until(lambda: prometheus.up("app") == ["1"] and prometheus.up("appwrong") == ["0"])
        until(lambda: service.allowed(writing) > 0 and "non-recoverable error" in prometheus.log)
        shown, logged = (recipe("When it is refused", "text", PAGE, nth).strip() for nth in (0, 1))
        assert prometheus.errors() == [shown]
        assert f'err="{logged}"' in prometheus.log
        (prometheus.dir / "wrong.token").write_text(scraping)
        until(lambda: prometheus.up("appwrong") == ["1"])

    assert {seen.path for seen in backend.seen} == {"/metrics", "/api/v1/write"}
    assert not {scraping, writing} & set(re.findall(r"acl_\w+", str(backend.seen)))
