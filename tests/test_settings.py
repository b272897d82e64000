"""Parsing the environment into settings, or into one message."""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path

import pytest

from app.core.clients import parse_proxies
from app.core.credentials import SOURCES
from app.core.limits import Limit
from app.redis_url import Login
from app.settings import InvalidSettingsError, Settings
from devkit.builders import ENVIRON, make_settings


def complaint(environ: dict[str, str]) -> str:
    """Return the message with which *environ* is refused."""
    with pytest.raises(InvalidSettingsError) as caught:
        Settings.from_environ(environ)
    return str(caught.value)


def test_defaults() -> None:
    """Three secrets are the only required settings."""
    settings = make_settings()

    assert (settings.redis_host, settings.redis_port, settings.redis_db) == ("127.0.0.1", 6379, 0)
    assert settings.limit == Limit(100, 1)
    assert (settings.bind, settings.token_prefix, settings.redis_deadline_ms) == (
        "127.0.0.1:8000",
        "acl",
        250,
    )


def test_all_problems_in_one_message() -> None:
    """Every problem is reported at once, each with the name of its setting."""
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
def test_common_passwords(value: str) -> None:
    """Passwords that attackers try first are refused."""
    assert "ADMIN_PASS: is one of the first passwords" in complaint(ENVIRON | {"ADMIN_PASS": value})


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        ("s3cret", "s3cret"),
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        ("s3cret\r", "s3cret"),
        ("s\n\n", "s\n"),
        ("s\r\n\n", "s\r\n"),
        (" é ", " é "),
    ],
)
def test_line_end_after_a_secret(tmp_path: Path, content: str, secret: str) -> None:
    """One trailing line end is stripped from a secret and from its file; a blank NAME counts as unset."""
    path = tmp_path / "pepper"
    path.write_bytes(content.encode())

    assert make_settings(PEPPER=content).pepper == secret
    assert make_settings(PEPPER="", PEPPER_FILE=path).pepper == secret
    assert make_settings(PEPPER="\n", PEPPER_FILE=path).pepper == secret
    path.write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert make_settings(PEPPER="", PEPPER_FILE=path).pepper == secret


@pytest.mark.parametrize("name", [f.name for f in fields(Settings)])
@pytest.mark.parametrize("blank", ["", "\n", "\r\n"])
def test_blank(name: str, blank: str) -> None:
    """A setting that is empty or only a line end counts as not set."""
    if Settings.__dataclass_fields__[name].metadata["default"] is None:
        assert f"  {name.upper()}: is required" in complaint(ENVIRON | {name.upper(): blank})
    else:
        assert make_settings(**{name.upper(): blank}) == make_settings()


def test_secret_set_twice(tmp_path: Path) -> None:
    """A secret that is set both directly and as a file is refused."""
    assert "PEPPER: is set twice" in complaint(ENVIRON | {"PEPPER_FILE": str(tmp_path)})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file"),
        (b"", "is required"),
        (b"\n", "is required"),
        (b"hush\n\xff\xfe", "is not UTF-8 text in line 2"),
        ("hush".encode("utf-16"), "is not UTF-8 text"),
        ("hush".encode("utf-16-le"), "is not UTF-8 text"),
        (b"hush" * 20_000, "holds more than 65536 bytes"),
    ],
    ids=["missing", "empty", "blank", "bytes", "utf-16", "utf-16-le", "large"],  # not in the file's path
)
def test_unusable_secret_file(tmp_path: Path, content: bytes | None, problem: str) -> None:
    """A file that is missing, empty, too large or not text stops the start, and its content is not shown."""
    path = tmp_path / "pepper"
    if content is not None:
        path.write_bytes(content)
    message = complaint(ENVIRON | {"PEPPER": "", "PEPPER_FILE": str(path)})

    assert re.search(f"^  PEPPER: .*{problem}", message, re.MULTILINE)
    assert "hush" not in message


def test_not_a_regular_secret_file(tmp_path: Path) -> None:
    """A directory is refused, and so is a pipe, because it can be read only once."""
    os.mkfifo(tmp_path / "pipe")

    for path, problem in [(tmp_path, "is a directory"), (tmp_path / "pipe", "is not a regular file")]:
        assert f"{problem}\n" in complaint(ENVIRON | {"PEPPER": "", "PEPPER_FILE": str(path)}) + "\n"


@pytest.mark.parametrize("name", [f.name.upper() for f in fields(Settings) if not f.metadata["secret"]])
def test_file_for_another_setting(tmp_path: Path, name: str) -> None:
    """NAME_FILE is refused, not ignored, if NAME is not a secret."""
    assert f"  {name}: only secrets" in complaint(ENVIRON | {f"{name}_FILE": str(tmp_path)})


@pytest.mark.parametrize(
    "name", ["PEPPER", "ADMIN_PASS", "REDIS_PASSWORD", "AUTH_REALM", "BIND", "REDIS_HOST"]
)
def test_undecodable_bytes(name: str) -> None:
    """Bytes that os.environ can't decode stop the start, instead of failing at each request."""
    assert f"  {name}: is not UTF-8" in complaint(ENVIRON | {name: os.fsdecode(b"a\xff")})


