"""The tokens of a minute with which ``flask doctor`` knocks at the entrance."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Self

from app.core.audit import Actor
from app.core.catalog import Catalog
from app.core.changes import Issued
from app.core.credentials import BASIC, BEARER, Source
from app.core.errors import ConflictError, NoSuchTokenError, StoreUnavailableError
from app.core.fields import InvalidFieldsError
from app.core.findings import Finding, finding
from app.core.registry import Registry
from app.core.tokens import Token
from app.core.usage import total

_TTL_S = 60
_COMMENT = "flask doctor: checks the entrance, deleted within a minute"


class Minted(NamedTuple):
    """A token of the doctor's own, and the sources of credentials that the service accepts."""

    secret: str
    sources: Sequence[Source]
    token: Token

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Return the header that carries the secret in the first source."""
        return self.sent_in(self.sources[0])

    def sent_in(self, source: Source) -> list[tuple[str, str]]:
        """Return the header that carries the secret in *source*."""
        if source.scheme is BASIC:
            return [(source.header, f"Basic {self._password()}")]
        return [(source.header, f"Bearer {self.secret}" if source.scheme is BEARER else self.secret)]

    @property
    def traces(self) -> tuple[str, ...]:
        """Return the forms in which the secret may reach a backend."""
        return self.secret, self._password()

    def _password(self) -> str:
        return b64encode(f"token:{self.secret}".encode()).decode()


class Wallet:
    """Mints tokens, each at its first use, and deletes them at the end of its block."""

    def __init__(
        self, actor: Actor, registry: Registry, catalog: Catalog, sources: Sequence[Source], max_ttl_s: int
    ) -> None:
        self._actor = actor
        self._registry = registry
        self._catalog = catalog
        self._sources = sources
        self._ttl_s = min(_TTL_S, max_ttl_s or _TTL_S)
        self._issued: dict[str, Issued] = {}
        self._leftovers: list[Finding] = []
        self.trouble = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for issued in self._issued.values():
            self._delete(issued)
        self._issued.clear()

    def token(self, host: str, paths: str = "") -> Minted | None:
        """Return a token for *host*, None if none could be created; *trouble* then says why."""
        fields = {"hosts": host} | ({"paths": paths} if paths else {})
        key = str(fields)
        if key not in self._issued and not self.trouble and (issued := self._issue(fields)):
            self._issued[key] = issued
        found = self._issued.get(key)
        return Minted(found.secret, self._sources, found.token) if found else None

    def allowed(self, minted: Minted) -> int:
        """Return how many requests with a token the service has allowed; raises StoreUnavailableError."""
        return total(self._catalog.usage(minted.token, self._registry.now_s).days).allowed

    def leftovers(self) -> Iterator[Finding]:
        """Yield the tokens that could not be deleted; to be called after the block."""
        yield from self._leftovers

    def _issue(self, fields: Mapping[str, str]) -> Issued | None:
        typed = {"ttl_seconds": str(self._ttl_s), "rate_limit_max": "0", "comment": _COMMENT, **fields}
        try:
            return self._registry.issue(self._actor, typed)
        except (StoreUnavailableError, InvalidFieldsError) as error:
            self.trouble = str(error)
            return None

    def _delete(self, issued: Issued) -> None:
        try:
            with suppress(NoSuchTokenError):
                self._registry.delete(self._actor, issued.token)
        except (StoreUnavailableError, ConflictError) as error:
            self._leftovers.append(finding("entrance-leftover", token=issued.token.id, reason=error))
