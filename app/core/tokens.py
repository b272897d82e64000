"""Secrets, token ids, and tokens as they are stored."""

from __future__ import annotations

import json
import re
import secrets
from binascii import crc32
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any

from app.core.fields import KEPT, Draft, Leave, Terms, values
from app.core.kinds import Moment
from app.core.quotas import Count, Quota, quota_at
from app.core.usage import Usage

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
CREDENTIAL = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}", re.ASCII)
DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
TOKEN_ID = re.compile(f"[{BASE32}]{{16}}", re.ASCII)

MIN_SECRET_CHARS = 20
ALLOW_WEAK = "allow_weak, on the command line --weak"
_SECRET_CHARS = 32  # 190 bits
_VARIED_CHARS = 4
_CHECKSUM_CHARS = 6  # 62**6 > 2**32
_PAIRS = [first + second for first in BASE62 for second in BASE62]
_ID_TIME_CHARS = 9  # 45 bits of milliseconds: until the year 3084
_ID_RANDOM_CHARS = 7


@lru_cache
def beginning(prefix: str) -> str:
    """Return what secrets with *prefix* begin with: a prefix that ends in ``-`` or ``_`` needs no ``_``."""
    return prefix if prefix.endswith(("-", "_")) else f"{prefix}_"


def is_public_name(name: str) -> bool:
    """Tell whether *name* is an id or a SHA-256, which may be shown, and not a secret."""
    return bool(TOKEN_ID.fullmatch(name) or DIGEST.fullmatch(name))


def mint(prefix: str) -> str:
    """Return a new secret ``<beginning><32 random base62 characters><checksum>``."""
    return next(mint_many(prefix))


def mint_many(prefix: str) -> Iterator[str]:
    """Yield candidates for one secret; all begin with the same 28 random characters, which are 166 bits."""
    head = "".join(secrets.choice(BASE62) for _ in range(_SECRET_CHARS - _VARIED_CHARS))
    first, variants = secrets.randbelow(len(BASE62) ** _VARIED_CHARS), len(BASE62) ** _VARIED_CHARS
    for number in range(first, first + variants):
        body = head + _encode(number % variants, BASE62, _VARIED_CHARS)
        yield f"{beginning(prefix)}{body}{checksum(body)}"


def checksum(body: str) -> str:
    """Return the CRC-32 of *body* in six base62 digits, most significant first."""
    rest, low = divmod(crc32(body.encode()), len(_PAIRS))
    high, middle = divmod(rest, len(_PAIRS))
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]


def is_mistyped(secret: str, prefix: str) -> bool:
    """Return whether *secret* has our prefix and a checksum that does not match."""
    ours = beginning(prefix)
    if not secret.startswith(ours):
        return False
    body = secret[len(ours) :]
    return body[-_CHECKSUM_CHARS:] != checksum(body[:-_CHECKSUM_CHARS])


def refuse_unusable(secret: str, prefix: str, *, allow_weak: bool) -> None:
    """Raise ValueError, whose text holds no part of *secret*, if no token can have it.

    A short secret can be guessed, and is refused unless *allow_weak*.
    """
    if not CREDENTIAL.fullmatch(secret):
        raise ValueError("1 to 512 characters, each a letter, a digit or one of . _ ~ + / = -")
    if is_mistyped(secret, prefix):
        raise ValueError(
            f"begins with {beginning(prefix)} but its checksum is wrong, so that /auth refuses it"
        )
    if len(secret) < MIN_SECRET_CHARS and not allow_weak:
        raise ValueError(
            f"at least {MIN_SECRET_CHARS} characters; fewer can be guessed and need {ALLOW_WEAK}"
        )


def mint_id(now_ms: int) -> str:
    """Return a public token id; ids sort by the time of their creation."""
    stamp = _encode(now_ms, BASE32, _ID_TIME_CHARS)
    return stamp + "".join(secrets.choice(BASE32) for _ in range(_ID_RANDOM_CHARS))


