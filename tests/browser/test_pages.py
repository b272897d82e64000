"""The admin pages in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from devkit.http import call
from devkit.service import Gunicorn
from tests.browser.conftest import LAN_HOST, Open, create, delete, open_token, submit

pytestmark = pytest.mark.browser

HOSTILE = [
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "'><svg/onload=document.title='owned'>",
    "</textarea></summary></details><script>document.title='owned'</script>",
    "javascript:document.title='owned'",
    "{{ 7 * 191 }} {% raw %} ${7*191}",
    "\" autofocus onfocus=\"document.title='owned'",
    "\u202egnp.exe\u0000\u2028 \ufeff",
]


def store_older_record(redis: Any, number: int, **fields: str) -> None:
    """Store a record as an older deployment wrote it."""
    redis.hset(f"tokens:{sha256(str(number).encode()).hexdigest()}", mapping={"hosts": "a.test"} | fields)


def rows(page: Page) -> Any:
    """Return the rows of the token table."""
    return page.locator("tbody tr")


def test_created_token_opens_its_host(page: Page, service: Gunicorn) -> None:
    """The secret that the page shows opens the entered hosts and no others."""
    secret = create(page, "a.test\n*.b.test", email="ops@a.test", comment="nightly", ttl_seconds="604800")

    answer = service.auth(secret, "x.b.test")
    assert (answer.status, answer.headers["x-auth-comment"]) == (200, "nightly")
    assert service.auth(secret, "b.test").status == 403
    expect(page.locator("main")).to_contain_text("in 7 days")
    expect(page.locator("#curl")).to_have_value(f'curl -H "Authorization: Bearer {secret}" https://a.test/')


@pytest.mark.parametrize(
    ("pattern", "host"), [("*.example.org", "app.example.org"), ("*", "example.com"), ("a.b", "a.b")]
)
def test_curl_line_names_a_covered_host(page: Page, service: Gunicorn, pattern: str, host: str) -> None:
    """The curl command requests a host that the token opens."""
    secret = create(page, pattern)

    assert page.locator("#curl").input_value().endswith(f" https://{host}/")
    assert service.auth(secret, host).status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", LAN_HOST])
@pytest.mark.parametrize("name", ["Copy the token", "Copy the curl command"])
def test_copy(open_page: Open, host: str, name: str) -> None:
    """The copy buttons work and say so, even over plain HTTP, where there is no clipboard API."""
    page = open_page(host)
    secret = create(page)
    assert page.evaluate("isSecureContext") == (host != LAN_HOST)

    page.get_by_role("button", name=name).click()

    expect(page.get_by_role("status")).to_have_text("Copied.")
    page.get_by_role("link", name="New token").click()
    page.locator("[name=comment]").press("Control+v")
    expect(page.locator("[name=comment]")).to_have_value(re.compile(re.escape(secret)))


def test_refused_copy(open_page: Open) -> None:
    """If copying fails, the text is selected and the page says which keys to press."""
    page = open_page(LAN_HOST)
    secret = create(page)
    page.evaluate("document.execCommand = () => false")

    page.get_by_role("button", name="Copy the token").click()

    expect(page.get_by_role("status")).to_contain_text("press Ctrl+C")
    assert page.evaluate("getSelection().toString()") == secret


def test_new_token_is_selected(page: Page) -> None:
    """The new token's field has the focus and its content is selected, ready for Ctrl+C."""
    secret = create(page)

    expect(page.locator("#new-token")).to_be_focused()
    assert page.evaluate("getSelection().toString()") == secret


def test_secret_is_shown_once(page: Page) -> None:
    """No other page shows the secret, and reloading its page creates no second token and says so."""
    secret = create(page)
    answer = page.reload()
    assert answer
    assert answer.status == 409
    expect(page.get_by_role("alert")).to_contain_text("whose secret is not shown again")
    assert secret not in page.content()

    page.goto("/")
    expect(rows(page)).to_have_count(1)
    assert secret not in page.content()


def test_faulty_form(page: Page, redis: Any) -> None:
    """An invalid form comes back with its values, and its problems are announced, focused and linked."""
    typed = {"hosts": "https://a.test/\nb.test", "email": "nobody", "comment": "kept", "expires_at": "soon"}
    submit(page, **typed)

    alert = page.get_by_role("alert")
    expect(alert).to_be_focused()
    assert {name: page.locator(f"[name={name}]").input_value() for name in typed} == typed
    expect(page.locator("#hosts")).to_have_accessible_description(re.compile("^'https://a.test/': write"))
    expect(page.locator("[aria-invalid=true]")).to_have_count(3)
    alert.get_by_role("link", name="Hosts").click()
    expect(page.locator("#hosts")).to_be_focused()
    assert redis.keys("tokens:*") == []


