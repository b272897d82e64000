"""Whether an acknowledged change would survive a crash of Redis (docs/decisions/0010)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Durability(Enum):
    """How far Redis confirms that a change is on disk; the change itself is done in every case."""

    CONFIRMED = "confirmed"  # it is on disk
    UNCONFIRMED = "unconfirmed"  # Redis did not confirm in time that it is
    NO_FILE = "no_file"  # there is no append-only file to hold it
    UNTOLD = "untold"  # this Redis can't confirm it


# For commands and the log; pages have longer texts in templates/_disk.html.
WARNINGS: Mapping[Durability, str] = {
    Durability.UNCONFIRMED: "The change is done, but Redis has not confirmed that it is on disk; "
    "a crash of Redis may undo it",
    Durability.NO_FILE: "Redis has no append-only file: a crash may bring deleted tokens back; "
    "run redis-cli CONFIG SET appendonly yes, and keep it in its configuration",
    Durability.UNTOLD: "This Redis can't confirm that a change is on disk; that takes Redis 7.2 or later "
    "and the right to WAITAOF, or appendfsync always and the right to CONFIG GET",
}
