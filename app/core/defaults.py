"""What the settings say of tokens that do not set their own values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Defaults:
    """The defaults for a token that does not set its own values, and what no token may have.

    *prefix* begins new secrets. A *max_ttl_s* of 0 is no bound; *unset* are the names of the settings that
    have no value, and *declared* the keys of the tokens in TOKENS_FILE.
    """

    prefix: str
    ttl_s: int
    window_s: int
    max_ttl_s: int = 0
    unset: frozenset[str] = frozenset()
    declared: frozenset[str] = frozenset()
