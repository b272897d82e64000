"""What BACKENDS_FILE may say, and what becomes of one that is not valid."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from app.backends_file import BackendsFile, read
from app.core.backends import MAX_BYTES, MAX_HEADERS
from app.settings import InvalidSettingsError
from devkit.builders import make_settings
from devkit.proxies import recipe

HUSH = "hush-hush"


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    """Return where the file is, beside a file with a key."""
    (tmp_path / "key").write_text(f"{HUSH}\n")
    return tmp_path / "backends.toml"


def write(path: Path, hosts: str = '["a.test"]', headers: str = '{ X-Org = "acme" }') -> str:
    """Write a file with one backend and return its path."""
    path.write_text(f"[[backend]]\nhosts = {hosts}\nheaders = {headers}\n", "utf-8")
    return str(path)


def problems(path: Path) -> list[str]:
    """Return the problems of the file."""
    with pytest.raises(ValueError, match=r".") as caught:
        read(str(path))
    assert HUSH not in str(caught.value)
    return str(caught.value).splitlines()


def test_headers(path: Path) -> None:
    """A value is literal or in a file, with or without a prefix."""
    path.write_text("""
        [[backend]]
        hosts = ["openai.example.com"]
        headers = { Authorization = { file = "key", prefix = "Bearer " }, X-Org = "acme" }

        [[backend]]
        hosts = ["*.example.com", "bücher.test"]
        [backend.headers]
        X-Api-Key = { file = "key" }
    """)
    backends = read(str(path))

    assert backends.headers_for("openai.example.com") == (
        ("Authorization", f"Bearer {HUSH}"),
        ("X-Org", "acme"),
    )
    assert backends.headers_for("b.example.com") == (("X-Api-Key", HUSH),)
    assert backends.headers_for("xn--bcher-kva.test") == (("X-Api-Key", HUSH),)
    assert backends.headers_for("example.com") == ()


@pytest.mark.parametrize(
    ("page", "name", "value"),
    [("backends", "openai", "Bearer"), ("recipes/registry-and-git", "registry", "Basic")],
)
def test_documented_files(path: Path, page: str, name: str, value: str) -> None:
    """The examples in the documents give a backend what it expects."""
    (path.parent / name).write_text(HUSH)
    path.write_text(recipe("", "toml", f"docs/{page}.md").replace("/run/secrets/", ""))

    assert read(str(path)).headers_for(f"{name}.example.com")[0] == ("Authorization", f"{value} {HUSH}")


@pytest.mark.parametrize("contents", [HUSH, f"{HUSH}\n", f"{HUSH}\r\n", f"\ufeff{HUSH}\n"])
def test_line_end(path: Path, contents: str) -> None:
    """One trailing line end in a file is not part of the value, nor is a byte order mark."""
    (path.parent / "key").write_bytes(contents.encode())
    write(path, headers='{ X-A = { file = "key" } }')

    assert read(str(path)).headers_for("a.test") == (("X-A", HUSH),)


def test_absolute_path(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path begins at the folder of the file, wherever the service was started."""
    monkeypatch.chdir("/")
    for named in ("key", f"{tmp_path}/key"):
        write(path, headers=f'{{ X-A = {{ file = "{named}" }} }}')
        assert read(str(path)).headers_for("a.test") == (("X-A", HUSH),)


@pytest.mark.parametrize("contents", ["", "\n", " \n", f"{HUSH}\n\n", f"{HUSH}\n2", f"{HUSH} \n", f"{HUSH}é"])
def test_contents_that_are_no_value(path: Path, contents: str) -> None:
    """A file with no value, with several lines or with anything but printable ASCII is refused."""
    (path.parent / "key").write_text(contents, "utf-8")
    write(path, headers='{ X-A = { file = "key" } }')

    assert len(problems(path)) == 1


