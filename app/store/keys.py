"""The names of all keys in Redis.

A Cluster runs a script only if all of its keys share a hash tag; those of one token share that of its record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count

from app.core.ended import REMEMBERED_DAYS
from app.core.tokens import TOKEN_ID

# zset, score 0: ``<token id><digest, 32 bytes>``, which sorts by age and is searched by id.
INDEX = "acl:index"
# zset, score: second of the expiry: those members of INDEX that have one.
EXPIRES_AT = "{acl:index}:expires_at"
# zset, score: second of the last use that a census has seen: those members of INDEX that have one.
LAST_USED_AT = "{acl:index}:last_used_at"
# hash: the result of the last census, laid out in store/census.py.
CENSUS = "{acl:index}:census"
# string: exists while a census is being taken, and until the next one may begin.
CENSUS_LOCK = "{acl:index}:census_lock"
# zset, score: second of the end, or the one after it: entries like those of INDEX, of tokens that ended.
ENDED = "acl:ended"
# string: the cursor at which the search of INDEX for expired tokens continues.
SWEEP_CURSOR = "acl:sweep"
# string: the SCAN cursor at which the backfill continues.
BACKFILL_CURSOR = "acl:adoption"
# string: exists once the backfill has scanned every key.
BACKFILL_FINISHED = "acl:adopted"

# set: fingerprints of the peppers of the tokens in this database.
PEPPERS = "acl:peppers"

# set: digests of the tokens that a file manages.
MANAGED = "acl:managed"
# string: who changes those tokens at the moment; TTL: until somebody else may.
TURN = "acl:managed:turn"

# list: the wrong passwords of the last minutes, laid out in lua/login.lua; TTL: the window.
WRONG_LOGINS = "{acl:logins}:wrong"
# zset, score: second of the last right password: the clients that sent it; TTL: how long they are known.
KNOWN_CLIENTS = "{acl:logins}:known"

# zset, score: second in which its list expires: the clients with a list below; TTL: the window.
FAILED_CLIENTS = "{acl:failures}:clients"
# list, as those below: the bad tokens of all clients for which that set has no room; TTL: the window.
FURTHER_FAILURES = "{acl:failures}:further"

# string: exists if the audit log has the refusal of the client or network that follows; TTL: the window.
NOTED_REFUSAL = "{acl:logins}:noted:"

# stream: the audit log, laid out in lua/trail.lua; in a Cluster one for each slot, see ``audit``.
AUDIT = "acl:audit"

# How long an expiry marker outlives the record of its token; take.lua has the same number.
REMEMBERED_MS = REMEMBERED_DAYS * 86_400_000

ENTRY_BYTES = 48
# Above every cursor of SCAN, including the ten bits that Cluster.scan adds for the node.
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
    """Return the key of a token's usage: a string, laid out in store/usage.py; TTL: the token's."""
    return f"{{tokens:{digest}}}:usage"


def ended(digest: str) -> str:
    """Return the key of a token's expiry marker: a string, laid out in store/markers.py.

    It expires REMEMBERED_MS after the record. The scripts derive the same name from the record's. See
    docs/decisions/0019 and 0025.
    """
    return f"{{tokens:{digest}}}:ended"


def all_of(digest: str) -> tuple[str, str, str]:
    """Return the keys of one token that the scripts take, in their order."""
    return record(digest), window(digest), usage(digest)


def audit(tag: str | None) -> str:
    """Return the key of the audit log; in a Cluster, of the part for the slot of *tag*."""
    return AUDIT if tag is None else f"{AUDIT}:{{{tag}}}"


def probes() -> Iterator[str]:
    """Yield names that are not digests, so no token has them; their records are in varying slots."""
    return (f"probe-{number}" for number in count())


def failures(client: str) -> str:
    """Return the key of a client's bad tokens: a list of microseconds, newest first; TTL: the window."""
    return f"{{acl:failures}}:of:{client}"


def network_failures(network: str) -> str:
    """Return the key of the bad tokens of a network: a list like that of a client."""
    return f"{{acl:failures}}:in:{network}"


def rotation(name: str) -> str:
    """Return the key that counts a rotation by a holder: a string; TTL: an hour."""
    return f"acl:form:{name}"


def claim(name: str) -> str:
    """Return the key of the claim of an idempotency key: a string, see store/claims.py; TTL: a day."""
    return f"acl:claim:{name}"


def voucher(digest: str, token_id: str) -> str:
    """Return the key of the voucher of a claim: a string, laid out in store/claims.py; TTL: a day or more."""
    return f"{{tokens:{digest}}}:voucher:{token_id}"


def digest_in(key: bytes) -> str | None:
    """Return the digest in a record's key, None for any other key."""
    match = _RECORD.fullmatch(key)
    return match[1].decode() if match else None


def index_entry(token_id: str, digest: str) -> bytes:
    """Return the member of INDEX for a token."""
    return token_id.encode() + bytes.fromhex(digest)


def is_entry(member: bytes) -> bool:
    """Return whether a member of INDEX has the form of index_entry."""
    return len(member) == ENTRY_BYTES and bool(_ID.match(member))


def cursor_of(entry: bytes) -> str:
    """Return *entry* as a cursor, the inverse of ``entry_of``."""
    return id_of_entry(entry) + digest_of_entry(entry)


def entry_of(cursor: str) -> bytes:
    """Return the member of INDEX that ``cursor_of`` returned *cursor* for."""
    return index_entry(cursor[: -2 * _DIGEST_BYTES], cursor[-2 * _DIGEST_BYTES :])


def id_of_entry(entry: bytes) -> str:
    """Return the token's id in a member of INDEX."""
    return entry[:-_DIGEST_BYTES].decode()


def digest_of_entry(entry: bytes) -> str:
    """Return the digest in a member of INDEX."""
    return entry[-_DIGEST_BYTES:].hex()
