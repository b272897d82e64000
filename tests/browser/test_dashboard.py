"""docs/recipes/browser.md: a dashboard in Chromium, behind a real Traefik, with a token as its password."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, HttpCredentials, Page

from devkit.backend import Seen
from devkit.proxies import EventsBackend, EventsHandler, Traefik, recipe
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn

HOST = "127.0.0.1"  # cross-site to localhost, where the backends answer directly
IMAGES = 30
# What the page of the recipe does, and what comes of it.
SCRIPT = f"""async () => {{
  {recipe("", "js", "docs/recipes/browser.md")}
  const outcome = (source, kind) => new Promise((done) => {{
    source[`on${{kind}}`] = (event) => done(event.data ?? kind);
    source.onerror = () => done("error");
  }});
  const outcomes = await Promise.all([outcome(events, "message"), outcome(socket, "open")]);
  const state = events.readyState;
  events.close();
  socket.close();
  return [page.status, ...outcomes, state];
}}"""
FORGE = """(address) => {
  document.body.innerHTML = `<form method="post" action="${address}"></form>`;
  document.forms[0].submit();
}"""
SignIn = Callable[[str], Page]


class _Dashboard(EventsHandler):
    def answer(self, seen: Seen) -> None:
        """Answer with a page of many images at /, and as EventsHandler does elsewhere."""
        if seen.path != "/" or seen.method != "GET":
            super().answer(seen)
            return
        self.server.seen.append(seen)
        images = "".join(f'<img src="/image/{number}">' for number in range(IMAGES))
        body = f"<!doctype html><title>Dashboard</title>{images}".encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.wfile.write(head + body)


@pytest.fixture(scope="module", name="service")
def _service(redis_server: RedisServer) -> Iterator[Gunicorn]:
    options = {"web_concurrency": 1, "credential_sources": "basic,authorization"}
    with Gunicorn(redis_server.port, **options) as service:
        yield service


@pytest.fixture(scope="module", name="served")
def _served() -> Iterator[EventsBackend]:
    with EventsBackend(_Dashboard) as dashboard:
        yield dashboard


@pytest.fixture(name="dashboard")
def _dashboard(served: EventsBackend) -> EventsBackend:
    """Return the backend with no requests recorded."""
    served.seen.clear()
    return served


@pytest.fixture(scope="module", name="address")
def _address(service: Gunicorn, served: EventsBackend) -> Iterator[str]:
    with Traefik(service.port, served.port, host=HOST) as traefik:
        yield f"http://{HOST}:{traefik.port}"


@pytest.fixture(name="sign_in")
def _sign_in(browser: Browser, address: str) -> Iterator[SignIn]:
    """Return a function that opens the dashboard with a password."""
    with ExitStack() as stack:

        def sign_in(password: str) -> Page:
            login: HttpCredentials = {"username": "any", "password": password}
            context = browser.new_context(http_credentials=login, base_url=address)
            stack.callback(context.close)
            page = context.new_page()
            page.goto("/")
            return page

        yield sign_in


def test_refused(sign_in: SignIn, dashboard: EventsBackend) -> None:
    """A wrong password shows the reason; a script sees errors, and the stream does not try again."""
    page = sign_in("wrong")

    assert page.inner_text("body") == "invalid token"
    assert page.evaluate(SCRIPT) == [401, "error", "error", 2]
    assert dashboard.hits == 0


def test_page_and_streams(service: Gunicorn, sign_in: SignIn, dashboard: EventsBackend) -> None:
    """Page, images, fetch, EventSource and WebSocket work with nothing but the password."""
    token = service.issue(HOST, rate_limit_max="0")
    assert sign_in(token).evaluate(SCRIPT) == [200, "1", "open", 1]
    dashboard.go_on.set()

    paths = [seen.path for seen in dashboard.seen]
    assert sorted(paths) == sorted(
        ["/", "/favicon.ico", *map("/image/{}".format, range(IMAGES)), "/api/state", "/events", "/socket"]
    )
    assert service.allowed(token) == len(paths)
    assert not any("authorization" in seen.fields for seen in dashboard.seen)


def test_limit(service: Gunicorn, sign_in: SignIn) -> None:
    """Each image counts, so that a limit that is plenty for a program breaks the page."""
    token = service.issue(HOST, rate_limit_max="20", rate_limit_window_sec="600")
    sign_in(token)

    assert service.allowed(token) == 20


@pytest.mark.parametrize(("methods", "arrived"), [("", ["cross-site"]), ("GET", [])])
def test_forged_form(
    service: Gunicorn, sign_in: SignIn, dashboard: EventsBackend, methods: str, arrived: list[str]
) -> None:
    """A form on another site is sent with the password, unless the token has no method but GET."""
    page = sign_in(service.issue(HOST, rate_limit_max="0", methods=methods))
    address = page.url
    page.goto(f"http://localhost:{dashboard.port}/elsewhere")
    with page.expect_navigation():
        page.evaluate(FORGE, f"{address}delete")

    posted = [seen for seen in dashboard.seen if seen.method == "POST"]
    assert [seen.fields.get("sec-fetch-site") for seen in posted] == arrived