@pytest.mark.parametrize("kind", ["missing", "directory", "pipe", "huge"])
def test_files_that_can_not_be_read(path: Path, kind: str) -> None:
    """A value's file is a regular file of limited size that can be read."""
    place = path.parent / kind
    {"directory": place.mkdir, "pipe": lambda: os.mkfifo(place), "missing": lambda: None}.get(
        kind, lambda: place.write_text("a" * 70_000)
    )()
    write(path, headers=f'{{ X-A = {{ file = "{kind}" }} }}')

    (problem,) = problems(path)
    assert problem.startswith("backend 1, headers, X-A: its file ")


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ("{}", "backend 1, headers: a table is needed"),
        ('["X-A"]', "backend 1, headers: a table is needed"),
        ("{ X-A = 5 }", "backend 1, headers, X-A: a string or "),
        ("{ X-A = true }", "backend 1, headers, X-A: a string or "),
        ("{ X-A = [] }", "backend 1, headers, X-A: a string or "),
        ('{ X-A = "" }', "backend 1, headers, X-A: is empty"),
        (f'{{ X-A = "{HUSH}\\n" }}', "backend 1, headers, X-A: may hold only printable ASCII"),
        ("{ X-A = {} }", "backend 1, headers, X-A: file and prefix must be strings"),
        ('{ X-A = { prefix = "a" } }', "backend 1, headers, X-A: file and prefix must be strings"),
        ("{ X-A = { file = 5 } }", "backend 1, headers, X-A: file and prefix must be strings"),
        (
            '{ X-A = { file = "key", prefix = 5 } }',
            "backend 1, headers, X-A: file and prefix must be strings",
        ),
        ('{ X-A = { file = "key", suffix = "a" } }', "backend 1, headers, X-A: unknown key 'suffix'"),
        (f'{{ X-A = {{ "{HUSH}" = "a" }} }}', "backend 1, headers, X-A: an unknown key"),
        (f'{{ X-A = {{ file = "{HUSH}" }} }}', "backend 1, headers, X-A: its file "),
        (f'{{ "{HUSH} a" = "X-A" }}', "backend 1, headers, number 1: HTTP does not allow this name"),
        (f'{{ X-A = "a", x_a = "{HUSH}" }}', "backend 1, headers, x_a: is listed twice, in two spellings"),
        (f'{{ Host = "{HUSH}" }}', "backend 1, headers, Host: this name is reserved"),
        (f'{{ X-A = "{HUSH * 1000}" }}', f"backend 1, headers: at most {MAX_BYTES} bytes"),
        (
            "{ " + ", ".join(f"X-{n} = 'a'" for n in range(MAX_HEADERS + 1)) + " }",
            f"backend 1, headers: at most {MAX_HEADERS}, not {MAX_HEADERS + 1}",
        ),
    ],
    ids=range(19),
)
def test_bad_headers(path: Path, headers: str, problem: str) -> None:
    """A header that is not valid is refused by its place, without its value."""
    write(path, headers=headers)
    (found,) = problems(path)

    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("hosts", "problem"),
    [
        ("[]", "backend 1, hosts: a list is needed"),
        ('"a.test"', "backend 1, hosts: a list is needed"),
        ("[5]", "backend 1, hosts: each host must be a string"),
        ('[""]', "backend 1, hosts: name at least one host"),
        ('["https://a.test"]', "backend 1, hosts: 'https://a.test': write the host alone"),
        ('["a.test:80"]', "backend 1, hosts: 'a.test:80': ports are not compared"),
        ('["a.*"]', "backend 1, hosts: 'a.*': a * may only stand alone or lead"),
        ('["a.test", "A.test."]', "backend 1, hosts: 'A.test.' is listed twice"),
    ],
)
def test_bad_hosts(path: Path, hosts: str, problem: str) -> None:
    """Hosts follow the rules for those of a token, and each pattern has one backend."""
    write(path, hosts)
    (found,) = problems(path)

    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "backend: at least one [[backend]] is needed"),
        ("[backend]\nhosts = []", "backend: at least one [[backend]] is needed"),
        ("backend = [5]", "backend: at least one [[backend]] is needed"),
        (f"[[backend]]\nhosts = \n# {HUSH}", "Invalid value (at line 2, column 9)"),
        (f"a = '{HUSH}", "is not TOML: "),
        ("a = " + "[" * 30_000, "nested too deeply"),
        ("a = " + "9" * 5_000, "digits"),
        (b"a = '\xff'", "is not UTF-8 text in line 1"),
        (b"a" * 70_000, "holds more than 65536 bytes"),
    ],
    ids=range(9),
)
def test_bad_file(path: Path, content: str | bytes, problem: str) -> None:
    """A file without a backend, or that is no TOML, is refused with its line."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (found,) = problems(path)

    assert problem in found


def test_all_problems_in_one_message(path: Path) -> None:
    """The message that stops the start lists every problem of the file beside those of other settings."""
    path.write_text("""
        title = "x"
        [[backend]]
        hosts = ["a.test", "b c"]
        headers = { Date = "x", X-A = { file = "nowhere" } }
        [[backend]]
        host = "a.test"
        hosts = ["A.test"]
        headers = { X-A = "a" }
    """)
    with pytest.raises(InvalidSettingsError) as caught:
        make_settings(BACKENDS_FILE=path, LOG_LEVEL="loud")

    places = [line.split(": ")[:2] for line in str(caught.value).splitlines()[1:]]
    assert places[0:-1] == [
        ["  BACKENDS_FILE", "the top level"],
        ["  BACKENDS_FILE", "backend 1, headers, Date"],
        ["  BACKENDS_FILE", "backend 1, headers, X-A"],
        ["  BACKENDS_FILE", "backend 1, hosts"],
        ["  BACKENDS_FILE", "backend 2"],
        ["  BACKENDS_FILE", "backend 2, hosts"],
    ]
    assert places[-1][0] == "  LOG_LEVEL"


def test_settings_hide_values(path: Path) -> None:
    """The repr of the settings shows no value."""
    settings = make_settings(BACKENDS_FILE=write(path, headers='{ X-A = { file = "key" } }'))

    assert settings.backends_file.headers_for("a.test") == (("X-A", HUSH),)
    assert HUSH not in repr(settings)


class TestReload:
    """A file that is read again."""

    def test_once(self, path: Path) -> None:
        """The file is read once, so that workers have the table of their master."""
        file = BackendsFile(read)
        first = file.load(write(path))
        path.unlink()

        assert file.load(str(path)) is first

    def test_expired(self, path: Path) -> None:
        """After expire, the file is read again."""
        file = BackendsFile(read)
        file.load(write(path))
        write(path, headers='{ X-Org = "new" }')
        file.expire()

        assert file.load(str(path)).headers_for("a.test") == (("X-Org", "new"),)

    @pytest.mark.parametrize("another", [False, True])
    def test_not_valid(self, path: Path, caplog: pytest.LogCaptureFixture, *, another: bool) -> None:
        """A file that is not valid leaves the last table in use, for each later load, and is logged."""
        file = BackendsFile(read)
        first = file.load(write(path))
        path = path.with_name("another") if another else path
        path.write_text(f"{HUSH}")
        file.expire()
        with caplog.at_level(logging.ERROR):
            assert [file.load(str(path)) for _ in range(2)] == [first, first]

        (line,) = caplog.messages
        assert line.startswith(
            f"BACKENDS_FILE is not valid, the last table stays in use: '{path}' is not TOML"
        )
        assert HUSH not in line

    def test_withdrawn(self, path: Path) -> None:
        """Without the setting there is no table any more."""
        file = BackendsFile(read)
        file.load(write(path))
        file.expire()

        assert not file.load("")

    def test_first_load(self, path: Path) -> None:
        """At the start, a file that is not valid is an error."""
        file = BackendsFile(read)
        file.expire()
        with pytest.raises(ValueError, match="can't be read"):
            file.load(str(path))
