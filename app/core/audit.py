"""Stand-in until the audit log is merged."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto


class Via(StrEnum):
    """The way in which an actor reached the service."""

    SHELL = auto()


class Action(StrEnum):
    """What was done to a token."""

    CREATE = auto()


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change."""

    via: Via
    name: str
    address: str = ""
