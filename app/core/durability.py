"""Whether a change that is done would outlive a crash of Redis."""

from __future__ import annotations

from enum import Enum


class Durability(Enum):
    """What Redis says of a change; the change itself is done in every case."""

    CONFIRMED = "confirmed"  # it is on disk
    UNCONFIRMED = "unconfirmed"  # Redis did not confirm in time that it is
    NO_FILE = "no_file"  # there is no append-only file to hold it
    UNTOLD = "untold"  # this Redis can't say
