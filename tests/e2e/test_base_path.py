"""BASE_PATH behind a real Traefik that strips it, and behind one that keeps it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from devkit.backend import Backend
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


@pytest.mark.parametrize("host", ["stripped.test", "kept.test"])
def test_every_link_leads_back_through_the_proxy(below: Traefik, host: str) -> None:
    """A form is found, sent and followed by the links alone, and a token that it creates works."""
    page = below.call(host=host, target="/acl/new", headers=[AUTH])
    assert page.status == 200
    links = {*re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)}
    found = {link: below.call(host=host, target=link, headers=[AUTH]).status for link in links}
    assert {link: status for link, status in found.items() if status not in {200, 405}} == {}
    assert all(link.startswith("/acl/") for link in links)

    origin = ("Origin", f"http://{host}")
    sent = {"method": "POST", "body": b"hosts=a.test", "headers": [AUTH, FORM, origin]}
    made = below.call(host=host, target="/acl/create_token", **sent)
    secret = re.search(r"acl_[0-9A-Za-z]{38}", made.text)
    assert secret
    assert below.call(secret[0], "a.test").status == 200
    sent["body"] = f"token={secret[0]}".encode()
    deleted = below.call(host=host, target="/acl/delete_token", **sent)
    assert deleted.status == 303
    assert below.call(host=host, target=deleted.headers["location"], headers=[AUTH]).status == 200


def test_kept_path_opens_nothing_else(below: Traefik) -> None:
    """A public path does not reach decisions, health and metrics, however it is written."""
    for path in ("auth", "healthz", "livez", "metrics", "/auth", "%61uth", "./auth", "x/../auth", "auth/x"):
        answer = below.call(host="kept.test", target=f"/acl/{path}")
        assert (path, answer.status) in {(path, 404), (path, 400)}
