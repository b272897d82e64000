"""Records by the dozen and by the thousand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.core.tokens import Token
from app.store import keys, records
from app.store.transport.cluster import Client, homes
from app.store.transport.deadlines import is_wrong_type
from app.store.transport.scripts import Script

# A text is followed through as many rotations; each is a round trip.
MAX_MOVES = 32
# While Python parses tokens, it serves nobody else; while Redis reads records, neither does it.
_TOKENS_AT_ONCE = 10
_RECORDS_AT_ONCE = 125

Answer = tuple[Any, Any]
Fields = tuple[str | None, ...]


class Reader:
    """Reads what is kept; changes nothing."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client
        self._glance = Script("glance")

    def token(self, digest: str) -> Token | None:
        """Return the token kept under *digest*, or where that moved: a round trip each."""
        seen: list[str] = []
        while digest not in seen and len(seen) < MAX_MOVES:
            seen.append(digest)
            ((values, expires_ms),) = self._ask([digest])
            moved_to = records.moved_to(digest, values)
            if moved_to is None:
                return _parse(digest, values, expires_ms)
            digest = moved_to
        return records.unreadable(seen[0])

    def tokens(self, digests: Sequence[str]) -> list[Token | None]:
        """Return the token kept under each of *digests*."""
        parts = (digests[i : i + _TOKENS_AT_ONCE] for i in range(0, len(digests), _TOKENS_AT_ONCE))
        return [
            None if records.moved_to(digest, values) else _parse(digest, values, expires_ms)
            for part in parts
            for digest, (values, expires_ms) in zip(part, self._ask(part), strict=True)
        ]

    def fields(self, digests: Sequence[str], *names: str) -> list[Fields | None]:
        """Return the fields *names* of each record, None for those it lacks, or None if there is no such key.

        Zero bytes become blanks. A key that holds something else than a hash lacks every field.
        """
        found: dict[str, Fields | None] = {}
        for client, held in homes(self._client, digests):
            for i in range(0, len(held), _RECORDS_AT_ONCE):
                part = held[i : i + _RECORDS_AT_ONCE]
                found |= zip(part, self._look(client, part, names), strict=True)
        return [found[digest] for digest in digests]

    def _look(self, client: Any, digests: Sequence[str], names: Sequence[str]) -> list[Fields | None]:
        said = self._glance.run(client, [], ["".join(digests), *names])
        texts = iter(said.decode(errors="replace").split("\0"))
        return [
            None if some[0] == "-" else tuple(text[1:] if text else None for text in some)
            for some in zip(*[texts] * len(names), strict=True)
        ]

    def _ask(self, digests: Sequence[str]) -> list[Answer]:
        """Return the values of records.FIELDS and the end of each record, or the error in their place."""
        pipe = self._client.pipeline(transaction=False)
        for digest in digests:
            pipe.hmget(keys.record(digest), records.FIELDS)
            pipe.execute_command("PEXPIRETIME", keys.record(digest))
        replies = pipe.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception) and not is_wrong_type(reply):
                raise reply
        return list(zip(replies[::2], replies[1::2], strict=True))


def _parse(digest: str, values: Any, expires_ms: int) -> Token | None:
    """Return the token that two replies describe, None if there is none.

    Others let a token live whole seconds from some fraction of one: the second that it ends in was meant.
    """
    expires_at = expires_ms // 1000 if expires_ms > 0 else None
    if isinstance(values, Exception):
        return records.unreadable(digest, expires_at)
    return None if expires_ms == records.NO_KEY else records.from_fields(digest, values, expires_at)