@pytest.mark.parametrize("name", ["RATE_LIMIT_MAX", "TOKEN_TTL_SECONDS", "MAX_TTL_SECONDS", "REDIS_DB"])
@pytest.mark.parametrize(
    "value", ["-1", "1.5", "1e3", "nan", "inf", "0x10", "1_000", "١٢", "9" * 30, " 5", "+7"]
)
def test_numbers(name: str, value: str) -> None:
    """A number is plain digits within its range; any other form is refused."""
    assert f"  {name}: a whole number" in complaint(ENVIRON | {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATE_LIMIT_WINDOW_SEC", "0"),
        ("REDIS_PORT", "65536"),
        ("REDIS_DEADLINE_MS", "9"),
        ("TOKEN_PREFIX", "a_b"),
        ("TOKEN_PREFIX", "-"),
        ("TOKEN_PREFIX", "-a-"),
        ("TOKEN_PREFIX", "sk- "),
        ("TOKEN_PREFIX", "a" * 16 + "-"),
        ("TOKEN_PREFIX", "ü"),
        ("CREDENTIAL_SOURCES", "cookie"),
        ("CREDENTIAL_SOURCES", "basic,basic"),
        ("CREDENTIAL_SOURCES", "header:Host"),
        ("PEPPER_PREVIOUS", "a,,b"),
        ("FAIL_LIMIT_MAX", "1001"),
        ("FAIL_LIMIT_MAX", "5"),
        ("FAIL_LIMIT_WINDOW_SEC", "0"),
        ("TRUSTED_PROXIES", "traefik"),
        ("TRUSTED_PROXIES", "0.0.0.0/0"),
        ("AUTH_REALM", 'a"b'),
        ("AUTH_REALM", "a\nb"),
        ("BIND", "8000"),
        ("ADMIN_PASS", "secret\n\n"),
        ("ADMIN_PASS", "sec\x00ret"),
        ("ADMIN_PASS", "sec\x85ret"),
        ("REDIS_PASSWORD", " "),
        ("REDIS_USERNAME", " \n"),
        ("REDIS_HOST", "redis:6379"),
        ("REDIS_HOST", " redis"),
        ("REDIS_HOST", "redis://redis"),
        ("REDIS_HOST", "/run/redis.sock"),
        ("REDIS_DB", "2147483648"),
        ("LOG_LEVEL", "info "),
        ("REDIS_TLS_CERT_FILE", __file__),
        ("REDIS_TLS_KEY_FILE", __file__),
        ("REDIS_TLS_CA_FILE", __file__),
        ("WEB_CONCURRENCY", "0"),
        ("LOG_FORMAT", "xml"),
        ("REFUSAL_FORMAT", "problem+json"),
        ("SELF_SERVICE", "true"),
        ("REDIS_URL", "http://example.com"),
        ("REDIS_TLS_CA_FILE", "/nowhere/ca.pem"),
    ],
)
def test_refused(name: str, value: str) -> None:
    """Values that the service can't use stop the start."""
    assert f"  {name}: " in complaint(ENVIRON | {name: value})


@pytest.mark.parametrize(
    ("value", "flag"), [("1", True), ("TRUE", True), ("on", True), ("no", False), ("0", False)]
)
def test_flags(value: str, *, flag: bool) -> None:
    """A flag accepts the usual spellings."""
    assert make_settings(REDIS_TLS=value).redis_tls is flag


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("LOG_LEVEL", "INFO", "info"),
        ("LOG_LEVEL", "Warning\n", "warning"),
        ("LOG_FORMAT", "JSON", "json"),
        ("REFUSAL_FORMAT", "Json", "json"),
        ("SELF_SERVICE", "Full", "full"),
        (
            "CREDENTIAL_SOURCES",
            "Authorization, X-Api-Key,BASIC",
            (SOURCES["authorization"], SOURCES["x-api-key"], SOURCES["basic"]),
        ),
        ("TRUSTED_PROXIES", "Private,UNIX", parse_proxies("private,unix")),
        ("TOKEN_PREFIX", "sk-Proj-", "sk-Proj-"),
        ("EXPRESS_LANE", "Off", False),
        ("METRICS_ENABLED", "No", False),
        ("BIND", "UNIX:/run/A.sock", "unix:/run/A.sock"),
        ("BIND", "LocalHost:80", "localhost:80"),
        ("REDIS_HOST", "[::1]", "::1"),
    ],
)
def test_words_in_any_case(name: str, value: str, meant: object) -> None:
    """Words are case-insensitive."""
    assert getattr(make_settings(**{name: value}), name.lower()) == meant


@pytest.mark.parametrize(
    ("ttl", "most", "default"),
    [("0", "0", 0), ("0", "60", 60), ("60", "60", 60), ("5", "60", 5), ("60", "0", 60)],
)
def test_default_lifetime(ttl: str, most: str, default: int) -> None:
    """A token without a lifetime of its own has TOKEN_TTL_SECONDS, else as much as there may be."""
    assert make_settings(TOKEN_TTL_SECONDS=ttl, MAX_TTL_SECONDS=most).default_ttl_s == default


