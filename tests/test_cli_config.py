"""``flask config``: the settings in effect, and where each comes from."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from app import create_app, origins
from app.cli import output
from app.settings import Settings, load

SECRETS = {
    "PEPPER": "the-pepper-of-this-test",
    "ADMIN_PASS": "the-password-of-this-test",
    "REDIS_PASSWORD": "the-password-of-redis",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set some settings in the environment, some in ``.env``, and one in a file."""
    for setting in fields(Settings):
        monkeypatch.delenv(setting.name.upper(), raising=False)
    (tmp_path / "pass\x1b[31m").write_text(SECRETS["ADMIN_PASS"])
    (tmp_path / "backends.toml").write_text(
        '[[backend]]\nhosts = ["a.test"]\nheaders = { Authorization = "Bearer the-key-of-a-backend" }\n'
    )
    (tmp_path / ".env").write_text(
        f"PEPPER={SECRETS['PEPPER']}\nLOG_LEVEL=DEBUG\nREDIS_PASSWORD={SECRETS['REDIS_PASSWORD']}\n"
        "BACKENDS_FILE=backends.toml\nWEB_CONCURRENCY=7\nBIND=127.0.0.1:1\n"
    )
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "ADMIN_USER": "operator",
        "ADMIN_PASS_FILE": str(tmp_path / "pass\x1b[31m"),
        "TRUSTED_PROXIES": "private, 192.0.2.0/24",
        "WEB_CONCURRENCY": "3",
        "BIND": "",
    }.items():
        monkeypatch.setenv(name, value)


def shown(*args: str) -> str:
    """Return what the command prints."""
    result = create_app(load()).test_cli_runner().invoke(args=["config", *args])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_json() -> None:
    """Each setting has its effective value, and the place that it comes from."""
    printed: dict[str, Any] = json.loads(shown("--json"))

    def of(name: str) -> tuple[Any, ...]:
        return tuple(printed[name].values())

    assert [*printed] == [setting.name.upper() for setting in fields(Settings)]
    assert of("WEB_CONCURRENCY") == (3, True, origins.ENVIRONMENT, None)
    assert of("LOG_LEVEL") == ("debug", True, ".env", None)
    assert of("BIND") == ("127.0.0.1:8000", False, origins.DEFAULT, None)
    assert of("EXPRESS_LANE") == (True, False, origins.DEFAULT, None)
    assert of("TRUSTED_PROXIES") == ("private, 192.0.2.0/24", True, origins.ENVIRONMENT, None)
    assert of("BACKENDS_FILE") == ("backends.toml", True, ".env", None)
    assert of("ADMIN_USER") == (None, True, origins.ENVIRONMENT, None)
    assert of("REDIS_URL") == (None, False, origins.DEFAULT, None)
    assert of("ADMIN_PASS")[:3] == (None, True, origins.ENVIRONMENT)
    assert of("ADMIN_PASS")[3].endswith("pass\x1b[31m")


def test_rows() -> None:
    """Elsewhere than on a terminal a row has three columns separated by tabs, without control characters."""
    rows = [row.split("\t") for row in shown().splitlines()]

    assert [row[0] for row in rows] == [setting.name.upper() for setting in fields(Settings)]
    assert ["PEPPER", "set, not shown", ".env"] in rows
    assert ["REDIS_URL", "not set", "default"] in rows
    assert ["EXPRESS_LANE", "true", "default"] in rows
    (password,) = (row for row in rows if row[0] == "ADMIN_PASS")
    assert password[2].endswith(r"pass\x1b[31m (environment)")


def test_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal the command says that a service that runs may have other settings."""
    told: list[str] = []
    monkeypatch.setattr(output, "aside", told.append)
    shown("--json")
    shown()

    assert ["make run listens on PORT" in text for text in told] == [True]


@pytest.mark.parametrize("args", [[], ["--json"]])
def test_no_secret(args: list[str]) -> None:
    """Neither a secret nor a part of one is shown."""
    text = shown(*args)

    assert not [secret for secret in (*SECRETS.values(), "operator", "the-key-of") if secret[:5] in text]
