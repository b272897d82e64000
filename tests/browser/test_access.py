"""Accessibility of the pages: WCAG 2.2 AA as far as axe can test it, and common screen sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, create, delete, submit
from tests.browser.test_pages import store_older_record

pytestmark = pytest.mark.browser

WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}
LONG_HOSTS = ",".join(f"{'a' * 63}.{'b' * 63}.h{number}.example.com" for number in range(9))


def show_form_problems(page: Page) -> None:
    """Show the form with a problem in every field."""
    submit(page, hosts="a b/c", email="a b/c", expires_at="a b/c", comment="x" * 501)
    expect(page.get_by_role("alert")).to_be_visible()


def show_confirmation(page: Page) -> None:
    """Show what would be deleted."""
    page.locator("[name=all]").check()
    page.get_by_role("button", name="Delete…").click()
    expect(page.get_by_role("button", name="Delete 6 tokens")).to_be_visible()


def expand_all(page: Page) -> None:
    """Expand all collapsed sections."""
    for summary in page.locator("details:not(.ask) > summary").all():
        summary.click()


def open_last(page: Page) -> None:
    """Show the page of the last token."""
    page.goto(page.locator("tbody th a").last.get_attribute("href") or "")


def edit_last(page: Page) -> None:
    """Show the form that changes the last token."""
    open_last(page)
    page.get_by_role("link", name="Edit").click()


def show_audit(page: Page) -> None:
    """Create a token with long values, then show the audit log."""
    create(page, LONG_HOSTS, email="e" * 200 + "@a.test", comment="c" * 500)
    page.goto("/audit")
    expect(page.get_by_role("main")).to_contain_text("created token")


def show_ended(page: Page) -> None:
    """Delete a token with long values, then show those that ended."""
    page.goto("/")
    delete(page, -1)
    page.goto("/?status=ended")
    assert page.locator("tbody tr").count() == 1


PAGES: dict[str, Callable[[Page], object]] = {
    "new": lambda page: page.goto("/new"),
    "index": lambda page: page.goto("/?deleted=1m85v745vvbyf6sq"),
    "expanded": expand_all,
    "question": show_confirmation,
    "form problems": show_form_problems,
    "issued": lambda page: create(page, LONG_HOSTS, email="e" * 200 + "@a.test", comment="c" * 500),
    "token": open_last,
    "found": lambda page: page.goto("/?q=a.test"),
    "not found": lambda page: page.goto("/?q=*.nowhere.test"),
    "not understood": lambda page: page.goto("/?q=" + "x" * 200 + "%20y"),
    "ended": show_ended,
    "none ended": lambda page: page.goto("/?status=ended"),
    "template": lambda page: page.goto("/new?template=ollama"),
    "edit": edit_last,
    "overview": lambda page: page.goto("/overview"),
    "audit": show_audit,
    "try": lambda page: page.goto("/try?host=a.test"),
    "problem": lambda page: page.goto("/nowhere"),
}


@pytest.fixture(name="varied_tokens")
def _varied_tokens(redis: Any) -> None:
    """Store tokens with long, short, missing and unreadable values."""
    store_older_record(redis, 1, hosts=LONG_HOSTS, email="e" * 300, comment="w" * 200 + " word" * 100)
    store_older_record(redis, 2, hosts="", enabled="0", created_at="1700000000")
    for number in range(3, 6):
        store_older_record(redis, number, email="ops@a.test", comment="short")
    store_older_record(redis, 6, rate_limit_max="unreadable")


def show(page: Page, name: str) -> None:
    """Show a page and wait until it has loaded."""
    PAGES[name](page)
    page.wait_for_load_state()


def violations(page: Page) -> list[str]:
    """Return the violations that axe finds."""
    results = Axe().run(page, options=WCAG).response["violations"]
    return [f"{rule['id']}: {node['html'][:200]}" for rule in results for node in rule["nodes"]]


@pytest.mark.usefixtures("varied_tokens")
@pytest.mark.parametrize("name", PAGES)
def test_no_violations(open_page: Open, name: str) -> None:
    """No page violates a rule of axe or scrolls sideways, in wide and narrow windows, light and dark.

    A window of 1280 pixels has a width of 640 at a zoom of 200 %.
    """
    page = open_page(color_scheme="light", viewport={"width": 1280, "height": 844})
    show(page, name)
    assert violations(page) == []

    for width in (1920, 1088, 1087, 768, 640, 390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.emulate_media(color_scheme="dark")
    assert violations(page) == []


@pytest.mark.parametrize("count", [0, 51])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_violations_in_empty_or_long_table(open_page: Open, redis: Any, scheme: str, count: int) -> None:
    """Neither an empty table nor one of several pages violates a rule of axe."""
    for number in range(count):
        store_older_record(redis, number)

    assert violations(open_page(color_scheme=scheme)) == []


@pytest.mark.usefixtures("varied_tokens")
@pytest.mark.parametrize("width", [390, 1280])
def test_targets_are_large_enough(open_page: Open, width: int) -> None:
    """Every control is at least 24 by 24 pixels (WCAG 2.5.8)."""
    page = open_page(viewport={"width": width, "height": 844})
    expand_all(page)
    targets = page.locator("main :is(a, button, summary, input, textarea):visible")
    boxes = [box for target in targets.all() if (box := target.bounding_box())]

    assert len(boxes) > 10
    assert [box for box in boxes if min(box["width"], box["height"]) < 24] == []


def press(page: Page, key: str, target: str) -> None:
    """Press *key* until *target* has the focus."""
    for _ in range(15):
        page.keyboard.press(key)
        if page.locator(f"{target}:focus").count():
            return
    raise AssertionError(f"{target} can't be reached")


def test_keyboard_alone(page: Page, redis: Any) -> None:
    """With the keyboard alone, an operator can skip the form and delete a token."""
    store_older_record(redis, 1)
    page.reload()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the tokens")).to_be_focused()
    page.keyboard.press("Enter")
    press(page, "Tab", "[name=token]")
    page.keyboard.press("Space")
    press(page, "Shift+Tab", "[value=delete]")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Delete 1 token")).to_be_visible()
    press(page, "Tab", ".danger")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("1 token deleted")
