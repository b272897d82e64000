"""Export all that a database holds of tokens (docs/decisions/0029)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from app.core import copy_lines
from app.core.catalog import Catalog
from app.core.copies import Copy, CopyStore, TokenCopy
from app.core.token_store import TokenStore
from app.core.tokens import Token

Skip = Callable[[Token, str], None]

_NAMESAKE = "another record has the same id; rotate or delete one of the two"


class Exporter:
    """Writes copies as lines of text; each method raises StoreUnavailableError when it can't."""

    def __init__(
        self,
        store: TokenStore,
        catalog: Catalog,
        copies: CopyStore,
        fingerprints: Sequence[str],
        version: str,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._copies = copies
        self._fingerprints = fingerprints
        self._version = version

    def count(self) -> int:
        """Return about how many tokens there are."""
        return self._copies.count()

    def lines(self, now_s: int, skip: Skip) -> Iterator[str]:
        """Yield the lines of an export; *skip* is told of each token that it leaves out, and why.

        A token that ends or changes meanwhile is exported as it was or as it is, and never twice.
        """
        yield copy_lines.header(self._fingerprints, now_s, self._version)
        seen = set[bytes]()
        for copy in self._all(skip):
            digest = bytes.fromhex(copy.digest)
            if digest not in seen:
                seen.add(digest)
                yield copy_lines.line(copy)

    def _all(self, skip: Skip) -> Iterator[Copy]:
        """Yield tokens first: a redirect or an end that is found later does not replace the token."""
        self._store.adopt_all()
        yield from self._readable(skip)
        for redirects in self._copies.redirects():
            yield from redirects
        yield from self._catalog.all_ended()

    def _readable(self, skip: Skip) -> Iterator[TokenCopy]:
        """Yield the tokens whose records can be read; those with the same id follow each other."""
        last: Token | None = None
        for copy in (copy for slice_ in self._copies.tokens() for copy in slice_):
            token = copy.token
            if token.fault:
                skip(token, token.fault)
            elif last is None or token.id != last.id:
                last = token
                yield copy
            elif token.digest != last.digest and self._is_stored(last):
                skip(token, _NAMESAKE)

    def _is_stored(self, token: Token) -> bool:
        """Tell whether *token* is still under its digest, and was not rotated since it was exported."""
        held = self._store.get(token.digest)
        return held is not None and held.digest == token.digest
