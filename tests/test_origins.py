"""Reading .env, and the precedence of the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app import origins


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("A=aa${HOME}bb", "aa${HOME}bb"),
        ("A='$HOME'", "$HOME"),
        ('A="${A}$$"', "${A}$$"),
        ("A=a#b # comment", "a#b"),
        ("\ufeffexport A=b\r\n", "b"),
        ('A="b\r\nc\r\n"', "b\nc\n"),
        ("A=1\nA=2", "2"),
        ("A=", ""),
    ],
)
def test_literal(content: str, value: str) -> None:
    """A dollar sign is always literal; quotes, comments and export follow dotenv."""
    Path(".env").write_bytes(content.encode())

    assert origins.gather()["A"] == value


def test_environment_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment takes precedence, even with an empty value."""
    Path(".env").write_text("A=a\nB=b\n")
    monkeypatch.setenv("A", "")

    assert (origins.gather()["A"], origins.gather()["B"]) == ("", "b")


def test_no_file() -> None:
    """Without .env only the environment is read."""
    assert origins.gather() == dict(os.environ)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("A=é".encode("latin-1"), "is not UTF-8 text in line 1"),
        ("A=b\nC=é".encode("latin-1"), "is not UTF-8 text in line 2"),
        ("A=b".encode("utf-16"), "is not UTF-8 text"),
        ("A=b".encode("utf-16-be"), "is not UTF-8 text"),
        (b"A=b\n\n\nhush\n", "line 4 is neither"),
        (b"A=b\nB='hush\nC=d\n", "line 2 is neither"),
        (b'A="hush"hush\n', "line 1 is neither"),
        (b"A=b\n" * 20_000, "holds more than"),
    ],
)
def test_unreadable_content(content: bytes, problem: str) -> None:
    """A file that can only be partly parsed is refused with the line number and without its content."""
    Path(".env").write_bytes(content)

    with pytest.raises(ValueError, match=problem) as caught:
        origins.gather()
    assert "hush" not in str(caught.value)


def test_file_without_permission(tmp_path: Path) -> None:
    """A file without read permission is an error, not an empty file."""
    tmp_path.chmod(0o755)
    Path(".env").write_text("A=b")
    Path(".env").chmod(0)
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        with pytest.raises(ValueError, match="can't be read: Permission denied"):
            origins.gather()
    finally:
        os.seteuid(user)


def test_not_a_regular_file() -> None:
    """A directory, which Docker creates for a missing mount, and a broken link are errors."""
    Path(".env").mkdir()
    with pytest.raises(ValueError, match="is a directory"):
        origins.gather()
    Path(".env").rmdir()
    Path(".env").symlink_to("nowhere")
    with pytest.raises(ValueError, match="No such file"):
        origins.gather()
