"""Read lists of names and existing keys, from CSV or lines of ``name:key`` (docs/decisions/0029).

No problem repeats what is in the file: whoever mixes up two columns has a key in any of them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.core import fields, tokens
from app.core.arrivals import Row
from app.core.copies import TokenCopy
from app.core.copy_values import Line, LineError
from app.core.defaults import Defaults
from app.core.fields import FIELDS, Draft, InvalidFieldsError
from app.core.peppers import Peppers

KEY_COLUMNS = ("key", "secret")
_NAME_COLUMN = "name"
_COLUMNS = (*KEY_COLUMNS, _NAME_COLUMN, *FIELDS)
_HASHES = ("$", "{")
_HASHED = "key: this is a hash, and no key can be computed from it; a new token is needed, or the key itself"
_NO_KEY = f"the first line has to name the columns, one of them {' or '.join(KEY_COLUMNS)}"


@dataclass(slots=True)
class KeyLists:
    """Makes tokens of existing keys; *typed* are the values of fields that a row leaves blank."""

    peppers: Peppers
    defaults: Defaults
    now: Callable[[], float]
    typed: Mapping[str, str] = field(default_factory=dict)
    allow_weak: bool = False
    _now: float = field(init=False)
    _ids: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self._now = self.now()

    def csv(self, lines: Iterable[Line]) -> Iterator[Row]:
        """Yield the rows of a CSV file; raise LineError if its header can't be used."""
        records = _records(lines)
        columns = _columns(next(records, (1, [])))
        for number, cells in records:
            if isinstance(cells, str):
                yield Row(number, problem=cells)
            elif len(cells) != len(columns):
                yield Row(number, problem=f"{len(cells)} cells, where the first line names {len(columns)}")
            else:
                values = {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}
                secret = values.pop(next(name for name in KEY_COLUMNS if name in values))
                yield self._row(number, secret, values)

    def htpasswd(self, lines: Iterable[Line]) -> Iterator[Row]:
        """Yield the rows of a file with lines of ``name:key``; lines that begin with # are comments."""
        for line in lines:
            name, colon, secret = line.text.strip().partition(":")
            if line.problem:
                yield Row(line.number, problem=line.problem)
            elif name.startswith("#") or not (name or colon):
                continue
            elif not colon:
                yield Row(line.number, problem="a name, a colon and a key")
            else:
                yield self._row(line.number, secret.strip(), {_NAME_COLUMN: name.strip()})

    def _row(self, number: int, secret: str, values: dict[str, str]) -> Row:
        name = values.pop(_NAME_COLUMN, "")
        typed = {"comment": name} | {column: value for column, value in values.items() if value}
        try:
            self._refuse_unusable(secret)
            draft = self._draft(dict(self.typed) | {key: value for key, value in typed.items() if value})
        except LineError as error:
            return Row(number, problem=str(error))
        token = tokens.drafted(draft, self.peppers.digest(secret), self._new_id(), int(self._now))
        current, *_ = self.peppers.fingerprints
        labels = {"pepper": current} if self.peppers.previous else {}
        return Row(
            number,
            TokenCopy(token=token, labels=labels),
            name=name or token.comment,
            unique="key",
            also=self.peppers.digests(secret)[1:],
            peppers=(current,),
        )

    def _refuse_unusable(self, secret: str) -> None:
        if secret.startswith(_HASHES):
            raise LineError(_HASHED)
        try:
            tokens.refuse_unusable(secret, self.defaults.prefix, allow_weak=self.allow_weak)
        except ValueError as error:
            raise LineError(f"key: {error}") from None

    def _draft(self, typed: Mapping[str, str]) -> Draft:
        """Return the draft of a token; every value is parsed alone first, because that error repeats it."""
        if missing := [name for name, field in FIELDS.items() if field.is_required and name not in typed]:
            raise LineError(f"{missing[0]}: needed, in a column or as --{missing[0]}")
        for name, value in typed.items():
            _refuse_bad(name, value)
        defaults = self.defaults
        try:
            return fields.parse_new(typed, defaults.ttl_s, int(self._now), defaults.max_ttl_s, defaults.unset)
        except InvalidFieldsError as error:
            raise LineError(str(error)) from None

    def _new_id(self) -> str:
        """Return an id; of a hundred thousand with the same time, two are the same by chance."""
        while (token_id := tokens.mint_id(int(self._now * 1000))) in self._ids:
            pass
        self._ids.add(token_id)
        return token_id


def _refuse_bad(name: str, value: str) -> None:
    try:
        FIELDS[name].kind.parse(value)
    except ValueError:
        raise LineError(f"{name}: {FIELDS[name].kind}".replace("`", "")) from None


class _Texts:
    """Iterates over the texts of lines; a generator would end at the first line that has a problem."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = iter(lines)
        self.first = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.first = self.first or line.number
        if line.problem:
            raise LineError(line.problem)
        return line.text


def _records(lines: Iterable[Line]) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the number of the first line of each record, and its cells or what is wrong with it."""
    texts = _Texts(lines)
    reader = csv.reader(texts, strict=True)
    while True:
        texts.first = 0
        try:
            cells = next(reader)
        except StopIteration:
            return
        except LineError as error:
            yield texts.first, str(error)
        except csv.Error:
            yield texts.first, "not a record of CSV; check its quotes"
        else:
            if cells:
                yield texts.first, cells


def _columns(record: tuple[int, Sequence[str] | str]) -> list[str]:
    """Return the names of the columns; an unknown name is not repeated, because it may be a key."""
    number, cells = record
    if isinstance(cells, str):
        raise LineError(f"line {number}: {cells}")
    names = [cell.strip().lower() for cell in cells]
    if sum(name in KEY_COLUMNS for name in names) != 1:
        raise LineError(f"line {number}: {_NO_KEY}")
    for position, name in enumerate(names, 1):
        if name not in _COLUMNS:
            raise LineError(f"line {number}: column {position} is none of {', '.join(_COLUMNS)}")
        if names.index(name) != position - 1:
            raise LineError(f"line {number}: column {position} is named like another one")
    return names
