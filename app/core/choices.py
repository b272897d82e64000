"""The kind of a field that takes one of a few words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.core.kinds import Kind


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few words, or none."""

    words: tuple[str, ...]

    name = "choice"

    def __str__(self) -> str:
        return " or ".join(f"`{word}`" for word in self.words)

    def parse(self, typed: str) -> str | None:
        """Return the word, None for blank."""
        word = typed.strip()
        if word and word not in self.words:
            raise ValueError(f"{' or '.join(self.words)}, not {word!r}")
        return word or None

    def from_record(self, kept: str) -> str | None:
        """Return the word, None for any other that others may have written."""
        return kept if kept in self.words else None

    def from_json(self, value: Any) -> str:
        """Return the word as it would have been typed; null is none."""
        if value is not None and value not in self.words:
            raise ValueError(f"{' or '.join(self.words)}, or null")
        return value or ""
