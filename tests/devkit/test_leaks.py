"""Secrets in a log are found."""

from __future__ import annotations

import logging
from hashlib import sha256

import pytest

from app.core import tokens
from app.core.peppers import Peppers
from devkit.builders import ENVIRON
from devkit.leaks import Watch, expect_none, leaks
from devkit.service import PEPPER

log = logging.getLogger("app.test")


@pytest.mark.parametrize("level", [logging.DEBUG, logging.ERROR])
def test_watch(leak_watch: Watch, level: int) -> None:
    """A secret is found in a message, in a member of a JSON line and in an exception, at every level."""
    secret = tokens.mint("acl")
    log.log(level, "a %s b", secret)
    log.log(level, "a", {"path": f"/{secret}"})
    log.log(level, "a", exc_info=ValueError(secret))
    log.log(level, ENVIRON["ADMIN_PASS"])
    assert len(leak_watch.take()) == 4

    log.log(level, "a %(host)s", {"host": "a.test"})
    assert leak_watch.take() == []


def test_checked_secrets(leak_watch: Watch) -> None:
    """A secret of any shape is found in the log of the test that sends it."""
    Peppers(PEPPER).digests("from-an-older-deployment")
    log.debug("a from-an-older-deployment b")
    assert len(leak_watch.take()) == 1

    log.debug("a from-an-older-deployment b")
    assert leak_watch.take() == []


def test_shapes() -> None:
    """A secret is known by its checksum, whoever minted it, and by its beginning if it was minted here."""
    body = "k" * 32
    minted = tokens.mint("sk-")

    assert leaks(f"x{body}{tokens.checksum(body)}y")
    assert leaks(minted[3:27])
    assert not leaks(f"{minted[3:26]} {sha256(b'').hexdigest()} {tokens.mint_id(0)} {'k' * 38}")


def test_file() -> None:
    """The lines with secrets are named, also those with only a password."""
    with pytest.raises(AssertionError, match="line 2"):
        expect_none(f"line 1\nline 2 {PEPPER}\nline 3", [PEPPER, ""])
