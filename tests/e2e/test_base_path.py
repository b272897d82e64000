"""BASE_PATH behind a real Traefik that strips it, and behind one that keeps it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from devkit.backend import Backend
from devkit.http import Answer
from devkit.redis_server import RedisServer
from devkit.service import BASIC, Gunicorn
from devkit.traefik import Traefik

pytestmark = pytest.mark.e2e
AUTH = ("Authorization", BASIC)
FORM = ("Content-Type", "application/x-www-form-urlencoded")


@pytest.fixture(scope="module", name="below")
def _below(redis_server: RedisServer, echo: Backend) -> Iterator[Traefik]:
    with (
        Gunicorn(redis_server.port, web_concurrency=1, base_path="/acl") as service,
        Traefik(service.port, echo.port) as traefik,
    ):
        yield traefik


def send(below: Traefik, host: str, target: str, form: str) -> Answer:
    """Submit a form as a browser does that shows a page of *host*."""
    headers = [AUTH, FORM, ("Origin", f"http://{host}")]
    return below.call(host=host, target=target, headers=headers, method="POST", body=form.encode())


@pytest.mark.parametrize("host", ["stripped.test", "kept.test"])
def test_every_link_leads_back_through_the_proxy(below: Traefik, host: str) -> None:
    """A form is found, sent and followed by the links alone, and a token that it creates works."""
    page = below.call(host=host, target="/acl/new", headers=[AUTH])
    assert page.status == 200
    links = {*re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)}
    found = {link: below.call(host=host, target=link, headers=[AUTH]).status for link in links}
    assert {link: status for link, status in found.items() if status not in {200, 405}} == {}
    assert all(link.startswith("/acl/") for link in links)

    made = send(below, host, "/acl/create_token", "hosts=a.test")
    secret = re.search(r"acl_[0-9A-Za-z]{38}", made.text)
    assert secret
    assert below.call(secret[0], "a.test").status == 200
    deleted = send(below, host, "/acl/delete_token", f"token={secret[0]}")
    assert deleted.status == 303
    assert below.call(host=host, target=deleted.headers["location"], headers=[AUTH]).status == 200


def test_kept_path_opens_nothing_else(below: Traefik) -> None:
    """A public path does not reach decisions, health and metrics, however it is written."""
    for path in ("auth", "healthz", "livez", "metrics", "/auth", "%61uth", "./auth", "x/../auth", "auth/x"):
        answer = below.call(host="kept.test", target=f"/acl/{path}")
        assert (path, answer.status) in {(path, 404), (path, 400)}