def test_corrected_form(page: Page, service: Gunicorn) -> None:
    """A form that came back with problems creates a token once they are corrected."""
    submit(page, hosts="a b/c")

    assert service.auth(create(page, "a.test"), "a.test").status == 200


def test_delete_asks_first(page: Page, service: Gunicorn) -> None:
    """Delete names the token and describes its effect, and acts only on the second button."""
    secret = create(page)
    page.goto("/")
    token_id = rows(page).first.locator(".id").inner_text()

    rows(page).first.get_by_role("checkbox").check()
    page.get_by_role("button", name="Delete…").click()
    expect(page.locator("main")).to_contain_text("will be refused at once")
    expect(page.locator("main")).to_contain_text(token_id)
    assert service.auth(secret).status == 200
    page.get_by_role("button", name="Delete 1 token").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("1 token deleted")
    assert service.auth(secret).status == 401
    page.get_by_role("link", name="Back to the tokens").click()
    expect(page.get_by_role("heading", name="No tokens yet")).to_be_visible()


@pytest.mark.parametrize("width", [390, 1280])
def test_confirmation_is_in_view(page: Page, width: int) -> None:
    """The whole confirmation on a token's page is within the width of the window."""
    create(page)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto("/")
    open_token(page)
    page.locator("summary", has_text="Delete").click()

    box = page.locator(".ask[open] > .card").bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width


@pytest.mark.parametrize("how", ["Escape", "Keep", "elsewhere"])
def test_delete_can_be_cancelled(page: Page, redis: Any, how: str) -> None:
    """Escape, the same button and a click elsewhere dismiss the confirmation."""
    store_older_record(redis, 1)
    page.reload()
    open_token(page)
    page.locator("summary", has_text="Delete").click()
    leave: dict[str, Callable[[], object]] = {
        "Escape": lambda: page.keyboard.press("Escape"),
        "Keep": lambda: page.locator("summary", has_text="Keep").click(),
        "elsewhere": lambda: page.get_by_role("heading", level=1).click(),
    }
    leave[how]()

    expect(page.get_by_role("button", name="Delete for good")).to_be_hidden()
    page.goto("/")
    expect(rows(page)).to_have_count(1)


def test_delete_of_a_deleted_token(page: Page, redis: Any) -> None:
    """Deleting a token that no longer exists leads to a page that says so, with a link back."""
    store_older_record(redis, 1)
    page.reload()
    redis.flushall()
    rows(page).first.get_by_role("checkbox").check()
    page.get_by_role("button", name="Delete…").click()

    expect(page.get_by_role("heading", name="be changed")).to_be_visible()
    page.get_by_role("link", name="Back to the tokens").click()
    expect(page).to_have_title("Tokens · acl-auth-service")


@pytest.mark.parametrize(("deleted", "shown"), [("1m85v745vvbyf6sq", 1), ("", 0), ("your account", 0)])
def test_notice_cannot_be_forged(page: Page, deleted: str, shown: int) -> None:
    """A crafted URL cannot add text to the page."""
    page.goto(f"/?deleted={deleted}")

    expect(page.locator(".notice", has_text="is deleted")).to_have_count(shown)
    assert "your account" not in page.content()


def test_without_javascript(open_page: Open, service: Gunicorn) -> None:
    """Creating, form problems and deleting work without JavaScript, and no button without effect is shown."""
    page = open_page(java_script_enabled=False)
    submit(page, hosts="a b/c")
    expect(page.get_by_role("alert")).to_be_focused()
    secret = create(page, "a.test")
    assert service.auth(secret).status == 200
    expect(page.get_by_role("button")).to_have_count(0)

    page.get_by_role("link", name="All tokens").click()
    delete(page)
    assert service.auth(secret).status == 401


def test_lifetime_as_a_date(page: Page) -> None:
    """A lifetime in days is shown as a date while it is chosen."""
    page.goto("/new")
    page.locator("[name=hosts]").fill("a.test")
    summary = page.locator("#opens")

    page.locator("[name=ttl_seconds]").select_option("30 days")
    expect(summary).to_contain_text(re.compile(r"until 20\d\d-\d\d-\d\d \d\d:\d\d UTC[.]"))
    page.locator("[name=ttl_seconds]").select_option("never")
    expect(summary).to_contain_text("without an end")


