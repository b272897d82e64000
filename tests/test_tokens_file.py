"""What TOKENS_FILE may say, and what becomes of one that is not valid."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from app.core.declared import DECLARABLE, Declared, InvalidFileError
from app.core.fields import FIELDS
from app.settings import InvalidSettingsError
from app.tokens_file import TokensFile
from app.tokens_toml import read
from app.toml_lines import lines_of
from devkit.builders import make_settings

HUSH = "hush-hush-hush-hush-hush"
SHA = f'sha256 = "{"ab" * 32}"'
HOST = 'hosts = ["a.test"]'


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    """Return where the file is, beside a file with a secret."""
    write_secret(tmp_path / "secret", f"{HUSH}\n")
    return tmp_path / "tokens.toml"


def write_secret(path: Path, text: str, mode: int = 0o640) -> None:
    """Write a file that others can't read."""
    path.write_text(text, "utf-8")
    path.chmod(mode)


def problems(path: Path, text: str) -> list[str]:
    """Return the problems of a file with that text, none of which repeats a secret."""
    path.write_text(text, "utf-8")
    with pytest.raises(InvalidFileError) as caught:
        read(str(path))
    assert HUSH not in str(caught.value)
    return str(caught.value).splitlines()


def one(path: Path, text: str) -> Declared:
    """Return the only token of a file with that text."""
    path.write_text(text, "utf-8")
    (declared,) = read(str(path)).tokens
    return declared


def test_token(path: Path) -> None:
    """A token has fields as the API takes them, and a secret in a file or a digest."""
    found = one(
        path,
        """
        [tokens.ci-deploy]
        hosts = ["a.test",  # the first
                 "*.b.test"]
        secret_file = "secret"
        enabled = false
        expires_at = 2030-01-31T18:00:00Z
        not_before = 2029-01-31
        rate_limit_max = 5
        comment = "x"
        """,
    )

    assert (found.key, found.secret, found.digest, found.enabled) == ("ci-deploy", HUSH, "", False)
    assert found.typed == {
        "hosts": "a.test\n*.b.test",
        "expires_at": "2030-01-31T18:00:00+00:00",
        "not_before": "2029-01-31",
        "rate_limit_max": "5",
        "comment": "x",
    }
    assert HUSH not in repr(found)


def test_digest(path: Path) -> None:
    """A digest is taken in any case; a quoted key may have dots; enabled is optional."""
    found = one(path, f'[tokens."a.b_c"]\n{HOST}\n{SHA.replace("ab", "AB")}')

    assert (found.key, found.digest, found.enabled) == ("a.b_c", "ab" * 32, None)


