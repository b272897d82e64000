"""The form of a token and the page of a new secret, as far as only a browser shows it."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Dialog, Page, expect

from app.core.hosts import InvalidHostPatternError, parse_pattern
from tests.browser.conftest import Open, create, enter, open_token
from tests.browser.test_pages import store_older_record

pytestmark = pytest.mark.browser

FORMS: list[dict[str, str]] = [
    {"hosts": "App.Example.com.\n*.b.test, c.test d.test e.test"},
    {"hosts": "* a.test", "methods": "get\nPROPFIND", "paths": "/v1/* /b/* /c", "rate_limit_max": "0"},
    {"hosts": "bücher.example [::1] 192.0.2.1", "paths": "/a /b /c /d /e", "ttl_seconds": "0"},
    {"hosts": "a.test", "paths": "/*", "networks": "10.0.0.0/8", "rate_limit_window_sec": "3600"},
    {"hosts": "a/b", "methods": "GET"},
    {
        "hosts": "a.test",
        "rate_limit_max": "1",
        "quota_max": "1000000000",
        "quota_period": "month",
        "expires_at": "2099-01-31",
    },
    {"hosts": "a.test", "not_before": "2098-12-31T23:59:30+02:00", "expires_at": "2099-01-31 12:00"},
]
HOSTS = [
    *("example.com", "*.example.com", "*", "a", "A.b.", "a_b.test", "[::1]", "192.0.2.1", "bücher.example"),
    *("a/b", "https://a.test", "a.*", "*a.test", "**", "*.*", "a.test:80", "a..b", "-a.test", "a-.test"),
    *(
        "1.2.3",
        "256.1.1.1",
        "a.1",
        "0x7f.1",
        "x@a.test",
        "a%41",
        "a?b",
        "a#b",
        "a\\b",
        f"{'a' * 64}.test",
        "[::g]",
    ),
]


def fill(page: Page, typed: dict[str, str]) -> None:
    """Fill in the form as an operator does."""
    page.locator("details.more-fields").evaluate_all("all => all.forEach(each => { each.open = true })")
    for name, text in typed.items():
        enter(page, name, text)


def test_same_sentence(page: Page) -> None:
    """While one types, the script says what the server says of the same form."""
    for typed in FORMS:
        page.goto("/new")
        fill(page, typed)
        live = page.locator("#opens").inner_text()
        # With an invalid email, so that the server shows the form again.
        again = page.context.request.post("/create_token", form={**typed, "email": "x"}).text()
        assert live in unescape(re.sub("<[^>]*>", "", again)).splitlines()


def test_hosts_as_one_types(page: Page) -> None:
    """The script objects to the hosts that the server would refuse, and to no others."""
    page.goto("/new")
    field, objection = page.locator("[name=hosts]"), page.locator("#check")
    for text in HOSTS:
        field.fill(f"a.test\n{text}")
        assert bool(objection.text_content()) == is_refused(text), text
    field.fill("a.test\n*.b.test:80")
    expect(objection).to_have_text("*.b.test:80: leave out the port")
    field.fill("a.test")
    expect(objection).to_be_empty()


def is_refused(text: str) -> bool:
    """Return whether the server refuses the host."""
    try:
        parse_pattern(text)
    except InvalidHostPatternError:
        return True
    return False


def test_date_in_both_zones(open_page: Open) -> None:
    """A date is chosen in the zone of the reader and sent in UTC; it excludes a number of days."""
    page = open_page(timezone_id="America/New_York")
    page.goto("/new")
    page.get_by_label("America/New_York").fill("2099-01-31T07:00")
    expect(page.locator("[name=expires_at]")).to_have_value("2099-01-31T12:00Z")
    page.locator("[name=ttl_seconds]").select_option("604800")
    expect(page.locator("[name=expires_at]")).to_have_value("")
    page.locator("[name=expires_at]").fill("2099-01-31")
    expect(page.locator("#local-end")).to_have_value("2099-01-30T19:00")
    expect(page.locator("[name=ttl_seconds]")).to_have_value("")


@pytest.mark.parametrize("options", [{}, {"java_script_enabled": False}])
def test_what_was_typed(open_page: Open, options: dict[str, bool]) -> None:
    """Going back and choosing a template lose nothing that was typed; Enter in a field creates the token."""
    page = open_page(**options)
    page.goto("/new")
    page.locator("summary", has_text="Restrictions").click()
    typed = {"hosts": "a.test\nb.test", "comment": "For Ann", "methods": "GET", "ttl_seconds": "0"}
    for name, text in typed.items():
        enter(page, name, text)
    page.get_by_role("link", name="Audit").click()
    page.go_back()
    assert_kept(page, typed)
    if not options:
        expect(page.locator("#opens")).to_contain_text("Opens a.test and b.test for GET")
        expect(page.locator("#methods")).to_be_visible()
    page.get_by_role("button", name="Ollama user").press("Enter")

    expect(page.get_by_role("status")).to_be_focused()
    expect(page.get_by_role("status")).to_contain_text("Left as you typed it: Comment.")
    assert_kept(page, typed)
    assert (urlsplit(page.url).path, urlsplit(page.url).query) == ("/new", "")
    assert page.locator("#paths").input_value().endswith("/v1/*")
    page.locator("#comment").press("Enter")
    expect(page.locator("dd", has_text="For Ann")).to_be_visible()


def assert_kept(page: Page, typed: dict[str, str]) -> None:
    """Check that the fields hold what was typed."""
    for name, text in typed.items():
        expect(page.locator(f"[name={name}]")).to_have_value(text)


def test_sent_once(page: Page, redis: Any) -> None:
    """Once a form is sent, its button can't be pressed again for 10 seconds."""
    page.clock.install()
    store_older_record(redis, 1)
    page.goto("/new")
    page.locator("[name=hosts]").fill("a.test")
    assert_once(page, "Create token")
    page.goto("/")
    open_token(page)
    page.locator("summary", has_text="Disable").click()
    assert_once(page, "Disable it")


