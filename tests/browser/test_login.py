"""Sign-in with a real browser."""

from __future__ import annotations

from playwright.sync_api import Browser

from devkit.redis_server import RedisServer
from devkit.service import Gunicorn


def test_password_beyond_ascii(browser: Browser, redis_server: RedisServer) -> None:
    """A user name and a password with non-ASCII characters work."""
    user, password = "ädmin", "pässwörd ✓ 日本"
    with Gunicorn(redis_server.port, web_concurrency=1, admin_user=user, admin_pass=password) as service:
        context = browser.new_context(http_credentials={"username": user, "password": password})
        answer = context.new_page().goto(f"http://127.0.0.1:{service.port}/")
        context.close()

    assert answer
    assert answer.status == 200
