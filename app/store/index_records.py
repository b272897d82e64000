"""Read records in batches, from a dozen to thousands at a time (docs/decisions/0005 and 0011)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.core.errors import PreconditionFailedError
from app.core.listing import State
from app.core.tokens import Token
from app.pauses import paced
from app.store import keys, records
from app.store.transport.cluster import Client, by_server
from app.store.transport.deadlines import is_wrong_type
from app.store.transport.scripts import Script

# How many rotations of a secret are followed; each takes a round trip.
MAX_MOVES = 32
# A batch blocks everything else: Python while it parses tokens, Redis while it reads records.
_TOKENS_PER_BATCH = 10
_RECORDS_PER_BATCH = 125

Reply = tuple[Any, Any]
Fields = tuple[str | None, ...]


class RecordReader:
    """Reads records; changes nothing."""

    def __init__(self, client: Client) -> None:
        self._client: Any = client
        self._glance, self._state = Script("glance"), Script("state")

    def token(self, digest: str) -> Token | None:
        """Return the token under *digest*; following a record that moved takes one more round trip.

        A redirect leads to its own token alone: the digest may have become that of another one.
        """
        seen, owners = list[str](), set[str | None]()
        while digest not in seen and len(seen) < MAX_MOVES:
            seen.append(digest)
            ((values, expires_ms),) = self._read([digest])
            moved_to = records.moved_to(digest, values)
            if moved_to is None:
                token = _parse(digest, values, expires_ms)
                return token if token and owners <= {token.id, None} else None
            owners.add(records.moved_id(values))
            digest = moved_to
        return records.unreadable(seen[0])

    def state_of(self, token: Token) -> dict[str, Any]:
        """Return the state of the record of *token*, as trail.lua compares it.

        Raises PreconditionFailedError if the record is not the one that *token* was read from.
        """
        ((values, expires_ms),) = self._read([token.digest])
        moved_to = records.moved_to(token.digest, values)
        current = None if moved_to else _parse(token.digest, values, expires_ms)
        if current is None or current.revision != token.revision:
            raise PreconditionFailedError("the token was changed in the meantime; nothing was changed")
        return {"names": records.STATED, "state": records.stated(values, expires_ms)}

    def tokens(self, digests: Sequence[str]) -> list[Token | None]:
        """Return the token under each of *digests*, or None if its record is missing or has moved."""
        batches = (digests[i : i + _TOKENS_PER_BATCH] for i in range(0, len(digests), _TOKENS_PER_BATCH))
        return [
            None if records.moved_to(digest, values) else _parse(digest, values, expires_ms)
            for batch in batches
            for digest, (values, expires_ms) in paced(zip(batch, self._read(batch), strict=True))
        ]

    def fields(self, digests: Sequence[str], *names: str) -> list[Fields | None]:
        """Return the fields *names* of each record; a missing field is None, and so is a missing record.

        Zero bytes become spaces. A key that does not hold a hash has no fields.
        """
        found: dict[str, Fields | None] = {}
        for client, served in by_server(self._client, digests, keys.record):
            for i in range(0, len(served), _RECORDS_PER_BATCH):
                batch = served[i : i + _RECORDS_PER_BATCH]
                found |= zip(batch, self._read_fields(client, batch, names), strict=True)
        return [found[digest] for digest in digests]

    def states(self, entries: Sequence[bytes]) -> list[State | None]:
        """Return the state of the token of each entry of the index, None if it has no record with that id."""
        found: dict[str, tuple[str, State] | None] = {}
        for client, served in by_server(self._client, list(map(keys.digest_of_entry, entries)), keys.record):
            for i in range(0, len(served), _RECORDS_PER_BATCH):
                found |= self._read_states(client, served[i : i + _RECORDS_PER_BATCH])
        states = ((keys.id_of_entry(entry), found[keys.digest_of_entry(entry)]) for entry in entries)
        return [state[1] if state and state[0] == token_id else None for token_id, state in states]

    def _read_states(self, client: Any, digests: Sequence[str]) -> dict[str, tuple[str, State] | None]:
        args = ["".join(digests), len(records.IDENTIFYING), *records.IDENTIFYING, *records.STATE]
        texts = self._state.run(client, [], args).decode(errors="replace").split("\0")
        count = len(records.STATE) + 2
        rows = (texts[i : i + count] for i in range(0, len(texts), count))
        return {
            digest: records.state(digest, expires_ms, size, values)
            for digest, (expires_ms, size, *values) in zip(digests, rows, strict=True)
        }

    def _read_fields(self, client: Any, digests: Sequence[str], names: Sequence[str]) -> list[Fields | None]:
        reply = self._glance.run(client, [], ["".join(digests), *names])
        values = iter(reply.decode(errors="replace").split("\0"))
        return [
            None if row[0] == "-" else tuple(value[1:] if value else None for value in row)
            for row in zip(*[values] * len(names), strict=True)
        ]

    def _read(self, digests: Sequence[str]) -> list[Reply]:
        """Return the values of records.FIELDS and the expiry of each record, or WRONGTYPE errors instead."""
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
    """Return the token in two replies, or None if there is no record.

    The expiry is rounded down to whole seconds: other writers set a TTL of whole seconds at some fraction of
    a second, and mean the second in which the TTL ends.
    """
    expires_at = expires_ms // 1000 if expires_ms > 0 else None
    if isinstance(values, Exception):
        return records.unreadable(digest, expires_at)
    return None if expires_ms == records.NO_KEY else records.from_fields(digest, values, expires_at)