def test_every_field(path: Path) -> None:
    """Every field of a token can be declared, but for the seconds from now."""
    assert {*DECLARABLE} == FIELDS.keys() - {"ttl_seconds"}
    for name in DECLARABLE:
        (problem,) = problems(path, f"[tokens.a]\n{HOST if name != 'hosts' else ''}\n{SHA}\n{name} = false")
        assert problem.startswith(f"line 4, tokens.a.{name}: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, tokens: a table for each token is needed"),
        ("tokens = 5", "line 1, tokens: a table for each token is needed"),
        ("[[tokens]]\n", "line 1, tokens: a table for each token is needed"),
        ("[tokens]\na = 5", "line 2, tokens.a: a table is needed: [tokens.a]"),
        ("[tokens]\n[token.a]", "line 2, token: unknown name"),
        (f"[tokens.a]\n{HOST}\n{SHA}\nhost = 1", "line 4, tokens.a.host: unknown name; known are hosts, "),
        (f"[tokens.a]\n{HOST}\n{SHA}\nttl_seconds = 5", "line 4, tokens.a.ttl_seconds: would move the end"),
        (
            f'[tokens.a]\n{HOST}\n{SHA}\nsecret = "{HUSH}"',
            "line 4, tokens.a.secret: a secret does not belong",
        ),
        (f'[tokens.a]\n{HOST}\n{SHA}\n"{HUSH}" = 1', "line 4, tokens.a.…: unknown name"),
        (f"[tokens.a]\n{HOST}", "line 1, tokens.a: one of sha256 and secret_file"),
        (f'[tokens.a]\n{HOST}\n{SHA}\nsecret_file = "secret"', "line 1, tokens.a: one of sha256"),
        (f'[tokens.a]\n{HOST}\nsha256 = "{HUSH}"', "line 3, tokens.a.sha256: 64 hexadecimal digits"),
        (f"[tokens.a]\n{HOST}\nsha256 = 5", "line 3, tokens.a.sha256: 64 hexadecimal digits"),
        (f"[tokens.a]\n{SHA}", "line 1, tokens.a: hosts are needed"),
        (f'[tokens.a]\nhosts = ["a b"]\n{SHA}', "line 2, tokens.a.hosts: "),
        (f'[tokens.a]\nhosts = [\n  "a..b",\n]\n{SHA}', "line 2, tokens.a.hosts: "),
        (f"[tokens.a]\n{HOST}\n{SHA}\nenabled = 1", "line 4, tokens.a.enabled: true or false"),
        (
            f"[tokens.a]\n{HOST}\n{SHA}\nrate_limit_max = true",
            "line 4, tokens.a.rate_limit_max: a whole number",
        ),
        (f"[tokens.-a]\n{HOST}\n{SHA}\n", "line 1, tokens.-a: a key has 1 to 64 letters"),
        (f"[tokens.{'a' * 65}]\n{HOST}\n{SHA}\n", "line 1, tokens.…: a key has 1 to 64 letters"),
        (f"[tokens.a.b]\n{HOST}\n{SHA}\n", "quote a key that contains a dot"),
        (
            f"[tokens.a]\n{HOST}\nsecret_file = 5",
            "line 3, tokens.a.secret_file: the path of a file is needed",
        ),
        (f"[tokens.a]\n{HOST}\n{SHA}\n[tokens.a]", "(at line 4, column 10): tokens.a"),
        (f"[tokens.a]\n{HOST}\n{HOST}", "Cannot overwrite a value (at line 3, the last one): hosts"),
        (f"{HUSH}=", "is not TOML: "),
    ],
)
def test_bad_file(path: Path, text: str, said: str) -> None:
    """Whatever is wrong is told with its line and its key, and is not repeated if it may be a secret."""
    assert any(said in problem for problem in problems(path, text))


def test_all_problems_at_once(path: Path) -> None:
    """Every problem of a file is told."""
    assert len(problems(path, f"x = 1\n[tokens.a]\n{SHA}\ny = 1\n[tokens.b]\n{HOST}\nemail = 5")) == 5


@pytest.mark.parametrize(
    ("contents", "mode", "said"),
    [
        (None, 0, "can't be read: No such file"),
        ("", 0o600, "is empty"),
        ("\n", 0o600, "is empty"),
        (HUSH, 0o644, "is open to every user (mode 0644)"),
        (HUSH, 0o602, "is open to every user (mode 0602)"),
    ],
)
def test_bad_secret_file(path: Path, contents: str | None, mode: int, said: str) -> None:
    """A file of a secret exists, has one, and is closed to other users; group access is allowed."""
    if contents is not None:
        write_secret(path.parent / "other", contents, mode)
    (problem,) = problems(path, f'[tokens.a]\n{HOST}\nsecret_file = "other"')

    assert problem.startswith("line 3, tokens.a.secret_file: its file ")
    assert said in problem


