"""Searching for tokens in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, create, delete
from tests.browser.test_pages import rows, store_older_record

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("javascript", [True, False])
def test_find_with_the_keyboard(open_page: Open, javascript: bool) -> None:  # noqa: FBT001 - a parameter
    """Typing a host and pressing Enter finds the tokens that open it, with and without JavaScript."""
    page = open_page(java_script_enabled=javascript)
    for hosts in ("a.test", "*.b.test"):
        create(page, hosts)
        page.goto("/")
    page.get_by_label("Find tokens").fill("app.b.test")
    page.keyboard.press("Enter")

    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("*.b.test")
    expect(page.get_by_label("Find tokens")).to_have_value("app.b.test")
    page.get_by_role("link", name="Clear").click()
    expect(rows(page)).to_have_count(2)


def test_token_stays_out_of_the_url(page: Page) -> None:
    """The browser does not submit a search that begins like a token, which would put it in a URL."""
    secret = create(page)
    page.goto("/")
    page.get_by_label("Find tokens").fill(secret)
    page.get_by_role("button", name="Find").click()

    assert secret not in page.url
    expect(page.locator("#q:invalid")).to_have_count(1)


@pytest.mark.parametrize("width", [390, 1280])
def test_found_token_can_be_deleted(open_page: Open, redis: object, width: int) -> None:
    """A search result has the same actions as the table."""
    store_older_record(redis, 1)
    page = open_page(viewport={"width": width, "height": 844})
    page.goto("/?q=a.test")
    delete(page)

    expect(page.get_by_role("heading", level=1)).to_have_text("1 token deleted")


def test_slash_focuses_the_search(page: Page) -> None:
    """The key / focuses the search field, and is an ordinary character in a field."""
    create(page)
    page.goto("/")
    page.keyboard.press("/")
    expect(page.get_by_label("Find tokens")).to_be_focused()
    page.get_by_label("Find tokens").fill("")
    page.keyboard.press("/")

    expect(page.get_by_label("Find tokens")).to_have_value("/")


def test_all_on_the_page(page: Page, redis: object) -> None:
    """One box checks every token on the page, and none that a file manages."""
    for number in range(3):
        store_older_record(redis, number)
    page.goto("/?limit=2")
    page.get_by_label("All on this page").check()
    page.get_by_role("button", name="Disable…").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Disable 2 tokens?")
