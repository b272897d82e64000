"""Write copies of tokens to Redis: one script for each, many in one round trip (docs/decisions/0029)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import redis

from app.core.audit import Action, Actor
from app.core.copies import Copy, CopyStore, Here, RedirectCopy, TokenCopy, Written
from app.core.ended import EndedToken, Ending
from app.core.tokens import Token
from app.store import keys, markers, records, usage
from app.store.copies import CopyReader
from app.store.ended import EndedTokens
from app.store.pepper_check import PepperCheck
from app.store.trail import Trail
from app.store.transport.cluster import Client
from app.store.transport.deadlines import bounded
from app.store.transport.early import send
from app.store.transport.scripts import CHANGE, Script

Call = tuple[list[str], list[Any]]

_WRITTEN = {b"taken": Written.TAKEN, b"ended": Written.ENDED}


class RedisCopies(CopyReader, CopyStore):
    """Copies tokens from and to Redis."""

    def __init__(self, client: Client, pepper_check: PepperCheck, deadline_s: float, trail: Trail) -> None:
        super().__init__(client, pepper_check, deadline_s)
        self._ended = EndedTokens(client)
        self._trail = trail
        self._import = Script("import", *CHANGE)

    def look(self, copies: Sequence[Copy]) -> list[Here]:
        with bounded(self._deadline_s):
            self._pepper_check.check()
            held = self._held([copy.digest for copy in copies])
            namesakes = self._found_namesakes([copy for copy in copies if isinstance(copy, TokenCopy)])
        return [
            Here(held.get(copy.digest), namesakes.get(copy.digest, ""), _is_readable(copy)) for copy in copies
        ]

    def write(
        self, actor: Actor, copies: Sequence[Copy], *, restore_ended: bool
    ) -> Callable[[], list[Written]]:
        if not copies:
            return list
        with bounded(self._deadline_s):
            # First: an entry without a record or a marker is dropped, one that is missing is not found again.
            tokens = [copy for copy in copies if isinstance(copy, TokenCopy)]
            self._index_tokens(tokens)
            self._note_managed([copy.digest for copy in tokens if copy.labels.get("managed")])
            self._list_ends(copies)
            calls = [self._call(actor, copy, restore_ended=restore_ended) for copy in copies]
            replies = self._run(calls)
        return partial(self._outcomes, calls, replies)

    def record_peppers(self, fingerprints: Sequence[str]) -> None:
        with bounded(self._deadline_s):
            self._pepper_check.record(fingerprints)

    def _held(self, digests: Sequence[str]) -> dict[str, Token | RedirectCopy | EndedToken]:
        rows = dict(zip(digests, self._reader.fields(digests, "moved_to", "moved_id"), strict=True))
        missing = [digest for digest, row in rows.items() if row is None]
        held: dict[str, Any] = dict(zip(missing, self._ended.under(missing), strict=True))
        existing = {digest: row for digest, row in rows.items() if row is not None}
        tokens = dict(zip(existing, self._reader.tokens([*existing]), strict=True))
        for digest, (moved_to, moved_id) in existing.items():
            redirect = RedirectCopy(digest=digest, id=moved_id, moved_to=moved_to or "", expires_at=None)
            held[digest] = tokens[digest] or redirect
        return {digest: found for digest, found in held.items() if found}

    def _found_namesakes(self, copies: Sequence[TokenCopy]) -> dict[str, str]:
        """Return, by the digests of *copies*, the digests of other tokens with the same ids."""
        others = self._index.namesakes([*map(_entry, copies)])
        pairs = [
            (copy, keys.digest_of_entry(other)) for copy, other in zip(copies, others, strict=True) if other
        ]
        ids = self._reader.fields([digest for _, digest in pairs], "id")
        return {
            copy.digest: digest
            for (copy, digest), row in zip(pairs, ids, strict=True)
            if row and row[0] == copy.token.id
        }

    def _run(self, calls: Sequence[Call]) -> Callable[[], list[Any]]:
        """Send the script once for each of *calls*; return the function that reads the replies."""
        return send(
            self._client,
            [("EVALSHA", self._import.sha, len(names), *names, *args) for names, args in calls],
        )

    def _outcomes(self, calls: Sequence[Call], read: Callable[[], list[Any]]) -> list[Written]:
        with bounded(self._deadline_s):
            replies = [self._reply(call, reply) for call, reply in zip(calls, read(), strict=True)]
            return [self._outcome(reply) for reply in replies]

    def _reply(self, call: Call, reply: Any) -> Any:
        if isinstance(reply, redis.exceptions.NoScriptError):
            return self._import.run(self._client, *call)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _outcome(self, reply: Any) -> Written:
        """Return what became of a copy, after passing on its audit entry."""
        self._trail.report(reply)
        return Written.DONE if isinstance(reply, list | int) else _WRITTEN[reply]

    def _index_tokens(self, copies: Sequence[TokenCopy]) -> None:
        """Add *copies* to the index, with their scores in its other orders."""
        self._index.add(*map(_entry, copies))
        self._index.score({_entry(copy): (copy.token.expires_at, copy.token.last_used_at) for copy in copies})

    def _note_managed(self, digests: Sequence[str]) -> None:
        """Remember tokens of a file, which ends those that it no longer declares."""
        if digests:
            self._client.sadd(keys.MANAGED, *digests)

    def _call(self, actor: Actor, copy: Copy, *, restore_ended: bool) -> Call:
        """Return the keys and the arguments of import.lua; only a token has an audit entry."""
        trail = ""
        if isinstance(copy, TokenCopy):
            trail = self._trail.argument(actor, Action.CREATE, copy.token)
        names = [keys.record(copy.digest), keys.usage(copy.digest)]
        return names, [*_args(copy, restore_ended=restore_ended), trail]

    def _list_ends(self, copies: Sequence[Copy]) -> None:
        """List the ends of *copies*, those of replaced secrets for the time after their grace period."""
        ends = {_entry(copy): copy.ended_at for copy in copies if isinstance(copy, EndedToken)}
        redirects = (copy.replaced for copy in copies if isinstance(copy, RedirectCopy))
        grace = {_entry(replaced): replaced.ended_at + 1 for replaced in redirects if replaced}
        self._ended.add(ends | grace)


def _entry(copy: TokenCopy | EndedToken) -> bytes:
    return keys.index_entry(copy.token.id if isinstance(copy, TokenCopy) else copy.id, copy.digest)


def _args(copy: Copy, *, restore_ended: bool) -> list[Any]:
    """Return the arguments of import.lua but that of trail.lua."""
    match copy:
        case TokenCopy(token=token):
            marker = markers.compose(token, token, Ending.EXPIRED)
            counters = usage.compose(copy.usage) if copy.usage else b""
            args = [*_ends(token.expires_at, token.expires_at), marker, counters, int(restore_ended)]
            return [*args, *_flat(_record(copy))]
        case RedirectCopy():
            ended_at = copy.expires_at if copy.replaced else None
            args = [*_ends(copy.expires_at, ended_at), _marker(copy.replaced), b"", int(restore_ended)]
            return [*args, *_flat({"moved_to": copy.moved_to} | ({"moved_id": copy.id} if copy.id else {}))]
        case _:
            return [*_ends(None, copy.ended_at), _marker(copy), b"", 0]


def _ends(expires_at: int | None, ended_at: int | None) -> tuple[int, int]:
    """Return the expiry of a record and that of a marker, in milliseconds since the epoch; 0 is none."""
    return (expires_at or 0) * 1000, ended_at * 1000 + keys.REMEMBERED_MS if ended_at else 0


def _marker(ended: EndedToken | None) -> bytes:
    return markers.compose(ended, ended, ended.ending) if ended else b""


def _record(copy: TokenCopy) -> dict[str, str]:
    """Return the record of a token; an empty value is not stored."""
    token = copy.token
    times = {name: getattr(token, name) for name in ("created_at", "first_used_at", "last_used_at")}
    record = {**records.to_fields(token), **copy.stored, **copy.labels}
    record |= {name: str(at) for name, at in times.items() if at is not None}
    record |= {"id": token.id, "enabled": "" if token.enabled else "0"}
    record["quota_used"] = " ".join(map(str, token.quota_used or ()))
    return {name: value for name, value in record.items() if value}


def _is_readable(copy: Copy) -> bool:
    """Tell whether the service can read the record of *copy*; only stored texts may break the rules."""
    if not isinstance(copy, TokenCopy) or not copy.stored:
        return True
    record = _record(copy)
    values = [_bytes(record[name]) if name in record else None for name in records.FIELDS]
    return records.from_fields(copy.digest, values, copy.token.expires_at).fault is None


def _flat(fields: Mapping[str, str]) -> list[bytes]:
    return [_bytes(text) for pair in fields.items() for text in pair]


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
