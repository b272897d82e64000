"""Compare the tokens of a file with those that are stored, and plan the changes (docs/decisions/0030)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.core.declared import Wanted
from app.core.errors import ConflictError
from app.core.fields import FIELDS, KEPT, Field
from app.core.text import visible
from app.core.tokens import Fault, Token

_END = FIELDS["expires_at"]
_COMPARED = (*KEPT, _END)
_TAKEN = (
    "tokens.{}: its secret was replaced and leads to the token of tokens.{}; end the replaced secret, or "
    "wait until it ends. Nothing was changed"
)


@dataclass(frozen=True, slots=True)
class Difference:
    """What of a token changes, as an operator reads it."""

    name: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.name}: {self.old} → {self.new}"


@dataclass(frozen=True, slots=True)
class Create:
    """A token that does not exist yet."""

    key: str
    wanted: Wanted

    def __str__(self) -> str:
        state = " (disabled)" if self.wanted.enabled is False else ""
        return visible(f"+ {self.key}: create for {', '.join(self.wanted.terms.hosts)}{state}")

    def described(self) -> dict[str, Any]:
        """Return the step as programs read it."""
        return {"action": "create", "key": self.key, "hosts": list(self.wanted.terms.hosts)}


@dataclass(frozen=True, slots=True)
class Update:
    """A token that differs from the file; *is_moved* says that its secret does."""

    key: str
    wanted: Wanted
    token: Token
    differences: tuple[Difference, ...]
    is_moved: bool = False

    def __str__(self) -> str:
        secret = ["secret: replaced"] if self.is_moved else []
        return visible(f"~ {self.key}: {'; '.join([*secret, *map(str, self.differences)])}")

    def described(self) -> dict[str, Any]:
        """Return the step as programs read it."""
        changes = {each.name: {"old": each.old, "new": each.new} for each in self.differences}
        step = {"action": "change", "key": self.key, "id": self.token.id, "changes": changes}
        return step | {"new_secret": self.is_moved}


@dataclass(frozen=True, slots=True)
class End:
    """A token that ends."""

    key: str
    token: Token
    why: str

    def __str__(self) -> str:
        return f"- {self.key}: end {self.token.id}: {self.why}"

    def described(self) -> dict[str, Any]:
        """Return the step as programs read it."""
        return {"action": "end", "key": self.key, "id": self.token.id, "reason": self.why}


Step = Create | Update | End


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes in their order, what else there is to know, and the digests of tokens without a change."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def summary(self, *, is_done: bool) -> str:
        """Return how many changes of each kind there are, or were."""
        words = _DONE if is_done else _TO_DO
        counts = [
            f"{sum(isinstance(step, kind) for step in self.steps)} {word}" for kind, word in words.items()
        ]
        return f"{', '.join(counts) if self.steps else 'no changes'}, {len(self.kept)} unchanged"


_TO_DO = {Create: "to create", Update: "to change", End: "to end"}
_DONE = {Create: "created", Update: "changed", End: "ended"}


def plan(
    wanted: Sequence[Wanted],
    find: Callable[[str], Token | None],
    managed: Sequence[Token],
    now_s: int,
    *,
    prune: bool,
) -> Plan:
    """Return how the stored tokens become those that are *wanted*.

    *find* returns the token under a digest. *managed* are the tokens that a file declared before; those that
    the file no longer declares end if *prune*. Raises ConflictError if two declarations lead to one token.
    """
    planning = _Planning({token.digest: token for token in managed}, now_s)
    planning.match(wanted, find)
    for each in wanted:
        planning.compare(each)
    planning.end_others({each.key for each in wanted}, prune=prune)
    return Plan(tuple(planning.steps), tuple(planning.notes), tuple(planning.kept))


@dataclass(slots=True)
class _Planning:
    """A plan that grows; *managed* are the tokens by their digests that no declaration has claimed.

    *same* are the tokens, by key, that have the declared secret, and *moved* those that shall get it.
    """

    managed: dict[str, Token]
    now_s: int
    same: dict[str, Token] = field(default_factory=dict)
    moved: dict[str, Token] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def match(self, wanted: Sequence[Wanted], find: Callable[[str], Token | None]) -> None:
        """Claim the token with the secret of each declaration, then for the others the one with their key."""
        owners: dict[str, str] = {}
        for each in wanted:
            if token := next(filter(None, map(find, each.digests)), None):
                if owner := owners.get(token.digest):
                    raise ConflictError(_TAKEN.format(each.key, owner))
                owners[token.digest] = each.key
                self.same[each.key] = token
                self.managed.pop(token.digest, None)
        left = {token.managed: token for token in self.managed.values()}
        for each in wanted:
            if each.key in left and each.key not in self.same:
                self.moved[each.key] = self.managed.pop(left[each.key].digest)

    def compare(self, wanted: Wanted) -> None:
        """Plan what makes the token of one declaration as it shall be."""
        token = self.same.get(wanted.key) or self.moved.get(wanted.key)
        if wanted.is_over(self.now_s):
            self._end_expired(wanted, token)
        elif token is None:
            self.steps.append(Create(wanted.key, wanted))
        elif token.fault is Fault.KEY:
            self.steps += [End(wanted.key, token, "its record can't be read"), Create(wanted.key, wanted)]
        else:
            self._update(wanted, token)

    def _end_expired(self, wanted: Wanted, token: Token | None) -> None:
        end = _END.kind.format(wanted.terms.expires_at)
        if token:
            self.steps.append(End(wanted.key, token, f"it expired at {end}"))
        else:
            self.notes.append(f"{wanted.key}: expired at {end}")

    def _update(self, wanted: Wanted, token: Token) -> None:
        differences, is_moved = tuple(_differences(wanted, token)), wanted.key in self.moved
        if is_moved or differences:
            self.steps.append(Update(wanted.key, wanted, token, differences, is_moved))
        else:
            self.kept.append(token.digest)
        if not token.enabled and wanted.enabled is None:
            self.notes.append(f"{wanted.key}: is disabled, and stays so until the file says enabled = true")

    def end_others(self, keys: set[str], *, prune: bool) -> None:
        """Plan the end of managed tokens that no declaration claimed."""
        for token in self.managed.values():
            if token.managed in keys:
                self.steps.append(End(token.managed, token, "another token has its key"))
            elif prune:
                self.steps.append(End(token.managed, token, "it is no longer in the file"))
            else:
                self.notes.append(f"{token.managed}: is no longer in the file; --prune would end it")


def _differences(wanted: Wanted, token: Token) -> Iterator[Difference]:
    if token.fault:
        yield Difference("record", "unreadable", "written anew")
    if token.managed != wanted.key:
        yield Difference("managed", token.managed or "none", wanted.key)
    for each in _COMPARED:
        old, new = getattr(token, each.name), getattr(wanted.terms, each.name)
        if old != new:
            yield Difference(each.name, _shown(each, old), _shown(each, new))
    if wanted.enabled not in (None, token.enabled):
        yield Difference("enabled", *("false", "true")[:: 1 if wanted.enabled else -1])


def _shown(each: Field, value: Any) -> str:
    return each.kind.format(value).replace("\n", ", ") or each.blank
