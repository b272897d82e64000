"""A real Chromium against a real service; each test starts with an empty Redis and checks the console."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    HttpCredentials,
    Page,
    expect,
    sync_playwright,
)

from devkit.programs import program
from devkit.redis_server import RedisServer
from devkit.service import ADMIN_PASS, ADMIN_USER, Gunicorn

LAN_HOST = "admin.lan"
_ARGS = ["--no-sandbox", "--disable-dev-shm-usage", f"--host-resolver-rules=MAP {LAN_HOST} 127.0.0.1"]
# Tests check refusals themselves, and the other message is unavoidable over plain HTTP.
_EXPECTED = re.compile(
    r"the server responded with a status of [45]\d\d|Cross-Origin-Opener-Policy header has been ignored"
)

Open = Callable[..., Page]
expect.set_options(timeout=60_000)  # in milliseconds, to allow for a busy machine


@pytest.fixture(scope="session", name="browser")
def _browser() -> Iterator[Browser]:
    chromium = program("chromium", "chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session", name="service")
def _service(redis_server: RedisServer) -> Iterator[Gunicorn]:
    with Gunicorn(redis_server.port, web_concurrency=1) as service:
        yield service


@pytest.fixture(name="redis")
def _redis(redis_server: RedisServer) -> Any:
    """Empty the database, and return a client for it."""
    redis_server.client().flushall()
    return redis_server.client()


@pytest.fixture(name="open_page")
def _open_page(browser: Browser, service: Gunicorn, redis: Any) -> Iterator[Open]:
    """Return a function that opens the first page in a new browser context; the console must stay silent."""
    assert redis.ping()
    complaints: list[str] = []
    with ExitStack() as stack:

        def open_page(host: str = "127.0.0.1", **options: Any) -> Page:
            login: HttpCredentials = {"username": ADMIN_USER, "password": ADMIN_PASS}
            origin = f"http://{host}:{service.port}"
            context = browser.new_context(http_credentials=login, base_url=origin, **options)
            context.set_default_timeout(60_000)
            stack.callback(context.close)
            if host == "127.0.0.1":
                context.grant_permissions(["clipboard-read", "clipboard-write"])
            page = context.new_page()
            page.on("console", lambda message: complaints.extend(_complaint(message)))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto("/")
            return page

        yield open_page
    assert complaints == []


def _complaint(message: ConsoleMessage) -> Iterator[str]:
    """Yield a console message that should not have appeared."""
    is_page = not urlsplit(message.location["url"]).path.startswith("/static/")
    if message.type in {"warning", "error"} and not (is_page and _EXPECTED.search(message.text)):
        yield f"{message.type}: {message.text}"


@pytest.fixture(name="page")
def _page(open_page: Open) -> Page:
    """Return the first page in a default browser context."""
    return open_page()


def submit(page: Page, **typed: str) -> None:
    """Fill in and submit the form for a new token, which stays on the page if it is there."""
    if not page.get_by_role("button", name="Create token").count():
        page.goto("/new")
    for name, value in typed.items():
        enter(page, name, value)
    page.get_by_role("button", name="Create token").click()


def enter(page: Page, name: str, value: str) -> None:
    """Type or choose the value of a field."""
    field = page.locator(f"[name={name}]")
    field.select_option(value) if field.evaluate("each => each.matches('select')") else field.fill(value)


def create(page: Page, hosts: str = "a.test", **fields: str) -> str:
    """Create a token with the form, and return its secret."""
    submit(page, hosts=hosts, **fields)
    shown = page.locator("#new-token")
    expect(shown).to_be_visible()
    return shown.input_value()


def open_token(page: Page, number: int = 0) -> None:
    """Open the page of the token in row *number* of the table."""
    page.locator("tbody tr th a").nth(number).click()


def delete(page: Page, number: int = 0) -> None:
    """Delete the token in row *number* of the table."""
    page.locator("tbody tr").nth(number).get_by_role("checkbox").check()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete 1 token").click()
