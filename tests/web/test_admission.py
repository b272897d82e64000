"""ADMIN_ENABLED, ADMIN_HOSTS, ADMIN_ALLOWED_NETWORKS and BASE_PATH."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core.admission import RESERVED
from app.settings import InvalidSettingsError
from devkit.builders import ENVIRON, make_settings
from tests.web.conftest import OPERATOR

Make = Callable[..., FlaskClient]
PAGES = ["/", "/new", "/overview", "/static/style.css", "/create_token", "/tokens/x", "/none"]
API = ["/api/v1/tokens", "/api/v1/openapi.json"]
FOR_PROGRAMS = {"/auth": 401, "/healthz": 200, "/livez": 200, "/metrics": 200, "/self": 401}
RIGHT = {"auth": OPERATOR}


def statuses(client: FlaskClient, paths: Any, **sent: Any) -> dict[str, int]:
    """Return the status of each path."""
    return {path: client.get(path, **sent).status_code for path in paths}


def test_without_pages(make_client: Make) -> None:
    """Pages and API are unknown with the right password too, and no password is required to start."""
    client = make_client(ADMIN_ENABLED="false", ADMIN_USER="", ADMIN_PASS="", SELF_SERVICE="read")
    assert set(statuses(client, [*PAGES, *API], **RIGHT).values()) == {404}
    assert statuses(client, FOR_PROGRAMS) == FOR_PROGRAMS
    assert client.get("/").text == client.get("/none").text
    assert client.get(API[0]).mimetype == "application/problem+json"
    assert client.post("/create_token", data={"hosts": "a.test"}, **RIGHT).status_code == 404


def test_password_is_required_with_pages() -> None:
    """ADMIN_USER and ADMIN_PASS are only optional if nothing asks for them."""
    for variables in ({}, {"ADMIN_ENABLED": "true"}, {"ADMIN_ENABLED": "maybe"}):
        with pytest.raises(InvalidSettingsError, match="ADMIN_PASS: is required"):
            make_settings(**ENVIRON | {"ADMIN_PASS": ""} | variables)
    with pytest.raises(InvalidSettingsError, match="ADMIN_PASS: is one of the first"):
        make_settings(ADMIN_ENABLED="false", ADMIN_PASS="admin")


def test_other_hosts(make_client: Make) -> None:
    """Pages and API answer at the listed hosts alone, before the password; what programs ask, at any."""
    client = make_client(ADMIN_HOSTS="admin.test", SELF_SERVICE="read")
    listed, other = {"Host": "ADMIN.test:8443"}, {"Host": "app.test"}
    assert statuses(client, ["/", *API], headers=listed, **RIGHT) == dict.fromkeys(["/", *API], 200)
    for sent in ({}, RIGHT):
        assert set(statuses(client, [*PAGES, *API], headers=other, **sent).values()) == {421}
    assert statuses(client, FOR_PROGRAMS, headers=other) == FOR_PROGRAMS
    assert client.get(API[0], headers=other).get_json()["status"] == 421
    assert "ADMIN_HOSTS" in client.get("/", headers=other).text


def test_other_networks(make_client: Make, database: Any) -> None:
    """Clients elsewhere are refused before their password is looked at, and may still use their tokens."""
    client = make_client(
        ADMIN_ALLOWED_NETWORKS="192.0.2.0/24", TRUSTED_PROXIES="127.0.0.1", SELF_SERVICE="read"
    )
    inside, outside = {"X-Forwarded-For": "192.0.2.7"}, {"X-Forwarded-For": "192.0.2.7, 203.0.113.9"}
    assert statuses(client, ["/", *API], headers=inside, **RIGHT) == dict.fromkeys(["/", *API], 200)
    wrong = {"auth": ("operator", "a-guess")}
    for _ in range(20):
        assert set(statuses(client, [*PAGES, *API], headers=outside, **wrong).values()) == {403}
    assert set(statuses(client, [*PAGES, *API], headers=outside, **RIGHT).values()) == {403}
    assert statuses(client, FOR_PROGRAMS, headers=outside) == FOR_PROGRAMS
    assert client.get("/", headers=outside).text == (
        "ADMIN_ALLOWED_NETWORKS does not include the address 203.0.113.9\n"
    )
    assert client.get(API[0], headers=outside).mimetype == "application/problem+json"
    assert not database.exists("{acl:logins}:wrong")


def test_unknown_proxy_does_not_pass_for_its_clients(make_client: Make) -> None:
    """Without TRUSTED_PROXIES, an allowed proxy does not open the pages to everyone behind it."""
    client = make_client(ADMIN_ALLOWED_NETWORKS="127.0.0.1")
    assert client.get("/", **RIGHT).status_code == 200
    refused = client.get("/", headers={"X-Forwarded-For": "203.0.113.9"}, **RIGHT)
    assert refused.status_code == 403
    assert "TRUSTED_PROXIES" in refused.text


@pytest.mark.parametrize("kept", ["", "/acl"], ids=["StripPrefix", "kept"])
def test_below_a_path(make_client: Make, kept: str) -> None:
    """Each page answers with the path and without it; every link, form and redirect has it."""
    client = make_client(BASE_PATH="/acl/")
    for path in ("/", "/new", "/overview", "/?status=ended", "/none"):
        page = client.get(kept + path, **RIGHT)
        links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)
        assert page.status_code == (404 if path == "/none" else 200)
        assert links
        assert [link for link in links if not link.startswith("/acl/")] == []
    made = client.post(f"{kept}/api/v1/tokens", json={"hosts": ["a.test"]}, **RIGHT)
    assert made.location == f"/acl/api/v1/tokens/{made.get_json()['id']}"
    assert client.get(f"{kept}/api/v1/openapi.json", **RIGHT).get_json()["servers"] == [
        {"url": "/acl/api/v1"}
    ]
    deleted = client.post(f"{kept}/delete_token", data={"token": made.get_json()["id"]}, **RIGHT)
    assert deleted.location.startswith("/acl/?deleted=")
    with client.get(f"{kept}/static/style.css") as style:
        assert style.status_code == 200
    assert client.get(f"{kept}/api/v1/none").mimetype == "application/problem+json"


def test_what_stays_at_the_root(make_client: Make) -> None:
    """Decisions, health and metrics answer at the root, and do not exist below the path, which is public."""
    client = make_client(BASE_PATH="/acl", SELF_SERVICE="read")
    assert statuses(client, FOR_PROGRAMS) == FOR_PROGRAMS
    below = [f"/acl{path}" for path in ("/auth", "/auth/x", "/healthz", "/livez", "/metrics", "//auth")]
    assert set(statuses(client, below).values()) == {404}
    assert statuses(client, ["/acl", "/acl/acl/", "/aclx", "/acl/self"], **RIGHT) == {
        "/acl": 200,
        "/acl/acl/": 404,
        "/aclx": 404,
        "/acl/self": 401,
    }
    assert client.get("/acl/", headers={"X-Forwarded-Uri": "/"}, **RIGHT).status_code == 403


def test_no_route_can_be_hidden(client: FlaskClient) -> None:
    """BASE_PATH can't begin like a route, so that no address has two meanings."""
    firsts = {rule.rule.split("/")[1] for rule in client.application.url_map.iter_rules()} - {""}
    assert [first for first in firsts if not RESERVED.fullmatch(first)] == []


def test_closed_password_dialog(client: FlaskClient) -> None:
    """A browser shows where the password is and how to sign in; curl and programs get one line."""
    browser = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    page = client.get("/overview", headers=browser)
    assert (page.status_code, page.mimetype, page.headers["Vary"]) == (401, "text/html", "Accept")
    assert page.headers["WWW-Authenticate"].startswith("Basic ")
    assert 'href="/overview">Sign in</a>' in page.text
    assert "ADMIN_PASS" in page.text
    assert not any(secret in page.text for secret in ENVIRON.values())
    for sent in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        assert client.get("/", headers=sent).text == "wrong or missing user name and password\n"
    assert client.get("/api/v1/tokens", headers=browser).mimetype == "application/problem+json"
    assert client.post("/rotate_token", headers=browser).status_code == 401
