"""``make screenshots``: every page in two widths and two color schemes, and one sheet of all pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

from devkit.programs import program
from devkit.redis_server import RedisServer
from devkit.service import ADMIN_PASS, ADMIN_USER, Gunicorn
from devkit.showcase import fill

WIDTHS, HEIGHT = (1280, 390), 800
SCHEMES: list[Literal["light", "dark"]] = ["light", "dark"]
SHEET_WIDTH = 1920

# The address of each page; {Name} is the id of the token with that comment.
PAGES = {
    "tokens": "/",
    "found": "/?q=example.com&sort=-last_used_at",
    "none found": "/?q=nowhere.test",
    "ended": "/?status=ended",
    "new": "/new?template=ollama",
    "edit": "/tokens/{Prometheus}/edit",
    "token": "/tokens/{Nightly evaluation}",
    "token with a hundred hosts": "/tokens/{A hundred hosts}",
    "try": "/try?id={Prometheus}&host=metrics.example.com",
    "overview": "/overview",
    "audit": "/audit",
    "problem": "/nowhere",
}


def new_token(page: Page) -> None:
    """Show the secret of a new token."""
    page.goto("/new")
    page.locator("[name=hosts]").fill("app.example.com")
    page.locator("[name=comment]").fill("A picture")
    page.get_by_role("button", name="Create token").click()
    page.locator("#new-token").wait_for()


def refused_form(page: Page) -> None:
    """Show a form with problems."""
    page.goto("/new")
    page.locator("[name=hosts]").fill("https://a.test/")
    page.locator("[name=email]").fill("nobody")
    page.get_by_role("button", name="Create token").click()
    page.get_by_role("alert").wait_for()


STEPS: dict[str, Callable[[Page], object]] = {"secret": new_token, "form with problems": refused_form}


def visits(ids: dict[str, str]) -> dict[str, Callable[[Page], object]]:
    """Return what leads to each page."""

    def visit(address: str) -> Callable[[Page], object]:
        return lambda page: page.goto(address)

    return {name: visit(address.format_map(ids)) for name, address in PAGES.items()} | STEPS


def take(browser: Browser, origin: str, ids: dict[str, str], directory: Path) -> list[Path]:
    """Take all pictures and return their paths."""
    paths = []
    for width, scheme in product(WIDTHS, SCHEMES):
        page = browser.new_context(
            http_credentials={"username": ADMIN_USER, "password": ADMIN_PASS},
            viewport={"width": width, "height": HEIGHT},
            color_scheme=scheme,
            base_url=origin,
        ).new_page()
        for name, visit in visits(ids).items():
            visit(page)
            paths.append(directory / f"{name.replace(' ', '-')}-{width}-{scheme}.png")
            page.screenshot(path=paths[-1], full_page=True)
        page.context.close()
    return paths


def lay_out(browser: Browser, paths: list[Path], sheet: Path) -> None:
    """Write one picture with all others side by side."""
    figures = [
        f'<figure><img src="{path.name}" height="480"><figcaption>{path.stem}</figcaption></figure>'
        for path in paths
    ]
    page = sheet.with_suffix(".html")
    style = "body{display:flex;flex-wrap:wrap;gap:16px;font:14px sans-serif;background:#888}figure{margin:0}"
    page.write_text(f"<!doctype html><style>{style}</style>{''.join(figures)}", "utf-8")
    tab = browser.new_page(viewport={"width": SHEET_WIDTH, "height": HEIGHT})
    tab.goto(page.resolve().as_uri())
    tab.screenshot(path=sheet, full_page=True)


def main(directory: Path) -> None:
    """Start the service with tokens as people have them, and write the pictures into *directory*."""
    directory.mkdir(exist_ok=True)
    chromium = program("chromium", "chromium-browser")
    with (
        RedisServer() as redis,
        Gunicorn(redis.port, trusted_proxies="127.0.0.1") as service,
        sync_playwright() as playwright,
    ):
        ids = fill(service, redis.client())
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        paths = take(browser, f"http://127.0.0.1:{service.port}", ids, directory)
        lay_out(browser, paths, directory / "all.png")
    print(f"{len(paths)} pictures in {directory}, and all of them in {directory / 'all.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots"))
