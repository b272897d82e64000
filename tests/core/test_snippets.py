"""Ready lines for clients, for each way in which the service may accept a secret."""

from __future__ import annotations

import subprocess
from pathlib import Path
from shutil import which

import pytest
import yaml  # type: ignore[import-untyped]

from app.core.credentials import SOURCES, headers, parse_sources
from app.core.fields import TokenSpec
from app.core.snippets import Snippet, snippets

SECRET = "acl_secret"
BASIC = "dG9rZW46YWNsX3NlY3JldA=="
CLIENTS = ("curl", "openai", "ollama", "git", "prometheus", "traefik")


def made(sources: str, hosts: str = "a.test", **fields: tuple[str, ...]) -> dict[str, Snippet]:
    """Return the snippets by name."""
    spec = TokenSpec((hosts,), **fields)  # type: ignore[arg-type]
    return {each.name: each for each in snippets(parse_sources(sources), SECRET, spec)}


@pytest.mark.parametrize("sources", [*SOURCES, "header:api-key"])
def test_every_client(sources: str) -> None:
    """Each client has lines with the secret, or a sentence that says why not."""
    ready = made(sources)

    assert tuple(ready) == CLIENTS
    for name in CLIENTS[:-1]:
        text = ready[name].text
        assert SECRET in text or BASIC in text or "can't send" in ready[name].hint
    assert f"authRequestHeaders={','.join(headers(parse_sources(sources)))}\n" in ready["traefik"].text


@pytest.mark.parametrize(
    ("sources", "name", "part"),
    [
        ("authorization", "openai", f'api_key="{SECRET}")'),
        ("x-api-key,authorization", "openai", f'api_key="{SECRET}")'),
        ("x-api-key", "openai", f'default_headers={{"X-Api-Key": "{SECRET}"}}'),
        ("x-api-key,basic", "openai", f'default_headers={{"Authorization": "Basic {BASIC}"}}'),
        ("x-api-key", "ollama", f'headers={{"X-Api-Key": "{SECRET}"}}'),
        ("authorization,basic", "git", f"username=token\\npassword={SECRET}\\n"),
        ("authorization", "git", f"'Authorization: Bearer {SECRET}'"),
        ("header:a'b", "git", f"""'A'"'"'b: {SECRET}'"""),
        ("header:a$b", "curl", f'"A\\$b: {SECRET}"'),
    ],
)
def test_way_of_a_client(sources: str, name: str, part: str) -> None:
    """A client sends the secret in the way that it knows best among those that are accepted."""
    assert part in made(sources)[name].text


@pytest.mark.parametrize(
    ("sources", "login"),
    [
        ("authorization", {"authorization": {"credentials": SECRET}}),
        ("x-api-key,basic", {"basic_auth": {"username": "token", "password": SECRET}}),
        ("header:api-key", {"http_headers": {"Api-Key": {"secrets": [SECRET]}}}),
        ("proxy-authorization,x-api-key", {"http_headers": {"X-Api-Key": {"secrets": [SECRET]}}}),
    ],
)
def test_prometheus(sources: str, login: dict[str, object]) -> None:
    """Prometheus gets a scrape configuration, in YAML, with the secret where it sends it."""
    (scrape,) = yaml.safe_load(made(sources)["prometheus"].text)["scrape_configs"]

    target = {"job_name": "a.test", "scheme": "https", "static_configs": [{"targets": ["a.test"]}]}
    assert scrape == target | login


@pytest.mark.skipif(not which("promtool"), reason="there is no promtool on the PATH")
@pytest.mark.parametrize("sources", ["authorization", "basic"])
def test_promtool(sources: str, tmp_path: Path) -> None:
    """Prometheus accepts the configuration."""
    (tmp_path / "prometheus.yml").write_text(made(sources)["prometheus"].text)

    subprocess.run(
        ["promtool", "check", "config", tmp_path / "prometheus.yml"], check=True, capture_output=True
    )


def test_client_that_cannot() -> None:
    """Where no accepted source suits a client, there is no line that would get a 401."""
    snippet = made("proxy-authorization")["prometheus"]

    assert snippet.text == ""
    assert "can't send `Proxy-Authorization`" in snippet.hint


@pytest.mark.parametrize(
    ("hosts", "fields", "command"),
    [
        ("*.b.test", {}, 'curl -H "Authorization: Bearer acl_secret" https://app.b.test/'),
        ("*", {"paths": ("/v1/*",)}, 'curl -H "Authorization: Bearer acl_secret" https://example.com/v1/'),
        ("a.b", {"methods": ("POST",)}, 'curl -X POST -H "Authorization: Bearer acl_secret" https://a.b/'),
        (
            "a.b",
            {"methods": ("POST", "GET"), "paths": ("/x",)},
            'curl -H "Authorization: Bearer acl_secret" https://a.b/x',
        ),
    ],
)
def test_first_request(hosts: str, fields: dict[str, tuple[str, ...]], command: str) -> None:
    """The curl command asks for something that the token opens."""
    assert made("authorization", hosts, **fields)["curl"].text == command
