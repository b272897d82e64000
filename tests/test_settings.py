"""From the environment to settings, or to one message."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.core.limits import Limit
from app.settings import InvalidSettingsError, Settings
from tests.make import ENVIRON, make_settings


def complaint(environ: dict[str, str]) -> str:
    """Return the message that *environ* is refused with."""
    with pytest.raises(InvalidSettingsError) as caught:
        Settings.from_environ(environ)
    return str(caught.value)


def test_defaults() -> None:
    """Three secrets are all that must be set."""
    settings = make_settings()

    assert (settings.redis_host, settings.redis_port, settings.redis_db) == ("127.0.0.1", 6379, 0)
    assert settings.limit == Limit(100, 1)
    assert (settings.bind, settings.token_prefix, settings.redis_deadline_ms) == ("0.0.0.0:8000", "acl", 250)


def test_all_problems_in_one_message() -> None:
    """Everything that is wrong is said at once, each with its name."""
    message = complaint(
        {"ADMIN_USER": "a:b", "RATE_LIMIT_MAX": "10001", "REDIS_TLS": "maybe", "LOG_LEVEL": "loud"}
    )

    names = ["PEPPER", "ADMIN_USER", "ADMIN_PASS", "RATE_LIMIT_MAX", "REDIS_TLS", "LOG_LEVEL"]
    assert sorted(re.findall(r"^  (\w+):", message, re.MULTILINE)) == sorted(names)
    assert "from 0 to 10000, not '10001'" in message


@pytest.mark.parametrize("name", list(ENVIRON))
@pytest.mark.parametrize(
    "value", [None, "", " ", "\n", "changeme", "CHANGE-ME", "replace_me", "<secret>", "your-secret-here"]
)
def test_secrets_have_no_default(name: str, value: str | None) -> None:
    """A secret that is missing, blank or a placeholder stops the start."""
    environ = ENVIRON | ({} if value is None else {name: value})
    if value is None:
        del environ[name]

    assert f"  {name}: is " in complaint(environ)


@pytest.mark.parametrize("value", ["admin", "password", "Admin"])
def test_first_guess_for_a_password(value: str) -> None:
    """The passwords that everybody tries first are refused."""
    assert "ADMIN_PASS: is the first one" in complaint(ENVIRON | {"ADMIN_PASS": value})


@pytest.mark.parametrize(
    ("content", "secret"), [("s3cret\n", "s3cret"), ("s3cret", "s3cret"), ("s\n\n", "s\n"), (" é ", " é ")]
)
def test_secret_in_a_file(tmp_path: Path, content: str, secret: str) -> None:
    """NAME_FILE means the file's content less one newline at its end; a blank NAME beside it is unset."""
    path = tmp_path / "pepper"
    path.write_text(content, "utf-8")

    assert Settings.from_environ(ENVIRON | {"PEPPER": "", "PEPPER_FILE": str(path)}).pepper == secret


def test_secret_set_twice(tmp_path: Path) -> None:
    """A secret that is set both ways is refused rather than guessed."""
    assert "PEPPER: is set twice" in complaint(ENVIRON | {"PEPPER_FILE": str(tmp_path)})


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_secret_file_that_can_not_be_used(tmp_path: Path, content: bytes | None) -> None:
    """A file that is missing, empty or no text stops the start."""
    path = tmp_path / "pepper"
    if content is not None:
        path.write_bytes(content)

    assert "  PEPPER: " in complaint(ENVIRON | {"PEPPER": "", "PEPPER_FILE": str(path)})


@pytest.mark.parametrize("name", ["RATE_LIMIT_MAX", "TOKEN_TTL_SECONDS", "REDIS_DB"])
@pytest.mark.parametrize(
    "value", ["-1", "1.5", "1e3", "nan", "inf", "0x10", "1_000", "١٢", "9" * 30, " 5", "+7"]
)
def test_numbers(name: str, value: str) -> None:
    """A number is plain digits in its range; nothing else is guessed at."""
    assert f"  {name}: a whole number" in complaint(ENVIRON | {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATE_LIMIT_WINDOW_SEC", "0"),
        ("REDIS_PORT", "65536"),
        ("REDIS_DEADLINE_MS", "9"),
        ("TOKEN_PREFIX", "a_b"),
        ("TOKEN_PREFIX", "ü"),
        ("CREDENTIAL_SOURCES", "cookie"),
        ("CREDENTIAL_SOURCES", "basic,basic"),
        ("PEPPER_PREVIOUS", "a,,b"),
        ("FAIL_LIMIT_MAX", "1001"),
        ("FAIL_LIMIT_MAX", "5"),
        ("FAIL_LIMIT_WINDOW_SEC", "0"),
        ("TRUSTED_PROXIES", "traefik"),
        ("TRUSTED_PROXIES", "0.0.0.0/0"),
        ("AUTH_REALM", 'a"b'),
        ("AUTH_REALM", "a\nb"),
        ("BIND", "8000"),
        ("WEB_CONCURRENCY", "0"),
        ("LOG_FORMAT", "xml"),
        ("REDIS_URL", "http://example.com"),
        ("REDIS_TLS_CA_FILE", "/nowhere/ca.pem"),
    ],
)
def test_what_is_refused(name: str, value: str) -> None:
    """What the service could not use stops its start."""
    assert f"  {name}: " in complaint(ENVIRON | {name: value})


@pytest.mark.parametrize("value", ["", "100"])
def test_blank_is_the_default(value: str) -> None:
    """A blank variable is unset: compose files pass them on like that."""
    assert make_settings(RATE_LIMIT_MAX=value).rate_limit_max == 100


@pytest.mark.parametrize(
    ("value", "flag"), [("1", True), ("TRUE", True), ("on", True), ("no", False), ("0", False)]
)
def test_flags(value: str, *, flag: bool) -> None:
    """A flag has the usual spellings."""
    assert make_settings(REDIS_TLS=value).redis_tls is flag


def test_secrets_stay_out_of_sight() -> None:
    """Settings that land in a log show no secret."""
    shown = repr(make_settings(REDIS_PASSWORD="hush", REDIS_URL="redis://:hush@localhost"))

    assert not any(secret in shown for secret in [*ENVIRON.values(), "hush"])


@pytest.mark.parametrize(
    ("value", "peppers"), [("", ()), ("a", ("a",)), ("a,b c", ("a", "b c")), ("a,b\nc", ("a,b", "c"))]
)
def test_previous_peppers(value: str, peppers: tuple[str, ...]) -> None:
    """Several peppers are separated by commas or, should one have a comma, by lines."""
    assert make_settings(PEPPER_PREVIOUS=value).pepper_previous == peppers
