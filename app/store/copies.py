"""Read all that Redis holds of tokens, and write it to another database (docs/decisions/0029)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from app.core.copies import LABELS, RedirectCopy, TokenCopy
from app.core.copy_lines import breaks_rules
from app.core.ended import Ending
from app.core.fields import KEPT
from app.core.tokens import Token
from app.store import keys, markers, records, usage
from app.store.index import Index, upper_bound
from app.store.index_records import Fields, RecordReader
from app.store.pepper_check import PepperCheck
from app.store.transport.cluster import Client
from app.store.transport.deadlines import bounded, is_wrong_type

_FIELDS = tuple(dict.fromkeys((*records.FIELDS, *LABELS)))
_SCAN_COUNT = 1000
_MAX_NAMESAKES = 10
_T = TypeVar("_T")


class CopyReader:
    """Reads copies in large batches, for a command and not for a worker."""

    def __init__(self, client: Client, pepper_check: PepperCheck, deadline_s: float) -> None:
        self._client: Any = client
        self._pepper_check = pepper_check
        self._deadline_s = deadline_s
        self._reader, self._index = RecordReader(client), Index(client)

    def count(self) -> int:
        """Return the number of entries of the index."""
        with bounded(self._deadline_s):
            return self._index.count()

    def tokens(self) -> Iterator[Sequence[TokenCopy]]:
        """Yield all tokens of the index, newest first; raise StoreUnavailableError."""
        with bounded(self._deadline_s):
            self._pepper_check.check()
        return self._steps(map(self._copies_of, self._walk()))

    def redirects(self) -> Iterator[Sequence[RedirectCopy]]:
        """Yield all redirects, which no index has; raise StoreUnavailableError."""
        return self._steps(map(self._redirects, self._scan()))

    def _steps(self, steps: Iterator[_T]) -> Iterator[_T]:
        """Yield what *steps* yields, with a deadline for each step."""
        while True:
            with bounded(self._deadline_s):
                step = next(steps, None)
            if step is None:
                return
            yield step

    def _walk(self) -> Iterator[list[bytes]]:
        """Yield slices of the index that begin with all entries of an id, which may be rotated meanwhile."""
        bound: bytes | None = b"+"
        while bound:
            entries, following = next(self._index.walk(bound))
            yield entries
            bound = _bound(entries[-1], following) if following else None

    def _scan(self) -> Iterator[list[str]]:
        cursor = 0
        while True:
            cursor, names = self._client.scan(cursor, match=keys.RECORD_PATTERN, count=_SCAN_COUNT)
            yield [digest for name in names if (digest := keys.digest_in(name))]
            if int(cursor) == 0:
                return

    def _copies_of(self, entries: Sequence[bytes]) -> list[TokenCopy]:
        """Return the tokens of *entries*; one that was rotated meanwhile is found by its id."""
        copies = []
        for entry, copy in zip(entries, self._read(entries), strict=True):
            if copy:
                copies.append(copy)
            else:
                others = self._index.entries_of(keys.id_of_entry(entry), _MAX_NAMESAKES)
                copies += filter(None, self._read([other for other in others if other != entry]))
        return copies

    def _read(self, entries: Sequence[bytes]) -> list[TokenCopy | None]:
        """Return the token of each entry, or None if its record is missing, has moved or has another id."""
        pipe = self._client.pipeline(transaction=False)
        for digest in map(keys.digest_of_entry, entries):
            pipe.hmget(keys.record(digest), _FIELDS)
            pipe.execute_command("PEXPIRETIME", keys.record(digest))
            pipe.getrange(keys.usage(digest), 0, usage.MAX_BYTES - 1)
        replies = _replies(pipe)
        rows = zip(entries, replies[::3], replies[1::3], replies[2::3], strict=True)
        return [_copy(*row) for row in rows]

    def _redirects(self, digests: Sequence[str]) -> list[RedirectCopy]:
        rows = zip(digests, self._reader.fields(digests, "moved_to", "moved_id"), strict=True)
        moved = {digest: row for digest, row in rows if row and records.where(digest, row[0])}
        pipe = self._client.pipeline(transaction=False)
        for digest in moved:
            pipe.execute_command("PEXPIRETIME", keys.record(digest))
            pipe.get(keys.ended(digest))
        replies = _replies(pipe) if moved else []
        found = zip(moved.items(), replies[::2], replies[1::2], strict=True)
        return [_redirect(*item, ms, marker) for item, ms, marker in found if ms != records.NO_KEY]


def _bound(last: bytes, following: bytes) -> bytes:
    """Return the upper bound of the slice after the entry *last*."""
    token_id = keys.id_of_entry(following)
    return b"[" + (following if token_id == keys.id_of_entry(last) else upper_bound(token_id))


def _replies(pipe: Any) -> list[Any]:
    """Return the replies of a pipeline, where a key of another type has an error."""
    replies: list[Any] = pipe.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, Exception) and not is_wrong_type(reply):
            raise reply
    return replies


def _copy(entry: bytes, values: Any, expires_ms: int, counters: Any) -> TokenCopy | None:
    digest = keys.digest_of_entry(entry)
    if expires_ms == records.NO_KEY or records.moved_to(digest, values):
        return None
    token = _token(digest, values, expires_ms // 1000 if expires_ms > 0 else None)
    if token.id != keys.id_of_entry(entry):
        return None
    if token.fault:
        return TokenCopy(token=token)
    raw = {name: _text(value) for name, value in zip(_FIELDS, values, strict=True) if value}
    raw |= {"managed": token.managed}  # what no file can declare has no meaning
    return TokenCopy(
        token=token,
        labels={name: raw[name] for name in LABELS if raw.get(name)},
        stored={
            name: raw[name] for name in _NAMES if name in raw and breaks_rules(name, getattr(token, name))
        },
        usage=usage.copy(counters) if isinstance(counters, bytes) else None,
    )


_NAMES = [field.name for field in KEPT]


def _token(digest: str, values: Any, expires_at: int | None) -> Token:
    if isinstance(values, Exception):
        return records.unreadable(digest, expires_at)
    return records.from_fields(digest, values[: len(records.FIELDS)], expires_at)


def _text(value: bytes) -> str:
    """Return *value* as text from which it can be restored, even if it is not UTF-8."""
    return value.decode(errors="surrogateescape")


def _redirect(digest: str, row: Fields, expires_ms: int, marker: Any) -> RedirectCopy:
    moved_to, moved_id = row
    expires_at = expires_ms // 1000 if expires_ms > 0 else None
    replaced = None
    if expires_at and isinstance(marker, bytes):
        remembered = markers.parse(digest, marker, expires_ms + keys.REMEMBERED_MS)
        replaced = remembered if remembered.ending is Ending.REPLACED else None
    return RedirectCopy(
        digest=digest,
        id=records.id_of(digest, moved_id) if moved_id else None,
        moved_to=moved_to or "",
        expires_at=expires_at,
        replaced=replaced,
    )
