"""Lists of names and existing keys become tokens."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.arrivals import Row
from app.core.copies import TokenCopy
from app.core.copy_values import Line, LineError
from app.core.defaults import Defaults
from app.core.key_lists import KeyLists
from app.core.peppers import Peppers

PEPPERS = Peppers("pepper", ("old pepper",))
KEY, OTHER = "a-key-that-people-already-have", "another-key-that-people-have"
DEFAULTS = Defaults("acl", 0, 1, 86_400 * 365, frozenset({"trusted_proxies"}))


def lists(**options: Any) -> KeyLists:
    """Return lists at a fixed time, whose tokens have the host a.test."""
    defaults = {"typed": {"hosts": "a.test"}}
    return KeyLists(PEPPERS, DEFAULTS, lambda: 1_800_000_000.5, **defaults | options)


def csv(*texts: str, **options: Any) -> list[Row]:
    """Return the rows of a CSV file."""
    return list(lists(**options).csv([Line(number, f"{text}\n") for number, text in enumerate(texts, 1)]))


def htpasswd(*texts: str, **options: Any) -> list[Row]:
    """Return the rows of a file of names and keys."""
    return list(lists(**options).htpasswd([Line(n, f"{text}\n") for n, text in enumerate(texts, 1)]))


def made(row: Row) -> TokenCopy:
    """Return the token of a row."""
    assert isinstance(row.copy, TokenCopy), row.problem
    return row.copy


def test_csv() -> None:
    """A row becomes a token with the fields of its columns, and with the given ones where a cell is blank."""
    first, second = csv(
        "Name, KEY ,hosts,rate_limit_max,expires_at",
        f'Ann,{KEY},"b.test, *.c.test",5,2027-06-01',
        "",
        f"Bob,{OTHER},,,",
        typed={"hosts": "a.test", "ttl_seconds": "60"} | {"ttl_seconds": ""},
    )
    ann, bob = made(first).token, made(second).token

    assert (ann.hosts, ann.comment, ann.rate_limit_max) == (("b.test", "*.c.test"), "Ann", 5)
    assert (bob.hosts, bob.comment, bob.rate_limit_max) == (("a.test",), "Bob", None)
    assert (first.number, second.number, first.name, second.name) == (2, 4, "Ann", "Bob")
    assert (ann.digest, first.also) == (PEPPERS.digest(KEY), PEPPERS.digests(KEY)[1:])
    assert made(first).labels == {"pepper": PEPPERS.fingerprints[0]}
    assert len({ann.id, bob.id}) == 2
    assert ann.created_at == 1_800_000_000


def test_htpasswd() -> None:
    """A line is a name, a colon and a key."""
    first, second = htpasswd("# people", f"ann:{KEY}", "", f" bob : {OTHER}")

    assert (first.number, first.name, made(first).digest) == (2, "ann", PEPPERS.digest(KEY))
    assert (second.number, second.name, made(second).digest) == (4, "bob", PEPPERS.digest(OTHER))


@pytest.mark.parametrize(
    "key",
    [
        "$2y$05$abcdefghijklmnopqrstuv",
        "$apr1$abc$defghijklmnopqrstuvwx",
        "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
        "$6$salt$abcdefghij",
    ],
)
def test_hashes(key: str) -> None:
    """A hash is explained, because it looks like what an htpasswd file has."""
    (row,) = htpasswd(f"ann:{key}", allow_weak=True)

    assert row.problem.startswith("key: this is a hash")
    assert key not in row.problem


def test_weak_keys() -> None:
    """A short key is accepted on request only."""
    assert "at least 20 characters" in htpasswd("ann:short")[0].problem
    assert made(htpasswd("ann:short", allow_weak=True)[0]).digest == PEPPERS.digest("short")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (f"{KEY},a.test,,{KEY}", "rate_limit_max: a whole number from 0 to 10000"),
        (f"{KEY},{KEY}!,,", "hosts: at most 100 hosts"),
        (f"{KEY},a.test,{KEY},", "email: an email address"),
        (f"a.test,{KEY},,", "key: at least 20 characters"),
        ("two words,,,", "key: 1 to 512 characters"),
        (f"{KEY},,", "3 cells, where the first line names 4"),
        (f'"{KEY}"x,,,', "not a record of CSV; check its quotes"),
        (f"acl_{'a' * 38},,,", "key: begins with acl_"),
    ],
)
def test_bad_rows(cells: str, said: str) -> None:
    """A bad row is refused without what is in it, because any cell may be a key; the next one is not."""
    bad, good = csv("key,hosts,email,rate_limit_max", cells, f"{OTHER},,,")

    assert (bad.number, bad.problem.startswith(said)) == (2, True), bad.problem
    assert KEY not in bad.problem
    assert made(good).digest == PEPPERS.digest(OTHER)


def test_bad_terms() -> None:
    """Values that contradict each other or the settings are refused, as in the form."""
    header = "key,ttl_seconds,networks,quota_max"
    ttl, networks, quota = csv(header, f"{KEY},99999999,,", f"{KEY},,10.0.0.1,", f"{KEY},,,5")

    assert "MAX_TTL_SECONDS" in ttl.problem
    assert "TRUSTED_PROXIES" in networks.problem
    assert quota.problem.startswith("quota_period: needed with quota_max")


def test_no_hosts() -> None:
    """A token without hosts would open nothing; the message says where to give them."""
    (row,) = csv("key", KEY, typed={})

    assert row.problem == "hosts: needed, in a column or as --hosts"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (f"ann,{KEY}", "the first line has to name the columns, one of them key or secret"),
        ("", "the first line has to name the columns"),
        ("key,secret", "the first line has to name the columns"),
        (f"key,{KEY}", "column 2 is none of key, secret, name, hosts"),
        ("key,email,Email", "column 3 is named like another one"),
        ('"key', "not a record of CSV"),
    ],
)
def test_bad_csv_headers(header: str, said: str) -> None:
    """A file without a header, whose first line has a key, is refused without repeating it."""
    with pytest.raises(LineError) as error:
        csv(header, f"{KEY},x")

    assert said in str(error.value)
    assert KEY not in str(error.value)


def test_bad_lines() -> None:
    """A line that is no text, or no name and key, does not hide the lines after it."""
    given = [Line(1, "key\n"), Line(2, "", "not UTF-8 text"), Line(3, f"{KEY}\n")]
    bad, good = lists().csv(given)
    assert (bad.number, bad.problem, made(good).digest) == (2, "not UTF-8 text", PEPPERS.digest(KEY))

    bad, worse, good = lists().htpasswd([given[1], Line(2, f"{KEY}\n"), Line(3, f"ann:{KEY}\n")])
    assert (bad.problem, worse.problem) == ("not UTF-8 text", "a name, a colon and a key")
    assert good.name == "ann"
