"""Every key name in Redis.

All keys of one token share the hash tag of its record, so that a Cluster lets one script touch them all.
"""

from __future__ import annotations

import re

# zset, score 0: ``<token id><digest, 32 bytes>``, so that it sorts by age and finds a token by its id.
INDEX = "acl:index"
# string: where the search for tokens that others wrote goes on.
ADOPTION_CURSOR = "acl:adoption"

RECORD_PATTERN = "tokens:*"
_RECORD = re.compile(rb"tokens:([0-9a-f]{64})")


def record(digest: str) -> str:
    """Return the key of a token's record: a hash; its TTL is the token's."""
    return f"tokens:{digest}"


def window(digest: str) -> str:
    """Return the key of the admitted times: a list of microseconds, newest first; TTL: the window."""
    return f"{{tokens:{digest}}}:window"


def form(nonce: str) -> str:
    """Return the key that says a form was sent already: a string with a TTL of an hour."""
    return f"acl:form:{nonce}"


def digest_in(key: bytes) -> str | None:
    """Return the digest in a record's key, None for any other key."""
    match = _RECORD.fullmatch(key)
    return match[1].decode() if match else None
