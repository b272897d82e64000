"""Tokens as TOKENS_FILE declares them, and what no declaration may say (docs/decisions/0030)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from app.core import fields, tokens
from app.core.defaults import Defaults
from app.core.errors import ManagedError
from app.core.fields import FIELDS, InvalidFieldsError, Terms
from app.core.peppers import Peppers
from app.core.tokens import Token

KEY = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
KEY_RULE = "a key has 1 to 64 letters, digits and . _ -, and begins with none of . _ -"
# A number of seconds from now would move the end at each apply.
DECLARABLE = tuple(name for name in FIELDS if name != "ttl_seconds")
_END = FIELDS["expires_at"].kind
_WEAK = f"the secret in its file can be guessed; at least {tokens.MIN_SECRET_CHARS} characters are needed"


class InvalidFileError(ValueError):
    """A tokens file can't be used; the message has one line per problem."""

    def __init__(self, problems: Iterable[str]) -> None:
        super().__init__("\n".join(problems))


@dataclass(frozen=True, slots=True)
class Declared:
    """A token as a file declares it: its fields as *typed*, and its *digest* or its *secret*.

    An *enabled* of None leaves the token as it is. *line_of* returns the line of a name, or of the table.
    """

    key: str
    typed: Mapping[str, str]
    digest: str = ""
    secret: str = field(default="", repr=False)
    enabled: bool | None = None
    line_of: Callable[[str], int] = field(default=lambda _: 0, repr=False, compare=False)

    def place(self, name: str = "") -> str:
        """Return where the file declares *name*, or the token itself."""
        return f"line {self.line_of(name)}, {'.'.join(filter(None, ('tokens', self.key, name)))}"


@dataclass(frozen=True, slots=True)
class Declarations:
    """The tokens of one file.

    *is_given* tells a file without tokens from no file, and *is_late* one that a running service read again.
    *is_left_out* tells a file that is not valid, and that a command does not need, from no file.
    """

    tokens: tuple[Declared, ...] = ()
    is_given: bool = False
    is_late: bool = False
    is_left_out: bool = False

    def __bool__(self) -> bool:
        return self.is_given

    @property
    def keys(self) -> frozenset[str]:
        """Return the keys of the tokens."""
        return frozenset(each.key for each in self.tokens)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A token as it shall be: *terms*, and the *digests* of its secret, under the current pepper first."""

    key: str
    digests: tuple[str, ...]
    terms: Terms
    enabled: bool | None = None

    def is_over(self, now_s: int) -> bool:
        """Return whether the token has ended at *now_s*."""
        return self.terms.expires_at is not None and self.terms.expires_at <= now_s


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings require of a declaration."""

    peppers: Peppers
    defaults: Defaults

    def wanted(self, declared: Iterable[Declared], now_s: int) -> Sequence[Wanted]:
        """Return the tokens as they shall be; raise InvalidFileError with every problem."""
        found: list[Wanted] = []
        problems: list[str] = []
        owners: dict[str, str] = {}
        for each in declared:
            digests = self._digests(each)
            problems += self._problems_of_secret(each, digests, owners)
            owners |= dict.fromkeys(digests, each.key)
            try:
                found.append(Wanted(each.key, digests, self._terms(each, now_s), each.enabled))
            except InvalidFieldsError as error:
                problems += (f"{each.place(name)}: {text}" for name, text in error.problems.items())
        if problems:
            raise InvalidFileError(problems)
        return found

    def _digests(self, declared: Declared) -> tuple[str, ...]:
        return self.peppers.digests(declared.secret) if declared.secret else (declared.digest,)

    def _problems_of_secret(
        self, declared: Declared, digests: Sequence[str], owners: Mapping[str, str]
    ) -> Iterator[str]:
        place = declared.place("secret_file" if declared.secret else "sha256")
        if declared.secret:
            try:
                tokens.refuse_unusable(declared.secret, self.defaults.prefix, allow_weak=True)
            except ValueError as error:
                yield f"{place}: the secret in its file: {error}"
            if len(declared.secret) < tokens.MIN_SECRET_CHARS:
                yield f"{place}: {_WEAK}"
        if owner := next(filter(None, map(owners.get, digests)), None):
            yield f"{place}: this is the secret of tokens.{owner} already; each token needs its own"

    def _terms(self, declared: Declared, now_s: int) -> Terms:
        """Return the fields and the end; raise InvalidFieldsError. An end in the past is no mistake."""
        typed, end = dict(declared.typed), None
        with suppress(ValueError):
            end = _END.parse(typed.get("expires_at", ""))
        is_over = end is not None and end <= now_s
        if is_over:
            del typed["expires_at"]
        elif "expires_at" not in typed:
            typed["ttl_seconds"] = "0"  # never, whatever TOKEN_TTL_SECONDS says
        try:
            max_ttl_s = 0 if is_over else self.defaults.max_ttl_s
            draft = fields.parse_new(typed, 0, now_s, max_ttl_s, self.defaults.unset)
        except InvalidFieldsError as error:
            raise _without_ttl(error) from None
        return Terms(**fields.values(draft.spec), expires_at=end)


def _without_ttl(error: InvalidFieldsError) -> InvalidFieldsError:
    """Return *error* with the problem of no end under the name that a file has for it."""
    problems = dict(error.problems)
    if too_long := problems.pop("ttl_seconds", ""):
        problems["expires_at"] = f"is needed: {too_long}"
    return InvalidFieldsError(problems)


def refuse_managed(token: Token, declared: Collection[str]) -> None:
    """Raise ManagedError if a file manages *token*: the next time that it is applied undoes the change.

    *declared* are the keys of TOKENS_FILE; ``tokens apply`` may have applied another file.
    """
    if token.managed:
        file = file_of(token, declared)
        raise ManagedError(
            f"this token is managed by {file} as `{token.managed}`; change it there. Nothing was changed"
        )


def file_of(token: Token, declared: Collection[str]) -> str:
    """Return what to call the file that manages *token*."""
    return "TOKENS_FILE" if token.managed in declared else "a tokens file"