def test_folder_of_secret_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path begins at the folder of the file, wherever the service was started."""
    monkeypatch.chdir("/")
    assert one(path, f'[tokens.a]\n{HOST}\nsecret_file = "secret"').secret == HUSH


@pytest.mark.parametrize("contents", [f"{HUSH}\n\n", f" {HUSH}", "short", "acl_" + "a" * 38])
def test_unusable_secret(path: Path, contents: str) -> None:
    """A secret that no token can have, or that can be guessed, stops the start, and is not repeated."""
    write_secret(path.parent / "other", contents)
    path.write_text(f'[tokens.a]\n{HOST}\nsecret_file = "other"')

    with pytest.raises(
        InvalidSettingsError, match=r"TOKENS_FILE: line 3, tokens\.a\.secret_file: "
    ) as caught:
        make_settings(TOKENS_FILE=path)
    assert contents.strip() not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "variables", "said"),
    [
        ('networks = ["10.0.0.0/8"]', {}, "line 4, tokens.a.networks: set TRUSTED_PROXIES first"),
        ("", {"MAX_TTL_SECONDS": 60}, "line 1, tokens.a.expires_at: is needed: at most 60 seconds"),
        ("expires_at = 2090-01-01", {"MAX_TTL_SECONDS": 60}, "line 4, tokens.a.expires_at: at most 60"),
        ("expires_at = 9000-01-01", {}, "line 4, tokens.a.expires_at: a moment in the future, within"),
        ("quota_max = 5", {}, "line 1, tokens.a.quota_period: needed with quota_max"),
    ],
)
def test_other_settings(path: Path, line: str, variables: dict[str, object], said: str) -> None:
    """What the other settings, or other fields, do not allow stops the start, with line and key."""
    path.write_text(f"[tokens.a]\n{HOST}\n{SHA}\n{line}")

    with pytest.raises(InvalidSettingsError, match=f"TOKENS_FILE: {said}"):
        make_settings(TOKENS_FILE=path, **variables)


def test_past_end(path: Path) -> None:
    """An end that has passed does not stop the start: a file outlives its tokens."""
    path.write_text(f"[tokens.a]\n{HOST}\n{SHA}\nexpires_at = 2020-01-01")

    assert make_settings(TOKENS_FILE=path, MAX_TTL_SECONDS=60).tokens_file


@pytest.mark.parametrize("second", [SHA, 'secret_file = "secret"'])
def test_same_secret_twice(path: Path, second: str) -> None:
    """Two tokens can't have one secret, whether by digest or by file."""
    path.write_text(f"[tokens.a]\n{HOST}\n{second}\n[tokens.b]\n{HOST}\n{second}")

    with pytest.raises(InvalidSettingsError, match=r"line 6, tokens\.b\.\w+: .* tokens\.a already"):
        make_settings(TOKENS_FILE=path)


def test_prune_alone() -> None:
    """TOKENS_FILE_PRUNE without a file is refused, because it does nothing."""
    with pytest.raises(InvalidSettingsError, match="TOKENS_FILE_PRUNE: has no effect without TOKENS_FILE"):
        make_settings(TOKENS_FILE_PRUNE="true")


def test_file_without_tokens(path: Path) -> None:
    """A table without tokens declares none, and is not the same as no file."""
    path.write_text("[tokens]\n")

    assert (bool(read(str(path))), read(str(path)).tokens) == (True, ())
    assert not read("")


def test_settings_show_no_secret(path: Path) -> None:
    """The repr of the settings has no secret."""
    path.write_text(f'[tokens.a]\n{HOST}\nsecret_file = "secret"')

    assert HUSH not in repr(make_settings(TOKENS_FILE=path))


def test_read_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If a file is not valid when it is read again, the last one stays in use and is not applied again."""
    file = TokensFile(read)
    path.write_text(f"[tokens.a]\n{HOST}\n{SHA}")
    first = file.load(str(path))
    file.finish()
    path.write_text("nonsense")
    assert file.load(str(path)) is first
    file.expire()

    assert file.load(str(path)) is first
    assert file.is_done
    assert caplog.records[-1].levelno == logging.ERROR
    path.write_text("[tokens]")
    file.expire()
    assert (file.load(str(path)).tokens, file.is_done, file.load(str(path)).is_late) == ((), False, True)


def test_one_worker_is_in_charge(path: Path) -> None:
    """One of several processes applies the file; if it dies, another one takes over."""
    file = TokensFile(read)
    path.write_text("[tokens]")
    file.load(str(path))
    if child := os.fork():
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert not file.take_charge()  # until it is reaped
        os.waitpid(child, 0)
        assert file.take_charge()
        return
    file.take_charge()
    os._exit(0)


def test_lines() -> None:
    """The line of each key is found, whatever the way in which TOML spells it."""
    text = '# x\n\na.b = 1\nc = { d = """\n[e]\nf = 1\n""" }\n\n[ "g.h" ] # i\nj = [\n  1, # ]\n]\n'
    text += "[[k]]\nl = 2\n"

    assert lines_of(text) == {
        ("a",): 3,
        ("a", "b"): 3,
        ("c",): 4,
        ("c", "d"): 4,
        ("g.h",): 9,
        ("g.h", "j"): 10,
        ("k",): 13,
        ("k", "l"): 14,
    }
