"""Every script keeps the promises of its own header."""

import re
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "app/store/lua").glob("*.lua"))


@pytest.fixture(params=SCRIPTS, ids=lambda path: path.name)
def parts(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the header and the body of one script."""
    header, body = request.param.read_text("ascii").split("\n\n", 1)
    return header, body


def test_header_names_the_keys(parts: tuple[str, str]) -> None:
    """The header describes the keys that the body uses, and no others."""
    header, body = parts

    assert set(re.findall(r"^-- (KEYS\[\d\])", header, re.MULTILINE)) == set(re.findall(r"KEYS\[\d\]", body))


def test_header_says_what_returns(parts: tuple[str, str]) -> None:
    """The header lists what comes back, and by the first line Redis refuses it where it could not write.

    Only a script that gives memory back may run when there is none left.
    """
    header, body = parts

    frees = set(re.findall(r"redis\.call\('(\w+)'", body)) == {"DEL"}
    assert header.startswith("#!lua flags=allow-oom\n" if frees else "#!lua\n")
    assert re.search(r"^-- Returns ", header, re.MULTILINE)


def test_keys_are_handed_in(parts: tuple[str, str]) -> None:
    """No key is built in Lua: a Cluster could not tell where it lives."""
    _, body = parts

    calls = re.findall(r"redis\.call\('(\w+)'(?:, *([^,)]+))?", body)

    assert calls
    assert all(name == "TIME" or key.startswith("KEYS[") for name, key in calls)
