"""Form fields as they were sent, each once."""

from __future__ import annotations

import secrets

from werkzeug.datastructures import MultiDict

from app.core.fields import InvalidFieldsError

NONCE = "form"
TOKEN = "token"  # noqa: S105 - the name of a field

Form = MultiDict[str, str]


def typed(form: Form) -> dict[str, str]:
    """Return what *form* says of a token, one text per field; ``hosts`` may be sent several times.

    Raises InvalidFieldsError for any other field sent twice.
    """
    repeated = [name for name, values in form.lists() if len(values) > 1 and name != "hosts"]
    if repeated:
        raise InvalidFieldsError(dict.fromkeys(repeated, "sent twice; send it once"))
    return {name: text for name, text in as_typed(form).items() if name not in {NONCE, TOKEN}}


def as_typed(form: Form) -> dict[str, str]:
    """Return every field of *form* as it was typed, to be shown again."""
    return {name: "\n".join(values) for name, values in form.lists()}


def token(form: Form) -> str:
    """Return which token is meant; raises InvalidFieldsError."""
    name = single(form, TOKEN, "").strip()
    if not name:
        raise InvalidFieldsError({TOKEN: "send the token's id, its SHA-256 or its text"})
    return name


def single(form: Form, name: str, otherwise: str) -> str:
    """Return the field *name*, *otherwise* if it was not sent; raises InvalidFieldsError if sent twice."""
    values = form.getlist(name) or [otherwise]
    if len(values) > 1:
        raise InvalidFieldsError({name: "sent twice; send it once"})
    return values[0]


def new_nonce() -> str:
    """Return what makes a form good for one token, however often its answer is reloaded."""
    return secrets.token_urlsafe(18)
