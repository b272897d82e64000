"""Secrets, digests and public ids of tokens."""

from typing import Any

import pytest

from app.core import tokens
from app.core.peppers import Peppers
from app.core.tokens import Status
from devkit.builders import NOW, make_token


def test_digest_is_the_documented_one() -> None:
    """A record's key is SHA-256(secret + pepper), as sha256sum computes it."""
    expected = "ec0f913a304148b662a2bf4ce89c1ccdc9f6cddc89d389171e49dcc7fa8327f4"

    assert Peppers("pepper").digest("token") == expected


def test_repr_hides_the_pepper() -> None:
    """The repr of the peppers, which may end up in a log, does not contain them."""
    assert "hush" not in repr(Peppers("hush", ("hush",)))


def test_minted_token() -> None:
    """A secret is its prefix, 190 random bits and a checksum, selectable with one double-click."""
    token = tokens.mint("acl")
    prefix, body = token.split("_")

    assert prefix == "acl"
    assert len(body) == 38
    assert set(body) <= set(tokens.BASE62)
    assert tokens.CREDENTIAL.fullmatch(token)
    assert not tokens.is_mistyped(token, "acl")


@pytest.mark.parametrize(
    ("prefix", "begins"), [("acl", "acl_"), ("sk-", "sk-"), ("acl_", "acl_"), ("sk-a_b-", "sk-a_b-")]
)
def test_prefix(prefix: str, begins: str) -> None:
    """A prefix that ends in - or _ is taken as it is, and its secrets have a checksum like all others."""
    token = tokens.mint(prefix)
    body = token.removeprefix(begins)

    assert (token[: -len(body)], len(body), set(body) <= set(tokens.BASE62)) == (begins, 38, True)
    assert not tokens.is_mistyped(token, prefix)
    assert tokens.is_mistyped(token[:-1] + ("A" if token[-1] != "A" else "B"), prefix)


def test_minted_tokens_differ() -> None:
    """Ten thousand minted secrets are distinct."""
    assert len({tokens.mint("acl") for _ in range(10_000)}) == 10_000


def test_checksum_vector() -> None:
    """The checksum is CRC-32 in six base62 digits, padded with zeros."""
    assert tokens.checksum("") == "000000"
    assert tokens.checksum("123456789") == "3jZRME"  # 0xCBF43926, the check value of CRC-32


@pytest.mark.parametrize("position", range(4, 42))
def test_any_mistyped_character_is_detected(position: int) -> None:
    """CRC-32 detects every single changed character."""
    token = tokens.mint("acl")
    other = "A" if token[position] != "A" else "B"

    assert tokens.is_mistyped(token[:position] + other + token[position + 1 :], "acl")


@pytest.mark.parametrize("token", ["acl_", "acl_short", "acl_" + "a" * 38])
def test_our_prefix_needs_our_checksum(token: str) -> None:
    """A secret with our prefix and a wrong or missing checksum is not plausible."""
    assert tokens.is_mistyped(token, "acl")


@pytest.mark.parametrize("token", ["", "acl", "aclx_" + "a" * 38, "ACL_" + "a" * 38, "legacy-token"])
def test_other_shapes_are_left_to_redis(token: str) -> None:
    """Secrets of an older deployment have no checksum, so they are always plausible."""
    assert not tokens.is_mistyped(token, "acl")


OURS = tokens.mint("acl")
WRONG = OURS[:-1] + ("A" if OURS[-1] != "A" else "B")


@pytest.mark.parametrize(
    ("secret", "weak"),
    [("a" * 20, False), ("a" * 512, False), ("._~+/=-" * 3, False), ("a", True), (OURS, False)],
)
def test_usable_secrets(secret: str, *, weak: bool) -> None:
    """A token can have any secret that a client can send; a short one must be allowed."""
    tokens.refuse_unusable(secret, "acl", allow_weak=weak)


@pytest.mark.parametrize("weak", [False, True])
@pytest.mark.parametrize(
    "secret", ["", "a" * 513, "a" * 19 + " ", "a" * 20 + "\n", "ü" * 20, "a,b" * 9, WRONG, "acl_" + "k" * 20]
)
def test_unusable_secrets(secret: str, *, weak: bool) -> None:
    """A secret that no client can send, or that /auth takes for mistyped, is refused and not repeated."""
    with pytest.raises(ValueError, match=r"1 to 512 characters|begins with acl_") as caught:
        tokens.refuse_unusable(secret, "acl", allow_weak=weak)

    assert not secret or secret not in str(caught.value)


def test_weak_secrets() -> None:
    """A secret of fewer than 20 characters is refused unless it is allowed to be weak."""
    with pytest.raises(ValueError, match="at least 20 characters"):
        tokens.refuse_unusable("a" * 19, "acl", allow_weak=False)


def test_ids_sort_by_age() -> None:
    """Later ids sort after earlier ones, and all of them after the placeholders for tokens without one."""
    ids = [
        tokens.inherited_id("f" * 64),
        *(tokens.mint_id(ms) for ms in (1_700_000_000_000, 1_700_000_000_001)),
    ]

    assert ids == sorted(ids)
    assert all(map(tokens.TOKEN_ID.fullmatch, ids))


def test_time_of_an_id() -> None:
    """The time in an id is exact to the millisecond."""
    assert tokens.id_time_ms(tokens.mint_id(1_795_492_982_249)) == 1_795_492_982_249


def test_peppers_find_old_records() -> None:
    """Each secret has a digest for every pepper, the current one first."""
    ring = Peppers("new", ("old", "older"))

    assert ring.digests("t") == (
        Peppers("new").digest("t"),
        Peppers("old").digest("t"),
        Peppers("older").digest("t"),
    )
    assert len(set(ring.fingerprints)) == 3
    assert ring.fingerprints[1] == Peppers("old").fingerprints[0]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, Status.ACTIVE),
        ({"expires_at": NOW + 7 * 86_400 + 1}, Status.ACTIVE),
        ({"expires_at": NOW + 7 * 86_400}, Status.EXPIRING),
        ({"not_before": NOW}, Status.ACTIVE),
        ({"not_before": NOW + 1, "expires_at": NOW + 2}, Status.NOT_YET_VALID),
        ({"enabled": False, "not_before": NOW + 1}, Status.DISABLED),
    ],
)
def test_status(fields: dict[str, Any], status: Status) -> None:
    """Disabled takes precedence over not yet valid, which takes precedence over expiring."""
    assert make_token(**fields).status(NOW) is status
