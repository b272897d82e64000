"""Every script keeps the promises of its own header."""

import re
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[3] / "app/store/lua").glob("*.lua"))

FLAGS = {
    "login.lua": " flags=allow-oom",  # somebody has to come in and delete tokens
    "remove.lua": " flags=allow-oom",  # it gives memory back
    "rights.lua": " flags=no-writes",
    "slice.lua": " flags=no-writes",
    "glance.lua": " flags=no-writes,allow-cross-slot-keys",
}


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
    """The header lists what comes back."""
    assert re.search(r"^-- Returns ", parts[0], re.MULTILINE)


def test_flags(request: pytest.FixtureRequest, parts: tuple[str, str]) -> None:
    """Redis refuses a script where it could not write, but for those that say why they may run."""
    name = Path(request.node.callspec.params["parts"]).name

    assert parts[0].splitlines()[0] == f"#!lua{FLAGS.get(name, '')}"


def test_keys_are_handed_in(parts: tuple[str, str]) -> None:
    """No key is built in Lua, where a Cluster could not tell where it lives, but by the one that says so.

    The marker of an expired token is in the slot of the record, after which it is named, or out of reach.
    """
    header, body = parts
    body = re.sub(r"\blocal (?:word|marker) = '{' .. (KEYS\[\d\]) .. '}:ended'\n", "", plain := body)
    body = re.sub(
        r"(?<=pcall)\('(\w+)', (?:word|marker|'{' .. KEYS\[\d\] .. '}:ended')", r"('\1', KEYS[0]", body
    )
    if body != plain:
        body = re.sub(
            r"(?<=call)\('(PTTL|SET)', (?:word|marker)", r"('\1', KEYS[0]", body
        )  # behind a pcall that went well

    calls = re.findall(r"\bp?call\('(\w+)'(?:, *([^,)]+))?", body)

    assert calls
    counted = re.findall(r"\bcount_in\(([^,]+),", body)  # fail.lua goes through its keys by another name
    assert all(
        set(re.findall(r"\w+", key)) <= {"has_room", "and", "or", "KEYS", "1", "3", "place", "key"}
        for key in counted
    )
    if "allow-cross-slot-keys" not in header:
        own = ("KEYS[", "key") if counted else ("KEYS[",)
        assert all(name == "TIME" or key.startswith(own) for name, key in calls)


def test_rights_that_are_asked_for() -> None:
    """Whatever take.lua does to a key, rights.lua asks whether that may be done to that key."""
    take, rights = ((SCRIPTS[0].parent / name).read_text("ascii") for name in ("take.lua", "rights.lua"))
    call = r"\bp?call\('(\w+)'(?:, *(KEYS\[\d\]))?"

    assert take.count("call(") == len(re.findall(call, take))
    assert set(re.findall(call, take)) == set(re.findall(call, rights))
