"""The rows in which commands list tokens: columns separated by tabs."""

from __future__ import annotations

from datetime import UTC, datetime

from app.core.ended import EndedToken
from app.core.text import visible
from app.core.tokens import Token


def of_token(token: Token, now_s: int) -> str:
    """Return the row of a token: name, status, expiry, hosts, email, comment."""
    status, name = token.status(now_s), token.digest if token.fault else token.id
    return _row(name, status, _moment(token.expires_at), ",".join(token.hosts), token.email, token.comment)


def of_ended(token: EndedToken) -> str:
    """Return the row of a token that ended: id, how and when it ended, hosts, email, comment."""
    ended_at, hosts = _moment(token.ended_at), ",".join(token.hosts)
    return _row(token.id, token.ending, ended_at, hosts, token.email, token.comment)


def _row(*columns: str) -> str:
    return "\t".join(map(visible, columns))


def _moment(seconds: int | None) -> str:
    try:
        return "never" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):  # after the year 9999, as other programs may have stored
        return f"@{seconds}"
