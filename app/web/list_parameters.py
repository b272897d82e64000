"""The parameters of the list of tokens, as the API describes them."""

from __future__ import annotations

from typing import Any

from app.core import ended, listing
from app.core.catalog import PAGE_SIZE
from app.core.listing import NEWEST_FIRST, ORDERS
from app.core.search import HOST_QUERY, MAX_CHARS, QUERY
from app.core.tokens import DIGEST, TOKEN_ID, Status
from app.web.listing import ENDED, MAX_CHARS_OF
from app.web.parameters import MAX_LIMIT
from app.web.schemas import BEYOND_ASCII, Schema


def query(name: str, description: str, **schema: Any) -> Schema:
    """Return the description of a query parameter."""
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _part(name: str) -> Schema:
    description = f"a part of the {name}, in upper or lower case"
    return query(name, description, type="string", maxLength=MAX_CHARS_OF[name])


LIMIT = query(
    "limit",
    "the maximum number of results to return",
    type="integer",
    minimum=1,
    maximum=MAX_LIMIT,
    default=PAGE_SIZE,
)
PARAMETERS = [
    query(
        "status",
        f"those with that status; or {ENDED}: those that ended within {ended.REMEMBERED_DAYS} days, which "
        "takes q, cursor and limit alone",
        enum=["", *Status, ENDED],
    ),
    query(
        "q",
        "a host, an id or its beginning, a SHA-256, part of an email address or a comment",
        type="string",
        pattern=f"^{QUERY}$",
        maxLength=MAX_CHARS,
    ),
    query(
        "host",
        "a host that the tokens are valid for, or a pattern that they list",
        type="string",
        anyOf=[{"pattern": f"^{HOST_QUERY}$"}, BEYOND_ASCII],
        maxLength=MAX_CHARS,
    ),
    _part("email"),
    _part("comment"),
    query("sort", "the order; - is for descending", enum=["", *ORDERS], default=str(NEWEST_FIRST)),
    query(
        "cursor",
        "the next_cursor of another response, for the same list",
        type="string",
        pattern=f"^(?:{TOKEN_ID.pattern}(?:{DIGEST.pattern})?|{listing.CURSOR.pattern}|{ended.CURSOR.pattern})?$",
    ),
    LIMIT,
]
