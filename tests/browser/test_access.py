"""Everybody can use the pages: WCAG 2.2 AA as far as axe can tell, and the sizes of real screens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, create
from tests.browser.test_pages import adopt

pytestmark = pytest.mark.browser

WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}
LONG_HOSTS = ",".join(f"{'a' * 63}.{'b' * 63}.h{number}.example.com" for number in range(9))


def fault(page: Page) -> None:
    """Show the form with a problem at every field."""
    for name in ("hosts", "email", "ttl_seconds"):
        page.locator(f"[name={name}]").fill("a b/c")
    page.locator("[name=comment]").fill("x" * 501)
    page.get_by_role("button", name="Create token").click()
    expect(page.get_by_role("alert")).to_be_visible()


def ask(page: Page) -> None:
    """Show the question before a deletion."""
    page.locator("tbody tr").last.locator("summary", has_text="Delete").click()
    expect(page.get_by_role("button", name="Delete for good")).to_be_visible()


def unfold(page: Page) -> None:
    """Show all that is folded away."""
    for summary in page.locator("details:not(.ask) > summary").all():
        summary.click()


def open_last(page: Page) -> None:
    """Show the page of one token."""
    page.goto(page.get_by_role("link", name="Open").last.get_attribute("href") or "")


PAGES: dict[str, Callable[[Page], object]] = {
    "index": lambda page: page.goto("/?deleted=1m85v745vvbyf6sq"),
    "unfolded": unfold,
    "question": ask,
    "fault": fault,
    "issued": lambda page: create(page, LONG_HOSTS, email="e" * 200 + "@a.test", comment="c" * 500),
    "token": open_last,
    "found": lambda page: page.goto("/?q=a.test"),
    "not found": lambda page: page.goto("/?q=*.nowhere.test"),
    "not understood": lambda page: page.goto("/?q=" + "x" * 200 + "%20y"),
    "problem": lambda page: page.goto("/nowhere"),
}


@pytest.fixture(name="crowd")
def _crowd(redis: Any) -> None:
    """Keep tokens with every kind of value."""
    adopt(redis, 1, hosts=LONG_HOSTS, email="e" * 300, comment="w" * 200 + " word" * 100)
    adopt(redis, 2, hosts="", enabled="0", created_at="1700000000")
    for number in range(3, 6):
        adopt(redis, number, email="ops@a.test", comment="short")
    adopt(redis, 6, rate_limit_max="unreadable")


def show(page: Page, name: str) -> None:
    """Show a page, its style included."""
    PAGES[name](page)
    page.wait_for_load_state()


def violations(page: Page) -> list[str]:
    """Return what axe finds."""
    found = Axe().run(page, options=WCAG).response["violations"]
    return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("name", PAGES)
def test_no_barriers(open_page: Open, name: str, width: int, scheme: str) -> None:
    """No page has a barrier that axe knows: wide and light, narrow and dark."""
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 844})
    show(page, name)

    assert violations(page) == []


@pytest.mark.parametrize("count", [0, 51])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_barriers_in_numbers(open_page: Open, redis: Any, scheme: str, count: int) -> None:
    """A page without tokens has none either, nor one of several."""
    for number in range(count):
        adopt(redis, number)

    assert violations(open_page(color_scheme=scheme)) == []


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize("name", PAGES)
def test_no_sideways_scrolling(page: Page, name: str) -> None:
    """No page is wider than its screen, whatever the values."""
    show(page, name)

    for width in (320, 390, 1087, 1088, 1280):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize("width", [390, 1280])
def test_targets_are_large_enough(open_page: Open, width: int) -> None:
    """Whatever can be pressed measures at least 24 by 24 pixels (WCAG 2.5.8)."""
    page = open_page(viewport={"width": width, "height": 844})
    unfold(page)
    targets = page.locator("main :is(a, button, summary, input, textarea):visible")
    boxes = [box for target in targets.all() if (box := target.bounding_box())]

    assert len(boxes) > 10
    assert [box for box in boxes if min(box["width"], box["height"]) < 24] == []


def test_keyboard_alone(page: Page, redis: Any) -> None:
    """The keyboard reaches the table past the form, and deletes a token."""
    adopt(redis, 1)
    page.reload()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the tokens")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(3):  # the verbs of the first row
        page.keyboard.press("Tab")
        if page.locator(".ask > summary:focus").count():
            break
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Delete for good")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="No tokens yet")).to_be_visible()
