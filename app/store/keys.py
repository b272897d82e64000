"""Every key name in Redis.

All keys that one script touches share a hash tag, those of one token that of its record, so that a Cluster
lets it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count

from app.core.tokens import TOKEN_ID

# zset, score 0: ``<token id><digest, 32 bytes>``, so that it sorts by age and finds a token by its id.
INDEX = "acl:index"
# string: the SCAN cursor at which the backfill continues.
BACKFILL_CURSOR = "acl:adoption"
# string: exists once the backfill has scanned every key.
BACKFILL_FINISHED = "acl:adopted"

# set: fingerprints of the peppers that tokens in this database were made with.
PEPPERS = "acl:peppers"

# list: the wrong passwords of the last minutes, laid out in lua/login.lua; TTL: the window.
WRONG_LOGINS = "{acl:logins}:wrong"
# zset, score: second of the last right password: the clients that gave it; TTL: how long that counts.
KNOWN_CLIENTS = "{acl:logins}:known"

# zset, score: when it counts no longer: the clients with a list below; TTL: the window.
FAILED_CLIENTS = "{acl:failures}:clients"
# list, as those below: the bad tokens of all clients for which that set has no room; TTL: the window.
FURTHER_FAILURES = "{acl:failures}:further"

# So much longer than the token itself lives the word that it ended; take.lua has the same number.
REMEMBERED_MS = 30 * 86_400_000

ENTRY_BYTES = 48
# More than SCAN ever says, ten bits of Cluster.scan for the node included.
MAX_CURSOR = 2**63
RECORD_PATTERN = "tokens:*"
_DIGEST_BYTES = 32
_ID = re.compile(TOKEN_ID.pattern.encode())
_RECORD = re.compile(rb"tokens:([0-9a-f]{64})")


def record(digest: str) -> str:
    """Return the key of a token's record: a hash; its TTL is the token's."""
    return f"tokens:{digest}"


def window(digest: str) -> str:
    """Return the key of the admitted times: a list of microseconds, newest first; TTL: the window."""
    return f"{{tokens:{digest}}}:window"


def usage(digest: str) -> str:
    """Return the key of a token's counts of use: a string, laid out in store/usage.py; TTL: the token's."""
    return f"{{tokens:{digest}}}:usage"


def ended(digest: str) -> str:
    """Return the key that remembers a token's end: a string, its id; TTL: the token's and REMEMBERED_MS.

    The scripts make the same of the record's name.
    """
    return f"{{tokens:{digest}}}:ended"


def all_of(digest: str) -> tuple[str, str, str]:
    """Return the keys of one token that the scripts take, in their order."""
    return record(digest), window(digest), usage(digest)


def probes() -> Iterator[str]:
    """Yield names in place of digests that no token has, the records of which lie in one slot or another."""
    return (f"probe-{number}" for number in count())


def failures(client: str) -> str:
    """Return the key of a client's bad tokens: a list of microseconds, newest first; TTL: the window."""
    return f"{{acl:failures}}:of:{client}"


def network_failures(network: str) -> str:
    """Return the key of the bad tokens of a network around clients: a list as theirs."""
    return f"{{acl:failures}}:in:{network}"


def form(nonce: str) -> str:
    """Return the key that says a form was sent already: a string with a TTL of an hour."""
    return f"acl:form:{nonce}"


def digest_in(key: bytes) -> str | None:
    """Return the digest in a record's key, None for any other key."""
    match = _RECORD.fullmatch(key)
    return match[1].decode() if match else None


def index_entry(token_id: str, digest: str) -> bytes:
    """Return the member of INDEX for a token."""
    return token_id.encode() + bytes.fromhex(digest)


def is_entry(member: bytes) -> bool:
    """Tell whether a member of INDEX is one of ours."""
    return len(member) == ENTRY_BYTES and bool(_ID.match(member))


def cursor_of(entry: bytes) -> str:
    """Return *entry* as text, from which ``entry_of`` makes it again."""
    return id_of_entry(entry) + digest_of_entry(entry)


def entry_of(cursor: str) -> bytes:
    """Return the member of INDEX that *cursor* means."""
    return index_entry(cursor[: -2 * _DIGEST_BYTES], cursor[-2 * _DIGEST_BYTES :])


def id_of_entry(entry: bytes) -> str:
    """Return the token's id in a member of INDEX."""
    return entry[:-_DIGEST_BYTES].decode()


def digest_of_entry(entry: bytes) -> str:
    """Return the digest in a member of INDEX."""
    return entry[-_DIGEST_BYTES:].hex()
