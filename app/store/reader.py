"""Records by the dozen and by the thousand, and the index that they are found by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from app.core.tokens import Token
from app.store import keys, records
from app.store.cluster import Client, homes
from app.store.scripts import Script

# While Python parses tokens, and while Redis runs a slice, they serve nobody else.
_TOKENS_AT_ONCE = 10
_RECORDS_AT_ONCE = 125
_SLICE = 250


class Reader:
    """Reads what is kept; changes nothing."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client
        self._glance = Script("glance")
        self._cut = Script("slice")

    def tokens(self, digests: Sequence[str]) -> list[Token | None]:
        """Return the token kept under each of *digests*."""
        parts = (digests[i : i + _TOKENS_AT_ONCE] for i in range(0, len(digests), _TOKENS_AT_ONCE))
        return [token for part in parts for token in self._few(part)]

    def fields(self, digests: Sequence[str], *names: str) -> list[tuple[str | None, ...]]:
        """Return the fields *names* of each record, None for what is not there; zero bytes become blanks."""
        found: dict[str, tuple[str | None, ...]] = {}
        for client, held in homes(self._client, digests):
            for i in range(0, len(held), _RECORDS_AT_ONCE):
                part = held[i : i + _RECORDS_AT_ONCE]
                found |= zip(part, self._look(client, part, names), strict=True)
        return [found[digest] for digest in digests]

    def walk(self, upper: bytes = b"+", lower: bytes = b"-") -> Iterator[tuple[list[bytes], bytes | None]]:
        """Yield the index between two bounds, newest first: slices, each with the entry behind it."""
        bound: bytes | None = upper
        while bound:
            entries = self._slice(bound, lower, _SLICE + 1)
            rest = entries[_SLICE] if len(entries) > _SLICE else None
            yield entries[:_SLICE], rest
            bound = b"[" + rest if rest else None

    def _look(
        self, client: Any, digests: Sequence[str], names: Sequence[str]
    ) -> list[tuple[str | None, ...]]:
        said = self._glance.run(client, [], ["".join(digests), *names])
        values = (text[1:] if text else None for text in said.decode(errors="replace").split("\0"))
        return list(zip(*[values] * len(names), strict=True))

    def _slice(self, upper: bytes, lower: bytes, most: int) -> list[bytes]:
        cut = self._cut.run(self._client, [keys.INDEX], [upper, lower, most])
        return [cut[i : i + keys.ENTRY_BYTES] for i in range(0, len(cut), keys.ENTRY_BYTES)]

    def _few(self, digests: Sequence[str]) -> list[Token | None]:
        pipe = self._client.pipeline(transaction=False)
        for digest in digests:
            ask(pipe, digest)
        replies = pipe.execute()
        return [parse(*answer) for answer in zip(digests, replies[::2], replies[1::2], strict=True)]


def ask(pipe: Any, digest: str) -> None:
    """Ask for what ``parse`` needs of one record: two replies."""
    pipe.hmget(keys.record(digest), records.FIELDS)
    pipe.execute_command("PEXPIRETIME", keys.record(digest))


def parse(digest: str, values: Sequence[bytes | None], expires_ms: int) -> Token | None:
    """Return the token that two replies describe, None if there is none.

    A life is whole seconds from some fraction of one: the second that it ends in is the one that was meant.
    """
    return records.from_fields(digest, values, expires_ms // 1000 if expires_ms > 0 else None)


def upper_bound(id_start: str) -> bytes:
    """Return what sorts behind every entry of an id that begins so, and before all others."""
    return id_start.encode() + b"\xff" * keys.ENTRY_BYTES
