"""Every snippet that an operator copies lists the headers of core/credentials.py, complete and in order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from html import unescape
from pathlib import Path
from typing import NamedTuple

import pytest
from flask import render_template_string

from app import create_app
from app.core.credentials import IDENTITY_HEADERS, NAMES, SOURCES, headers, parse_sources
from devkit.builders import make_settings

ROOT = Path(__file__).parents[1]
PATTERNS = ("*.md", "docs/**/*.md", "*.yml", "deploy/**/*.y*ml", "k8s/**/*.y*ml", "app/templates/**/*.html")
NO_SNIPPETS = {"CHANGELOG.md", "decisions"}
IDENTITY = tuple(IDENTITY_HEADERS)
ACCEPTED = (*SOURCES, ",".join(SOURCES), "basic,authorization", "header:api-key,authorization")
DEFAULT = make_settings().credential_sources

# Both lists of ForwardAuth: [A, B] or one line per header in YAML, =A,B in a label or a flag.
_FORWARD_AUTH = re.compile(
    r"""auth(Request|Response)Headers(?:
        :[ ]*\[(?P<flow>[^\]]*)\] | :[ ]*\n(?P<block>(?:[ ]*-[ ]+\S+\n)+) | =(?P<label>[^\s`"']+)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_SOURCES = re.compile(r"CREDENTIAL_SOURCES[=:] *([a-z,:-]+)")


class Snippet(NamedTuple):
    """A list of headers, its place, and the list that the tables require."""

    place: str
    found: tuple[str, ...]
    expected: tuple[str, ...]


@cache
def texts() -> tuple[tuple[str, str], ...]:
    """Return every document and manifest, and the rendered labels of the admin pages."""
    return (*_files(), *((f"labels for {names}", labels(names)) for names in ACCEPTED))


def _files() -> Iterator[tuple[str, str]]:
    for path in sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern)):
        if not NO_SNIPPETS & set(path.relative_to(ROOT).parts) and path.name != "_labels.html":
            yield str(path.relative_to(ROOT)), path.read_text("utf-8")


def labels(names: str) -> str:
    """Return the labels that an admin page shows for these sources."""
    settings = make_settings(CREDENTIAL_SOURCES=names)
    with create_app(settings).test_request_context():
        page = render_template_string("{% include '_labels.html' %}", settings=settings)
    return f"CREDENTIAL_SOURCES={names}\n" + unescape(re.sub(r"</?(?:mark|code|pre)>", "", page))


def block_around(text: str, position: int) -> str:
    """Return the code block around *position*, or the whole text of a file without code blocks."""
    begin, end = text.rfind("\n```", 0, position), text.find("\n```", position)
    return text if begin < 0 or end < 0 else text[begin:end]


def is_of_another_service(text: str, position: int) -> bool:
    """Return whether the last address before *position* is of another service than this one."""
    addresses = re.findall(r"^ +address: (\S+)$", text[:position], re.MULTILINE)
    return bool(addresses) and not re.search(r"/auth\b", addresses[-1])


def forward_auth_snippets() -> Iterator[Snippet]:
    """Yield Traefik's lists; a block may set other sources than the default."""
    for place, text in texts():
        for match in _FORWARD_AUTH.finditer(text):
            if is_of_another_service(text, match.start()):
                continue
            named = _SOURCES.search(block_around(text, match.start()))
            credentials = headers(parse_sources(named[1]) if named else DEFAULT)
            listed = match["flow"] or match["block"] or match["label"]
            found = tuple(re.findall(r"[\w-]*\w", listed))
            expected = credentials if match[1].lower() == "request" else credentials + IDENTITY
            yield Snippet(f"{place}: auth{match[1]}Headers", found, expected)


def test_forward_auth() -> None:
    """Both lists have the headers of the accepted sources, and the response's also the identity headers."""
    snippets = [*forward_auth_snippets()]
    places = {snippet.place.partition(":")[0] for snippet in snippets}

    assert [one for one in snippets if one.found != one.expected] == []
    assert {"k8s/traefik-middleware.yaml", "deploy/traefik/routes.yml", "labels for basic"} <= places
    assert any(place.endswith(".md") for place in places)


def test_no_list_is_overlooked() -> None:
    """All other mentions of these options in documents are prose, in backquotes or a comment."""
    for place, text in texts():
        named = re.findall(r"auth(?:Request|Response)Headers *[=:]", text, re.IGNORECASE)
        assert len(named) == len([*_FORWARD_AUTH.finditer(text)]), place


PROXIES = "".join(
    block
    for name in ("caddy", "nginx", "envoy", "haproxy")
    for block in re.findall(
        "^```.*?^```", (ROOT / f"docs/recipes/{name}.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
)
CREDENTIALS = headers(DEFAULT)
LOWER = [name.lower() for name in IDENTITY]


def variable(name: str) -> str:
    """Return *name* as an nginx variable."""
    return name.lower().replace("-", "_")


# Each proxy's option, as a pattern with one group, and what the tables require.
OTHER_PROXIES: dict[str, tuple[str, list[str]]] = {
    "Caddy forwards": (r"copy_headers (.*)", [" ".join(IDENTITY)]),
    "Caddy removes": (r"header_up -(.*)", [*CREDENTIALS]),
    "nginx reads": (r"auth_request_set .* \$upstream_http_(x_auth_\w+);", [*map(variable, IDENTITY)]),
    "nginx forwards": (r"proxy_set_header (X-Auth-\S+) ", [*IDENTITY]),
    "nginx sends": (r"proxy_set_header (\S+) \$http_(?!upgrade)\w+;", [*CREDENTIALS]),
    "nginx removes": (r'proxy_set_header (?!Content-Length|Connection)(\S+) "";', [*CREDENTIALS]),
    "Envoy sends": (r"{exact: (?!x-forwarded-)(\S+)}", [name.lower() for name in CREDENTIALS]),
    "Envoy removes": (
        r"request_headers_to_remove: \[(.*), x-forwarded-method, x-forwarded-uri\]",
        [", ".join(CREDENTIALS).lower()],
    ),
    "HAProxy sends": (r"local CREDENTIALS = {(.*)}", [", ".join(f'"{n.lower()}"' for n in CREDENTIALS)]),
    "HAProxy forwards": (r"local IDENTITY = {(.*)}", [", ".join(f'"{name}"' for name in LOWER)]),
    "HAProxy removes": (r"http-request del-header ([A-Z]\S*)", [*CREDENTIALS]),
}


@pytest.mark.parametrize("option", OTHER_PROXIES)
def test_other_proxies(option: str) -> None:
    """The other proxies send the credential to /auth, remove it, and forward the whole identity, in order."""
    pattern, expected = OTHER_PROXIES[option]

    assert re.findall(pattern, PROXIES) == expected


def test_prefix_of_envoy() -> None:
    """Envoy forwards headers by a prefix that every identity header has and no credential."""
    [prefix] = re.findall(r"allowed_upstream_headers:\s+patterns: \[{prefix: (\S+)}\]", PROXIES)

    assert all(name.startswith(prefix) for name in LOWER)
    assert not any(source.header.lower().startswith(prefix) for source in SOURCES.values())


def rows(section: Callable[[str], bool]) -> list[list[str]]:
    """Return the rows of the documents' one table whose heading matches *section*, cell by cell."""
    found = []
    for _, text in texts():
        lines = text.splitlines()
        for number in (number for number, line in enumerate(lines) if section(line)):
            for line in lines[number + 2 :]:
                if not line.startswith("|"):
                    break
                found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def test_table_of_sources() -> None:
    """The documents list every source in the table's order, with its header and its scheme."""
    described = rows(lambda line: line.startswith("| Source | The client sends"))

    assert [row[0].strip("`") for row in described] == [*NAMES]
    assert described.pop()[1] == "`<Name>: <token>`"
    for row, source in zip(described, SOURCES.values(), strict=True):
        scheme = "" if source.scheme.is_fallback else f" {source.scheme.name}"
        assert row[1].startswith(f"`{source.header}:{scheme}")


def test_identity_in_the_table_of_answers() -> None:
    """The row of an allowed request lists every identity header, in order."""
    answers = rows(lambda line: line.startswith("| Verdict | When | Status"))
    [allowed] = [row for row in answers if row[0] == "`allowed`"]

    assert re.findall(r"`(X-[^`]+)`", allowed[-1]) == [*IDENTITY]
