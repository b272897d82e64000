"""Secrets in a log are found."""

from __future__ import annotations

import logging
from hashlib import sha256
from typing import Any

import pytest

from app.core import tokens
from devkit.leaks import Watch, expect_none, leaks
from devkit.service import ADMIN_PASS, PEPPER


@pytest.mark.parametrize("level", [logging.DEBUG, logging.ERROR])
def test_watch(level: int) -> None:
    """A secret is found in a message, in a member of a JSON line and in an exception, at every level."""
    secret = tokens.mint("acl")
    watch = Watch([ADMIN_PASS])
    watch.install(logger := logging.Logger("watched"))  # noqa: LOG001 - a global one would outlive the test
    calls: list[tuple[tuple[object, ...], dict[str, Any]]] = [
        (("a %s b", secret), {}),
        (("a", {"path": f"/{secret}"}), {}),
        (("a",), {"exc_info": ValueError(secret)}),
        ((ADMIN_PASS,), {}),
    ]
    for args, options in calls:
        with pytest.raises(AssertionError, match="secrets in the log"), watch.expecting_none():
            logger.log(level, *args, **options)
    with watch.expecting_none():
        logger.log(level, "a %(host)s", {"host": "a.test"})


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
