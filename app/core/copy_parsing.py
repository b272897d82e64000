"""Parse the lines of an export; no error repeats what is in the file, which may be a secret."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from app.core import copy_values as values
from app.core.arrivals import Row
from app.core.copies import LABELS, Copy, RedirectCopy, TokenCopy
from app.core.copy_lines import FORMAT, FORMAT_VERSION, TIMES
from app.core.copy_values import Line, LineError, Members
from app.core.ended import EndedToken, Ending
from app.core.fields import FIELDS, KEPT
from app.core.tokens import Token

_NAMES = {
    "token": {
        *("id", "sha256", "enabled", "quota_used", "usage", "stored"),
        *(field.name for field in KEPT),
        *TIMES,
        *LABELS,
    },
    "redirect": {"id", "sha256", "moved_to", "hosts", "email", "comment", "status", "expires_at"},
    "ended": {"id", "sha256", "hosts", "email", "comment", "status", "ended_at"},
}
_NOTHING: tuple[Any, ...] = (None, "", [])
# The values of fields that a line has not; even hosts may be an empty list: such a token opens nothing.
_BLANK = {field.name: field.kind.from_record("") for field in KEPT}
_REQUIRED = [field.name for field in KEPT if field.is_required]


def read_header(line: Line) -> tuple[str, ...]:
    """Return the fingerprints of the peppers in the first line; raise LineError."""
    found = _object("" if line.problem else line.text)
    if found.get("format") != FORMAT:
        raise LineError("not the first line of a file that tokens export wrote")
    if found.get("version") != FORMAT_VERSION:
        raise LineError(f"version: {FORMAT_VERSION} is all that this service reads; use a newer one")
    peppers = found.get("peppers")
    if not isinstance(peppers, list) or not peppers or not all(map(values.is_fingerprint, peppers)):
        raise LineError("peppers: a list of fingerprints, each of 16 hex digits")
    return tuple(peppers)


def rows(lines: Iterable[Line], peppers: tuple[str, ...]) -> Iterator[Row]:
    """Yield the rows of the lines after the first one, which has the fingerprints *peppers*."""
    for line in lines:
        if line.problem:
            yield Row(line.number, problem=line.problem)
        elif line.text.strip():
            yield _row(line, peppers)


def _row(line: Line, peppers: tuple[str, ...]) -> Row:
    try:
        return Row(line.number, read_line(line.text), peppers=peppers)
    except LineError as error:
        return Row(line.number, problem=str(error))


def read_line(text: str) -> Copy:
    """Return the copy in a line after the first one; raise LineError."""
    found = _object(text)
    kind = found.pop("kind", None)
    names = _NAMES.get(kind) if isinstance(kind, str) else None
    if names is None:
        raise LineError(f"kind: one of {', '.join(_NAMES)}")
    if not found.keys() <= names:
        raise LineError(f"a field that no {kind} has; a newer version may have written it")
    return _READERS[kind](found)


def _object(text: str) -> dict[str, Any]:
    try:
        found = _decode(text)
    except (ValueError, RecursionError):
        raise LineError("not a JSON object on one line, with each name once") from None
    if not isinstance(found, dict):
        raise LineError("not a JSON object on one line, with each name once")
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _refuse_constant(_: str) -> None:
    raise ValueError


_decode = json.JSONDecoder(object_pairs_hook=_each_once, parse_constant=_refuse_constant).decode


def _token(found: Members) -> TokenCopy:
    stored = values.stored(found)
    times: dict[str, Any] = {name: values.moment(found, name) for name in TIMES}
    token = Token(
        **_fields(found, stored),
        digest=values.digest(found, "sha256"),
        id=values.token_id(found),
        enabled=values.enabled(found),
        **times,
        quota_used=values.count(found.get("quota_used")),
    )
    if token.quota_max and not token.quota_period:
        raise LineError("quota_period: needed with quota_max")
    return TokenCopy(
        token=token, labels=values.labels(found), stored=stored, usage=values.usage(found.get("usage"))
    )


def _fields(found: Members, stored: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of KEPT; most of them are blank."""
    given = {name: found.get(name) for name in _REQUIRED}
    given |= {name: value for name, value in found.items() if name in _BLANK and value not in _NOTHING}
    return {
        **_BLANK,
        **{name: _as_stored(name, text, found.get(name)) for name, text in stored.items()},
        **{name: _value(name, value) for name, value in given.items() if name not in stored},
    }


def _value(name: str, value: Any) -> Any:
    if value == []:
        return _BLANK[name]
    try:
        return _list(name, tuple(value)) if isinstance(value, list) else _parsed(name, value)
    except (ValueError, TypeError, OverflowError):
        raise LineError(f"{name}: {FIELDS[name].kind}".replace("`", "")) from None


def _as_stored(name: str, text: str, shown: Any) -> Any:
    """Return the value of a field whose record has *text*; raise LineError if the line shows another one."""
    kind = FIELDS[name].kind
    value = kind.from_record(text.encode(errors="surrogateescape").decode(errors="replace"))
    if kind.to_json(value) != shown:
        raise LineError(f"stored: its {name} does not mean what the line has as {name}; correct one of them")
    return value


@lru_cache(4096, typed=True)  # a number and a Boolean may be equal
def _parsed(name: str, value: Any) -> Any:
    kind = FIELDS[name].kind
    return kind.parse(kind.from_json(value))


@lru_cache(4096)
def _list(name: str, items: tuple[Any, ...]) -> Any:
    kind = FIELDS[name].kind
    return kind.parse(kind.from_json([*items]))


def _redirect(found: Members) -> RedirectCopy:
    digest, moved_to = values.digest(found, "sha256"), values.digest(found, "moved_to")
    if digest == moved_to:
        raise LineError("moved_to: another digest than sha256")
    token_id = None if found.get("id") is None else values.token_id(found)
    expires_at = values.moment(found, "expires_at")
    replaced = None
    if "status" in found:
        if found["status"] != Ending.REPLACED or token_id is None or expires_at is None:
            raise LineError(f"status: {Ending.REPLACED}, with an id and expires_at")
        replaced = _facts(found, token_id, Ending.REPLACED, expires_at)
    return RedirectCopy(
        digest=digest, id=token_id, moved_to=moved_to, expires_at=expires_at, replaced=replaced
    )


def _ended(found: Members) -> EndedToken:
    status = found.get("status")
    if not isinstance(status, str) or status not in {*Ending}:
        raise LineError(f"status: one of {', '.join(Ending)}")
    return _facts(found, values.token_id(found), Ending(status), values.needed(found, "ended_at"))


def _facts(found: Members, token_id: str, ending: Ending, ended_at: int) -> EndedToken:
    """Return what is remembered of a token; its hosts may be cut, and are only shown."""
    hosts = found.get("hosts", [])
    texts = [found.get("email", ""), found.get("comment", "")]
    if not isinstance(hosts, list) or not all(map(values.is_text, [*hosts, *texts])):
        raise LineError("hosts: a list of texts; email and comment: texts")
    email, comment = texts
    return EndedToken(
        digest=values.digest(found, "sha256"),
        id=token_id,
        ending=ending,
        ended_at=ended_at,
        hosts=tuple(hosts),
        email=email,
        comment=comment,
    )


_READERS: Mapping[str, Callable[[Members], Copy]] = {
    "token": _token,
    "redirect": _redirect,
    "ended": _ended,
}