def id_time_ms(token_id: str) -> int:
    """Return when *token_id* was minted, in milliseconds since the epoch."""
    number = 0
    for char in token_id[:_ID_TIME_CHARS]:
        number = number * len(BASE32) + BASE32.index(char)
    return number


def inherited_id(digest: str) -> str:
    """Return the id of a token that an older deployment wrote without one; sorts before all others."""
    return "0" + digest[:15]


def _encode(number: int, alphabet: str, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, len(alphabet))
        digits.append(alphabet[digit])
    return "".join(reversed(digits))


class Status(StrEnum):
    """The state of a token, as an operator sees it at a glance."""

    UNREADABLE = "unreadable"
    ACTIVE = "active"
    EXPIRING = "expiring"
    NOT_YET_VALID = "not_yet_valid"
    DISABLED = "disabled"


class Fault(StrEnum):
    """Why a record can't be read; /auth allows no request with its token."""

    KEY = "its key holds no record"
    FIELDS = "a field of its record is invalid"


EXPIRING_S = 7 * 86_400
_MOMENTS = ("created_at", "expires_at", "first_used_at", "last_used_at")


def status_of(
    fault: Fault | None, not_before: int | None, expires_at: int | None, now_s: int, *, enabled: bool
) -> Status:
    """Return the status at *now_s* of a token with these properties."""
    if fault:
        return Status.UNREADABLE
    if not enabled:
        return Status.DISABLED
    if not_before is not None and now_s < not_before:
        return Status.NOT_YET_VALID
    if expires_at is not None and expires_at - now_s <= EXPIRING_S:
        return Status.EXPIRING
    return Status.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Terms):
    """A token as it is stored, which is without its secret.

    Times are in seconds since the epoch; times of use are rounded down to the minute.
    """

    digest: str = field(repr=False)
    id: str
    created_at: int | None = None
    first_used_at: int | None = None
    last_used_at: int | None = None
    enabled: bool = True
    fault: Fault | None = None
    quota_used: Count | None = None
    managed: str = ""  # the key by which a tokens file declares it

    @property
    def revision(self) -> str:
        """Return a text that differs after each change but a use."""
        kept = [field.kind.to_record(getattr(self, field.name)) for field in KEPT]
        facts = json.dumps([self.digest, self.id, self.enabled, self.expires_at, self.fault, *kept])
        return sha256(facts.encode()).hexdigest()[:32]

    def status(self, now_s: int) -> Status:
        """Return the status at *now_s*; an expired token is no longer in Redis and has none."""
        return status_of(self.fault, self.not_before, self.expires_at, now_s, enabled=self.enabled)

    def quota(self, now_s: int) -> Quota | None:
        """Return the token's quota and what of it is used at *now_s*, None for a token without a quota."""
        if self.fault or not (self.quota_max and self.quota_period):
            return None
        return quota_at(self.quota_max, self.quota_period, self.quota_used, now_s)

    def described_quota(self, now_s: int) -> dict[str, Any] | None:
        """Return the quota and what is left of it, as JSON has it; None for a token without a quota."""
        quota = self.quota(now_s)
        return quota.described() if quota else None

    def described_with(self, usage: Usage, now_s: int) -> dict[str, Any]:
        """Return the data of the token, its *usage* and its quota, as JSON has it."""
        more = {"usage": usage.described(now_s), "quota": self.described_quota(now_s)}
        return self.described(now_s) | more

    def described(self, now_s: int) -> dict[str, Any]:
        """Return the data of the token that programs may see, as JSON has it."""
        return {
            "id": self.id,
            "sha256": self.digest,
            **{field.name: field.kind.to_json(getattr(self, field.name)) for field in KEPT},
            "status": self.status(now_s),
            **{name: Moment().to_json(getattr(self, name)) for name in _MOMENTS},
            "enabled": self.enabled,
            "managed": self.managed or None,
        }


def drafted(draft: Draft, digest: str, token_id: str, created_at: int) -> Token:
    """Return a new token with the fields and the end of *draft*."""
    end = None if draft.expires_at is Leave.LEAVE else draft.expires_at
    return Token(**values(draft.spec), digest=digest, id=token_id, created_at=created_at, expires_at=end)
