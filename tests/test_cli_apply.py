"""The commands ``flask tokens apply`` and ``flask tokens digest``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from click.testing import Result

from app import create_app
from app.core.peppers import Peppers
from app.settings import InvalidSettingsError
from app.store import keys
from app.store.managed import RedisManaged
from devkit.builders import PEPPER, make_settings
from devkit.proxies import recipe
from devkit.redis_server import RedisServer

Run = Callable[..., Result]
DOCS = "docs/tokens-file.md"
SECRET = "a-secret-that-is-long-enough"


@pytest.fixture
def run(redis_server: RedisServer) -> Run:
    """Return a function that runs a command of the group on an empty database."""
    with redis.Redis(port=redis_server.port) as client:
        client.flushall()

    def run(*args: str, input: str = "", **variables: object) -> Result:  # noqa: A002 - as click names it
        settings = make_settings(REDIS_PORT=redis_server.port, REDIS_DEADLINE_MS=5000, **variables)
        return create_app(settings).test_cli_runner().invoke(args=["tokens", *args], input=input)

    return run


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    """Return a file with one token."""
    path = tmp_path / "tokens.toml"
    path.write_text(f'[tokens.ci]\nhosts = ["a.test"]\nsha256 = "{Peppers(PEPPER).digest(SECRET)}"\n')
    return path


def test_apply(run: Run, path: Path) -> None:
    """A file is applied with one line for each change, and again without any."""
    first = run("apply", str(path))
    assert (first.exit_code, first.stdout) == (
        0,
        "+ ci: create for a.test\n1 created, 0 changed, 0 ended, 0 unchanged\n",
    )
    assert run("apply", str(path)).output == "no changes, 1 unchanged\n"
    assert json.loads(run("show", "-", "--json", input=SECRET).stdout)["managed"] == "ci"
    assert "  Managed as    ci, by a tokens file\n" in run("show", "-", input=SECRET).stdout
    assert "  Managed as    ci, by TOKENS_FILE\n" in run("show", "-", input=SECRET, TOKENS_FILE=path).stdout


def test_dry_run(run: Run, path: Path) -> None:
    """A dry run prints what would be done, and does nothing."""
    printed = run("apply", str(path), "--dry-run").output

    assert printed == "+ ci: create for a.test\n1 to create, 0 to change, 0 to end, 0 unchanged\n"
    assert run("list", "--json").output == ""


def test_changes(run: Run, path: Path) -> None:
    """A change shows the old value and the new one."""
    run("apply", str(path))
    path.write_text(path.read_text().replace("a.test", "b.test"))

    assert run("apply", str(path)).stdout.startswith("~ ci: hosts: a.test → b.test\n")


def test_prune(run: Run, path: Path) -> None:
    """What left the file is pointed out, and ended only with --prune."""
    run("apply", str(path))
    path.write_text("[tokens]\n")

    assert run("apply", str(path)).stdout.startswith("  ci: is no longer in the file; --prune would end it\n")
    assert re.match("- ci: end [0-9a-z]{16}: it is no longer", run("apply", str(path), "--prune").stdout)
    assert run("list", "--json").output == ""


@pytest.mark.parametrize("prune", ["true", "false"])
def test_settings(run: Run, path: Path, prune: str) -> None:
    """Without an argument, the settings name the file and say whether to prune."""
    run("apply", str(path))
    other = path.with_name("other.toml")
    other.write_text("[tokens]\n")
    result = run("apply", TOKENS_FILE=other, TOKENS_FILE_PRUNE=prune)

    assert ("1 ended" in result.stdout) is (prune == "true")


def test_prune_setting_is_for_its_file(run: Run, path: Path) -> None:
    """TOKENS_FILE_PRUNE ends nothing when another file is applied."""
    run("apply", str(path))
    other = path.with_name("other.toml")
    other.write_text("[tokens]\n")

    assert "0 unchanged" in run("apply", str(other), TOKENS_FILE=path, TOKENS_FILE_PRUNE="true").stdout
    assert run("list", "--json").output


def test_no_file(run: Run) -> None:
    """Without a file the command says what to do."""
    result = run("apply")

    assert (result.exit_code, "name a FILE, or set TOKENS_FILE" in result.output) == (2, True)


def test_standard_input(run: Run, path: Path) -> None:
    """A file on standard input is applied too."""
    assert run("apply", "-", input=path.read_text()).stdout.startswith("+ ci: create for a.test\n")
    assert "'standard input' is not TOML" in run("apply", "-", input="x").output


def test_documented_mistake(tmp_path: Path) -> None:
    """The message in docs/tokens-file.md is that of such a mistake in the file there."""
    shown = recipe("The file", "text", DOCS).replace("comment, …\n", "comment, ")
    text = (
        recipe("The file", "toml", DOCS)
        .replace('hosts = ["prom', 'host = ["prom')
        .replace('secret_file = "secrets/ci-deploy"', f'sha256 = "{"ab" * 32}"')
    )
    (tmp_path / "tokens.toml").write_text(text)

    with pytest.raises(InvalidSettingsError) as caught:
        make_settings(TOKENS_FILE=tmp_path / "tokens.toml")
    assert str(caught.value).startswith(shown)


def test_bad_file(run: Run, path: Path) -> None:
    """A file with a mistake changes nothing, and the message has its line and its key."""
    path.write_text(f"{path.read_text()}\n[tokens.b]\nhosts = []\nsha256 = '{SECRET}'\n")
    result = run("apply", str(path))

    assert result.exit_code == 1
    assert "nothing was changed:\n  line 6, tokens.b.hosts: " in result.output
    assert "\n  line 7, tokens.b.sha256: " in result.output
    assert SECRET not in result.output
    assert run("list", "--json").output == ""


def test_json(run: Run, path: Path) -> None:
    """For programs, standard output has one object per change and nothing else."""
    assert json.loads(run("apply", str(path), "--json").stdout) == {
        "action": "create",
        "key": "ci",
        "hosts": ["a.test"],
    }
    path.write_text(path.read_text() + 'comment = "x"\n')
    (line,) = run("apply", str(path), "--json").stdout.splitlines()
    assert json.loads(line)["changes"] == {"comment": {"old": "none", "new": "x"}}


def test_waiting(run: Run, path: Path, redis_server: RedisServer) -> None:
    """While somebody else applies a file, the command waits for its turn and says so."""
    with redis.Redis(port=redis_server.port, protocol=2) as client:
        assert RedisManaged(client, 5).take_turn("other")
        client.pexpire(keys.TURN, 500)
        result = run("apply", str(path))

    assert (result.exit_code, "waiting" in result.stderr) == (0, True)
    assert result.stdout.startswith("+ ci:")


def test_emergency(run: Run, path: Path) -> None:
    """A leaked token is disabled at once with --force, and applying the file again does not enable it."""
    run("apply", str(path))
    name = json.loads(run("list", "--json").output)["id"]
    refused = run("disable", name)
    assert "change it there" in refused.stderr
    assert "tokens disable --force stops it at once" in refused.stderr
    assert run("disable", name, "--force").exit_code == 0

    assert "  ci: is disabled, and stays so" in run("apply", str(path)).stdout
    assert json.loads(run("show", name, "--json").stdout)["status"] == "disabled"
    assert run("enable", name, "--force").exit_code == 0


def test_digest(run: Run) -> None:
    """The digest of a secret on standard input is what records and files have; --new makes a secret."""
    assert run("digest", input=f"{SECRET}\n").stdout == f"{Peppers(PEPPER).digest(SECRET)}\n"
    secret, digest = run("digest", "--new").stdout.split()
    assert (secret.startswith("acl_"), digest) == (True, Peppers(PEPPER).digest(secret))

    assert json.loads(run("digest", "--json", input=SECRET).stdout) == {
        "sha256": Peppers(PEPPER).digest(SECRET)
    }
    both = json.loads(run("digest", "--new", "--json").stdout)
    assert both == {"token": both["token"], "sha256": Peppers(PEPPER).digest(both["token"])}


@pytest.mark.parametrize("secret", ["short", "two words and some more of them", "acl_" + "a" * 38])
def test_digest_of_an_unusable_secret(run: Run, secret: str) -> None:
    """A secret that no token can have, or that can be guessed, has no digest."""
    result = run("digest", input=secret)

    assert (result.exit_code, result.stdout) == (1, "")
    assert secret not in result.output
