"""Read the JSON bodies of API requests (docs/decisions/0015)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flask import Request, abort

from app.core.fields import FIELDS, GRACE, InvalidFieldsError, unknown
from app.core.kinds import Kind


def read(sent: Request) -> dict[str, Any]:
    """Return the JSON object in the body of *sent*; answer 415 or 400 for any other body."""
    if sent.mimetype != "application/json":
        abort(415, "send a JSON object, with Content-Type: application/json")
    try:
        body = json.loads(sent.get_data(), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        abort(400, f"the body can't be read as JSON: {error}")
    if not isinstance(body, dict):
        abort(400, "send a JSON object")
    return body


def typed(body: Mapping[str, Any], kinds: Mapping[str, Kind]) -> dict[str, str]:
    """Return *body* as it would have been typed; raise InvalidFieldsError for values of a wrong type."""
    texts: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name, value in body.items():
        try:
            texts[name] = kinds[name].from_json(value) if name in kinds else ""
        except ValueError as error:
            problems[name] = str(error)
    if problems:
        raise InvalidFieldsError(problems)
    return texts


def existing_secret(body: dict[str, Any]) -> tuple[str | None, bool]:
    """Take ``secret`` and ``allow_weak`` out of *body*.

    Raises InvalidFieldsError for wrong types, and if a weak secret is allowed but none is sent.
    """
    secret, allow_weak = body.pop("secret", None), body.pop("allow_weak", None)
    if not isinstance(secret, str | None):
        raise InvalidFieldsError({"secret": "a text, or null"})
    if not isinstance(allow_weak, bool | None):
        raise InvalidFieldsError({"allow_weak": "true or false"})
    if allow_weak and secret is None:
        raise InvalidFieldsError({"allow_weak": "only with secret; a generated one is never weak"})
    return secret, bool(allow_weak)


def grace(sent: Request) -> str:
    """Return ``grace_seconds`` in the optional body of a rotation, as it would have been typed."""
    body = read(sent) if sent.get_data() else {}
    if problems := unknown(body, ["grace_seconds"]):
        raise InvalidFieldsError(problems)
    return typed(body, {"grace_seconds": GRACE}).get("grace_seconds", "")


@contextmanager
def also_known(*names: str) -> Iterator[None]:
    """Add *names*, which are no fields of a token, to what a problem with an unknown field says is known."""
    try:
        yield
    except InvalidFieldsError as error:
        known = (*FIELDS, *names)
        raise type(error)(error.problems | unknown(error.problems, known)) from None


@contextmanager
def null_end(body: dict[str, Any]) -> Iterator[None]:
    """Change an ``expires_at`` of null, as shown of a token that never ends, to a lifetime of 0.

    Problems with that lifetime are reported under the name that was sent.
    """
    is_null = "expires_at" in body and body["expires_at"] is None and "ttl_seconds" not in body
    body.update({"ttl_seconds": 0} if is_null else {})
    try:
        yield
    except InvalidFieldsError as error:
        name = "expires_at" if is_null else "ttl_seconds"
        problems = {name if known == "ttl_seconds" else known: p for known, p in error.problems.items()}
        raise type(error)(problems) from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    times = Counter(name for name, _ in pairs)
    if twice := [name for name, count in times.items() if count > 1]:
        raise ValueError(f"{', '.join(twice)} sent twice")
    return dict(pairs)
