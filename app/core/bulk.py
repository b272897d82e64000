"""Disable, enable, extend or delete many tokens: each one alone, with its own audit entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum, auto
from typing import NamedTuple

from app.core.audit import Actor
from app.core.bulk_reports import Report
from app.core.catalog import Catalog
from app.core.changes import Change
from app.core.durability import Durability
from app.core.errors import ConflictError, NoSuchTokenError, StoreUnavailableError, UnknownOutcomeError
from app.core.extension import extended_by
from app.core.fields import InvalidFieldsError
from app.core.listing import NEWEST_FIRST, Filter
from app.core.registry import Registry
from app.core.token_store import TokenChanges
from app.core.tokens import Token, is_public_name

MAX_PER_CALL = 10_000
_PER_PAGE = 250
_DAY_S = 86_400
_NOT_TRIED = "not tried, because Redis stopped answering"
_EXPECTED = (ConflictError, NoSuchTokenError, InvalidFieldsError)


class Action(StrEnum):
    """What can be done to many tokens at once."""

    DISABLE = auto()
    ENABLE = auto()
    EXTEND = auto()
    DELETE = auto()


class Order(NamedTuple):
    """What *actor* wants done; *days* are those of EXTEND.

    With the same *key*, which may be blank, no token is extended twice.
    """

    actor: Actor
    action: Action
    days: int = 0
    key: str = ""

    def is_needless(self, token: Token) -> bool:
        """Return whether *token* is already as wanted."""
        match self.action:
            case Action.DISABLE | Action.ENABLE:
                return not token.fault and token.enabled is (self.action is Action.ENABLE)
            case Action.EXTEND:
                return not token.fault and token.expires_at is None
        return False


class Bulk:
    """Changes many tokens; *series* makes changes without waiting until each one is on disk."""

    def __init__(self, catalog: Catalog, registry: Registry, series: Registry, changes: TokenChanges) -> None:
        self._catalog = catalog
        self._registry = registry
        self._series = series
        self._changes = changes

    def named(self, order: Order, names: Iterable[str]) -> Report:
        """Change the tokens that have *names* as their id, digest or secret; raises StoreUnavailableError."""
        report = Report()
        tokens = iter([*self._found(names, report)])
        self._run(order, tokens, report)
        for token in tokens:
            report.failed.add(token, _NOT_TRIED)
        return report

    def matching(
        self, order: Order, wanted: Filter, start: str | None, is_late: Callable[[], bool]
    ) -> Report:
        """Change the tokens that are as *wanted*, from the cursor *start* on, until *is_late*.

        Raises StoreUnavailableError, and InvalidFieldsError for a cursor of another list.
        """
        report = Report(more=start)
        self._run(order, self._walk(wanted, report, is_late), report)
        return report

    def preview(self, order: Order, wanted: Filter, is_late: Callable[[], bool]) -> Report:
        """Return what ``matching`` would do, as far as that can be seen until *is_late*."""
        report = Report()
        for token in self._walk(wanted, report, is_late):
            self._sort(order, token, report)
        return report

    def preview_named(self, order: Order, names: Iterable[str]) -> Report:
        """Return what ``named`` would do."""
        report = Report()
        for token in self._found(names, report):
            self._sort(order, token, report)
        return report

    def _sort(self, order: Order, token: Token, report: Report) -> None:
        if not _is_left_out(order, token, report):
            report.done.add(token)

    def _found(self, names: Iterable[str], report: Report) -> Iterator[Token]:
        """Yield each token once; note the names that no token has."""
        for name in dict.fromkeys(names):
            try:
                token = self._catalog.find(name)
            except _EXPECTED as error:
                report.failed.add(_public(name), str(error))
                continue
            if token.digest not in report.names:
                report.names.append(token.digest)
                yield token

    def _walk(self, wanted: Filter, report: Report, is_late: Callable[[], bool]) -> Iterator[Token]:
        """Yield tokens; note in *report* where the next call goes on."""
        seen, start = 0, report.more
        while True:
            found = self._catalog.listed(wanted, NEWEST_FIRST, start, _PER_PAGE)
            yield from found.tokens
            seen += len(found.tokens)
            report.more = start = found.more
            report.left = found.total - (found.searched or 0) if start else 0
            if start is None or seen >= MAX_PER_CALL or is_late():
                return

    def _run(self, order: Order, tokens: Iterator[Token], report: Report) -> None:
        """Change *tokens*; only the last change is asked whether it, and with it all others, is on disk.

        When Redis stops to answer after a change, this leaves the rest of *tokens* unread.
        """
        pending: Token | None = None
        try:
            for token in tokens:
                if not _is_left_out(order, token, report):
                    current, pending = pending, token
                    self._change(self._series, order, current, report)
            current, pending = pending, None
            self._change(self._registry, order, current, report)
        except StoreUnavailableError as error:
            report.durability = Durability.UNCONFIRMED
            if not report.done.count:
                raise
            report.reason = str(error)
            if pending:
                report.failed.add(pending, _NOT_TRIED)

    def _change(self, registry: Registry, order: Order, token: Token | None, report: Report) -> None:
        if token is None:
            return
        report.durability = Durability.UNCONFIRMED
        try:
            change = self._make(registry, order, token)
        except _EXPECTED as error:
            report.failed.add(token, str(error))
        except StoreUnavailableError as error:
            report.failed.add(token, str(error))
            raise
        else:
            (report.done if change else report.needless).add(change.token if change else token)
            report.durability = change.durability if change else report.durability

    def _make(self, registry: Registry, order: Order, token: Token) -> Change | None:
        match order.action:
            case Action.DELETE:
                return registry.delete(order.actor, token)
            case Action.EXTEND:
                return self._extend(registry, order, token)
        return registry.enable(order.actor, token, enabled=order.action is Action.ENABLE)

    def _extend(self, registry: Registry, order: Order, token: Token) -> Change | None:
        claim = f"extension-{order.key}-{token.id}"
        if order.key and not self._changes.claim(claim):
            return None
        end = extended_by(token, order.days * _DAY_S, registry.now_s)
        try:
            return registry.edit(order.actor, token, {"expires_at": end})
        except UnknownOutcomeError:
            raise
        except (*_EXPECTED, StoreUnavailableError):
            self._changes.release(claim)
            raise


def _is_left_out(order: Order, token: Token, report: Report) -> bool:
    """Return whether nothing is to be done to *token*, and note why."""
    if token.managed:
        report.managed.add(token, token.managed)
    elif order.is_needless(token):
        report.needless.add(token)
    elif order.action is Action.EXTEND and token.fault:
        report.failed.add(token, "its record can't be read; edit the token before you extend it")
    else:
        return False
    return True


def _public(name: str) -> str:
    """Return *name* if it may be shown again."""
    return name if is_public_name(name) else "what may be a secret"