def assert_once(page: Page, name: str) -> None:
    """Press a button and check that it can't be pressed again."""
    page.evaluate("addEventListener('submit', (event) => event.preventDefault())")  # it would leave the page
    button = page.get_by_role("button", name=name)
    button.click()

    expect(button).to_be_disabled()
    page.clock.fast_forward(10_000)
    expect(button).to_be_enabled()


@pytest.mark.parametrize("how", ["not copied", "lines", "keyboard"])
def test_leaving_a_secret(page: Page, how: str) -> None:
    """Whoever leaves the page of a new secret is asked, unless the secret was copied."""
    asked: list[str] = []
    create(page)

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", answer)
    if how == "lines":
        page.locator("summary", has_text="Ollama").click()
        page.get_by_role("button", name="Copy the Ollama lines").click()
    elif how == "keyboard":
        page.keyboard.press("Control+c")
    page.get_by_role("link", name="All tokens").click()

    expect(page).to_have_title("Tokens · acl-auth-service")
    assert asked == (["beforeunload"] if how == "not copied" else [])


def test_one_tab_at_a_time(open_page: Open) -> None:
    """Without script, the lines for one client replace those for another."""
    page = open_page(java_script_enabled=False)
    create(page)
    expect(page.locator("#curl")).to_be_visible()
    page.locator("summary", has_text="git").click()

    expect(page.locator("#git")).to_be_visible()
    expect(page.locator("#curl")).to_be_hidden()


def test_print(page: Page) -> None:
    """Printed, the page has the name, the hosts, the secret and the end, and nothing else."""
    secret = create(page, comment="For Ann", email="ann@b.example")
    page.emulate_media(media="print")

    expect(page.locator("#new-token")).to_have_value(secret)
    shown = page.locator("dt:visible").all_inner_texts()
    assert shown == ["Comment", "Hosts", "Expires"]
    expect(page.locator("button:visible, nav:visible, textarea:visible")).to_have_count(0)