def test_default_lifetime_beyond_the_longest() -> None:
    """A default that no token may have stops the start."""
    message = complaint(ENVIRON | {"TOKEN_TTL_SECONDS": "61", "MAX_TTL_SECONDS": "60"})

    assert "  TOKEN_TTL_SECONDS: is longer than MAX_TTL_SECONDS" in message


def test_repr_hides_the_secrets() -> None:
    """The repr of the settings, which may end up in a log, contains no secret."""
    shown = repr(make_settings(REDIS_PASSWORD="hush", REDIS_URL="redis://:hush@localhost"))

    assert not any(secret in shown for secret in [*ENVIRON.values(), "hush"])


@pytest.mark.parametrize(
    ("value", "peppers"),
    [
        ("", ()),
        ("a\n", ("a",)),
        ("a,b c", ("a", "b c")),
        ("a,b\r\n", ("a", "b")),
        ("a,b\nc", ("a,b", "c")),
        ("a\r\nb\r\n", ("a", "b")),
    ],
)
def test_previous_peppers(value: str, peppers: tuple[str, ...]) -> None:
    """Several peppers are separated by commas, or by newlines if one contains a comma."""
    assert make_settings(PEPPER_PREVIOUS=value).pepper_previous == peppers


class TestBesideRedisUrl:
    """Other settings of Redis must agree with REDIS_URL and must have an effect."""

    @pytest.mark.parametrize(
        ("url", "beside", "login"),
        [
            ("redis://a", {"REDIS_USERNAME": "u", "REDIS_PASSWORD": "p"}, Login("u", "p")),
            ("redis://u@a", {"REDIS_PASSWORD": "p"}, Login("u", "p")),
            ("redis://:p@a", {"REDIS_USERNAME": "u", "REDIS_PASSWORD": "p"}, Login("u", "p")),
            ("unix:///s", {"REDIS_PASSWORD": "p\n"}, Login("", "p")),
            ("redis+sentinel://a/s", {"REDIS_PASSWORD": "p"}, Login("", "p")),
            ("rediss+cluster://a,b", {"REDIS_USERNAME": "u", "REDIS_PASSWORD": "p"}, Login("u", "p")),
            (
                "redis://a:1/2",
                {"REDIS_HOST": "A", "REDIS_PORT": "1", "REDIS_DB": "2", "REDIS_TLS": "no"},
                Login(),
            ),
            ("rediss://a", {"REDIS_PORT": "6379", "REDIS_DB": "0", "REDIS_TLS": "true"}, Login()),
            ("redis://a", {"REDIS_HOST": "", "REDIS_PORT": "", "REDIS_PASSWORD": ""}, Login()),
        ],
    )
    def test_in_agreement(self, url: str, beside: dict[str, str], login: Login) -> None:
        """A login may be set apart from the URL, and equal values are accepted."""
        assert make_settings(REDIS_URL=url, **beside).redis.login == login

    @pytest.mark.parametrize(
        ("url", "name", "value"),
        [
            ("redis://a", "REDIS_HOST", "b"),
            ("redis://a", "REDIS_HOST", "127.0.0.1"),
            ("redis://127.0.0.1", "REDIS_PORT", "6380"),
            ("redis://a/1", "REDIS_DB", "0"),
            ("redis://a", "REDIS_DB", "1"),
            ("redis://a", "REDIS_TLS", "true"),
            ("rediss://a", "REDIS_TLS", "false"),
            ("unix:///s", "REDIS_HOST", "127.0.0.1"),
            ("unix:///s", "REDIS_PORT", "6379"),
            ("unix:///s", "REDIS_TLS", "true"),
            ("redis+sentinel://a/s", "REDIS_HOST", "a"),
            ("redis+sentinel://a/s", "REDIS_DB", "1"),
            ("redis+cluster://a", "REDIS_PORT", "6379"),
            ("redis://u:p@a", "REDIS_USERNAME", "hush"),
            ("redis://u:p@a", "REDIS_PASSWORD", "hush"),
            ("redis+cluster://:p@a", "REDIS_PASSWORD", "hush"),
        ],
    )
    def test_in_contradiction(self, url: str, name: str, value: str) -> None:
        """Different values are refused, and no secret is shown."""
        message = complaint(ENVIRON | {"REDIS_URL": url, name: value})

        assert f"  {name}: REDIS_URL has another value" in message
        assert "hush" not in message

    @pytest.mark.parametrize(
        "place",
        [{}, {"REDIS_URL": "redis://a"}, {"REDIS_URL": "unix:///s"}, {"REDIS_URL": "redis+cluster://a"}],
    )
    def test_tls_settings_without_tls(self, place: dict[str, str]) -> None:
        """TLS settings without TLS are refused, because they were meant to have an effect."""
        message = complaint(ENVIRON | place | {"REDIS_TLS_SKIP_VERIFY": "true"})

        assert "  REDIS_TLS_SKIP_VERIFY: has no effect without TLS" in message
        assert make_settings(REDIS_TLS_SKIP_VERIFY="false", **place).redis_tls_skip_verify is False
