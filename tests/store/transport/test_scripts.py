"""Every script matches its own header."""

import re
from pathlib import Path

import pytest

from app.store.transport.scripts import CHANGE

SCRIPTS = sorted(
    path for path in (Path(__file__).parents[3] / "app/store/lua").glob("*.lua") if path.stem not in CHANGE
)

FLAGS = {
    "login.lua": " flags=allow-oom",  # an operator must be able to sign in and delete tokens
    "remove.lua": " flags=allow-oom",  # it frees memory
    "retire.lua": " flags=allow-oom",  # the same
    "rights.lua": " flags=no-writes",
    **dict.fromkeys(
        ("slice.lua", "may.lua", "namesakes.lua", "sorted.lua", "admitted.lua"), " flags=no-writes"
    ),
    "glance.lua": " flags=no-writes,allow-cross-slot-keys",
    **dict.fromkeys(
        ("recall.lua", "history.lua", "state.lua", "tally.lua"), " flags=no-writes,allow-cross-slot-keys"
    ),
}


@pytest.fixture(params=SCRIPTS, ids=lambda path: path.name)
def parts(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the header and the body of one script."""
    header, body = request.param.read_text("ascii").split("\n\n", 1)
    return header, body


def test_header_documents_the_keys(parts: tuple[str, str]) -> None:
    """The header documents exactly the keys that the body uses."""
    header, body = parts

    documented = set(re.findall(r"^-- (KEYS\[\d\])", header, re.MULTILINE))
    used = set(re.findall(r"KEYS\[\d\]", body))
    assert used == documented or ("KEYS[i]" in body and used < documented)


def test_header_documents_the_reply(parts: tuple[str, str]) -> None:
    """The header documents the reply."""
    assert re.search(r"^-- Returns ", parts[0], re.MULTILINE)


def test_flags(request: pytest.FixtureRequest, parts: tuple[str, str]) -> None:
    """Only the scripts listed here have flags; Redis refuses all others wherever it refuses writes."""
    name = Path(request.node.callspec.params["parts"]).name

    assert parts[0].splitlines()[0] == f"#!lua{FLAGS.get(name, '')}"


def test_keys_are_passed_in(parts: tuple[str, str]) -> None:
    """Scripts access only the keys in KEYS, as a Cluster requires, except where a flag says otherwise.

    The expiry marker of a token is in the slot of its record, from whose name its key is derived. It may be
    missing while that slot moves, so scripts access it with pcall.
    """
    header, body = parts
    name = "marker"
    body = re.sub(rf"\blocal {name} = '{{' .. (KEYS\[\d\]) .. '}}:ended'\n", "", plain := body)
    body = re.sub(
        rf"(?<=pcall)\('(\w+)', (?:{name}|'{{' .. KEYS\[\d\] .. '}}:ended')", r"('\1', KEYS[0]", body
    )
    if body != plain:  # after a pcall that succeeded
        body = re.sub(rf"(?<=call)\('(PTTL|SET)', {name}", r"('\1', KEYS[0]", body)

    calls = re.findall(r"\bp?call\('(\w+)'(?:, *([^,)]+))?", body)

    assert calls or "acl_check_cmd" in body
    counted = re.findall(r"\bcount_in\(([^,]+),", body)  # fail.lua passes its keys through this function
    assert all(
        set(re.findall(r"\w+", key)) <= {"has_room", "and", "or", "KEYS", "1", "3", "place", "key"}
        for key in counted
    )
    if "allow-cross-slot-keys" not in header:
        own = ("KEYS[", "trail.", *(("key",) if counted else ()))
        assert all(name == "TIME" or key.startswith(own) for name, key in calls)


def test_rights_are_checked() -> None:
    """rights.lua tests the right to every command and key that take.lua uses."""
    take, rights = ((SCRIPTS[0].parent / name).read_text("ascii") for name in ("take.lua", "rights.lua"))
    call = r"\bp?call\('(\w+)'(?:, *(KEYS\[\d\]))?"

    assert take.count("call(") == len(re.findall(call, take))
    assert set(re.findall(call, take)) == set(re.findall(call, rights))