def test_pages(page: Page, redis: Any) -> None:
    """Many tokens are split into pages, and all of them can be reached by links."""
    for number in range(120):
        store_older_record(redis, number)
    ids = set()
    page.reload()
    for count in (50, 50, 20):
        expect(page.locator("caption")).to_contain_text("120 tokens")
        expect(rows(page)).to_have_count(count)
        ids |= set(page.locator("th .id").all_inner_texts())
        if count == 50:
            page.get_by_role("link", name="Next").click()

    expect(page.get_by_role("link", name="Next")).to_have_count(0)
    expect(page.get_by_role("link", name="First")).to_have_count(1)
    assert len(ids) == 120


def test_hostile_records_are_inert(page: Page, redis: Any) -> None:
    """Values in records of an older deployment are shown as text, never interpreted as HTML, on any page."""
    for number, value in enumerate(HOSTILE):
        store_older_record(redis, number, hosts=value, email=value, comment=value)
    page.reload()
    expect(rows(page)).to_have_count(len(HOSTILE))
    tokens = [link.get_attribute("href") or "" for link in page.locator("tbody th a").all()]

    for address in ["/", *tokens, *(f"{address}/edit" for address in tokens)]:
        page.goto(address)
        assert_inert(page)


def test_hostile_entries_are_inert(page: Page, service: Gunicorn) -> None:
    """What was typed into a comment is text in the audit log and in the confirmation of a change too."""
    for value in HOSTILE[:7]:
        service.issue("a.test", comment=value)
    page.goto("/audit")
    assert_inert(page)
    expect(page.get_by_role("main")).to_contain_text(HOSTILE[0])

    page.goto("/")
    page.locator("[name=all]").check()
    page.get_by_role("button", name="Delete…").click()
    assert_inert(page)
    expect(page.get_by_role("main")).to_contain_text(HOSTILE[0])


def assert_inert(page: Page) -> None:
    """Check that nothing on the page came from a value."""
    assert page.title() != "owned"
    assert page.locator("main :is(script, img, iframe)").count() == 0
    assert page.locator("main :is([onerror], [onload], [onfocus])").count() == 0
    assert "1337" not in page.content()


def test_hostile_form_is_inert(page: Page) -> None:
    """Entered values come back as text, never interpreted as HTML."""
    typed = HOSTILE[3]
    submit(page, hosts=typed, email=typed, comment=typed, expires_at=typed)

    expect(page.locator("[name=comment]")).to_have_value(typed)
    expect(page.locator("[name=hosts]")).to_have_value(typed)
    expect(page).to_have_title("No token was created · acl-auth-service")


def test_odd_times(page: Page, redis: Any) -> None:
    """An invalid timestamp in a record breaks no page."""
    for number, created_at in enumerate(["0", "1700000000000", "9" * 30, "x"]):
        store_older_record(redis, number, created_at=created_at)
    page.reload()
    expect(rows(page)).to_have_count(4)
    addresses = [link.get_attribute("href") or "" for link in rows(page).locator("th a").all()]

    assert len(addresses) == 4
    assert [page.goto(address).status for address in addresses] == [200] * 4  # type: ignore[union-attr]


def test_local_time(page: Page) -> None:
    """A time in UTC has the local time as its tooltip."""
    create(page, ttl_seconds=str(30 * 86_400))

    expect(page.locator("time").first).to_have_attribute("title", re.compile(r"20\d\d.*:\d\d"))


def test_static_file_urls(page: Page, service: Gunicorn) -> None:
    """A static file's URL contains a hash of its content, so that a browser never uses an outdated one."""
    address = page.locator("link[rel=stylesheet]").get_attribute("href") or ""
    style = call(service.port, "/static/style.css")

    assert address == f"/static/style.css?v={sha256(style.body).hexdigest()[:12]}"


def test_browser_without_password(browser: Browser, service: Gunicorn) -> None:
    """Without a password there is no page."""
    context: BrowserContext = browser.new_context(base_url=f"http://127.0.0.1:{service.port}")
    answer = context.request.get("/")

    assert answer.status == 401
    assert "<" not in answer.text()
    context.close()


@pytest.mark.parametrize("options", [{}, {"java_script_enabled": False}])
def test_selection_after_coming_back(open_page: Open, redis: Any, options: dict[str, bool]) -> None:
    """Whoever comes back to a table that changed finds the same tokens checked, or none, but never others."""
    store_older_record(redis, 1)
    page = open_page(**options)
    rows(page).get_by_role("checkbox").check()
    chosen = rows(page).get_by_role("checkbox").get_attribute("value")
    page.get_by_role("link", name="Audit").click()
    store_older_record(redis, 2, created_at="1700000000")
    page.go_back()

    expect(rows(page)).to_have_count(2)
    checked = rows(page).locator(":checked").evaluate_all("all => all.map(each => each.value)")
    assert checked == ([] if options else [chosen])
