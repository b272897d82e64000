"""Read form fields, each sent once (docs/decisions/0004)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Set as AbstractSet

from flask import Request, abort
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

from app.core.fields import FIELDS, InvalidFieldsError, unknown

IDEMPOTENCY_KEY = "form"
TOKEN = "token"  # noqa: S105 - the name of a field
SEEN = "seen"  # what the page showed of that which the form changes

_KINDS = {"application/x-www-form-urlencoded", "multipart/form-data"}
_TWICE = "sent twice; send it once"

Form = MultiDict[str, str]


def require(sent: Request) -> None:
    """Refuse a change that is not sent as a form, because its fields would be ignored."""
    if sent.query_string:
        abort(400, "send the fields in the body; the address of a change takes none. Nothing was changed.")
    if sent.mimetype not in _KINDS and (sent.content_length or "Transfer-Encoding" in sent.headers):
        abort(415, "send a form, not another type of content; programs may send JSON to /api/v1")
    if files := _files(sent):
        raise InvalidFieldsError(dict.fromkeys(files, "a file; send text"))


def _files(sent: Request) -> Iterable[str]:
    try:
        return sent.files
    except RequestEntityTooLarge:
        abort(413, f"a form has at most {sent.max_content_length} bytes; shorten it. Nothing was changed.")


def typed(form: Form, *own: str, may_repeat: AbstractSet[str] = frozenset()) -> dict[str, str]:
    """Return the fields of *form* except *own*, one string per field.

    A list may be sent item by item; raises InvalidFieldsError for any other field sent twice.
    """
    lists = may_repeat | {name for name, field in FIELDS.items() if field.kind.is_list}
    repeated = [name for name, values in form.lists() if len(values) > 1 and name not in lists]
    if repeated:
        raise InvalidFieldsError(dict.fromkeys(repeated, _TWICE))
    return {name: text for name, text in as_typed(form).items() if name not in own}


def as_typed(form: Form) -> dict[str, str]:
    """Return every field of *form* as it was typed, to be shown again."""
    return {name: "\n".join(values) for name, values in form.lists()}


def token(form: Form) -> str:
    """Return the name of the token that is meant; raises InvalidFieldsError."""
    values = form.getlist(TOKEN)
    if len(values) > 1:
        raise InvalidFieldsError({TOKEN: _TWICE})
    if not (name := "".join(values).strip()):
        raise InvalidFieldsError({TOKEN: "send the token's id, its SHA-256 or the token itself"})
    return name


def refuse_others(form: Form, *names: str) -> None:
    """Raise InvalidFieldsError for any field but *names*, and for one that is sent twice."""
    if problems := unknown(typed(form), names):
        raise InvalidFieldsError(problems)


def new_idempotency_key() -> str:
    """Return a key that limits a form to one token, however often its response is reloaded."""
    return secrets.token_urlsafe(18)
