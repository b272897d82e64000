"""Expiry markers: what is remembered of a token that ended, or that will (docs/decisions/0019 and 0025).

A marker is a string of five lines: id, ending, hosts, email and comment. One that an older version wrote has
the id alone. Its TTL ends REMEMBERED_MS after the token. A text too long is cut after one byte too many.
"""

from __future__ import annotations

from app.core.ended import EndedToken, Ending
from app.core.fields import TokenSpec
from app.core.list_kinds import Hosts
from app.core.tokens import Token
from app.store import keys, records

# take.lua has the same limits, in bytes.
MAX_HOSTS, MAX_EMAIL, MAX_COMMENT = 1000, 254, 500
_REST = "…"


def compose(token: Token | EndedToken, spec: TokenSpec | EndedToken, ending: Ending) -> bytes:
    """Return the marker for *token* with the fields of *spec*."""
    lines = (
        token.id.encode(),
        ending.encode(),
        _line(Hosts().to_record(spec.hosts), MAX_HOSTS),
        _line(spec.email, MAX_EMAIL),
        _line(spec.comment, MAX_COMMENT),
    )
    return b"\n".join(lines)


def parse(digest: str, text: bytes, expires_ms: int) -> EndedToken:
    """Return the token that the marker *text* of *digest* remembers."""
    token_id, word, hosts, email, comment = (*text.split(b"\n", 4), b"", b"", b"", b"")[:5]
    ending = word.decode(errors="replace")
    return EndedToken(
        digest=digest,
        id=records.id_of(digest, token_id.decode(errors="replace")),
        ending=Ending(ending) if ending in {*Ending} else Ending.EXPIRED,
        ended_at=(expires_ms - keys.REMEMBERED_MS) // 1000,
        hosts=_hosts(hosts),
        email=_text(email, MAX_EMAIL),
        comment=_text(comment, MAX_COMMENT),
    )


def _line(text: str, max_bytes: int) -> bytes:
    return text.replace("\n", " ").encode(errors="replace")[: max_bytes + 1]


def _hosts(kept: bytes) -> tuple[str, ...]:
    text = kept.decode(errors="replace")
    if len(kept) > MAX_HOSTS:
        text = f"{text.rpartition(',')[0]},{_REST}"
    return Hosts().from_record(text) if text else ()


def _text(kept: bytes, max_bytes: int) -> str:
    if len(kept) > max_bytes:
        return kept[:max_bytes].decode(errors="ignore") + _REST
    return kept.decode(errors="replace")
