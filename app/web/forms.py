"""Form fields as they were sent, into the core's values."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from werkzeug.datastructures import MultiDict

from app.core.fields import InvalidFieldsError

NONCE = "form"


def typed(form: MultiDict[str, str]) -> dict[str, str]:
    """Return one text per field, as typed; ``hosts`` may be sent several times.

    Raises InvalidFieldsError for any other field sent twice.
    """
    repeated = [name for name, values in form.lists() if len(values) > 1 and name != "hosts"]
    if repeated:
        raise InvalidFieldsError(dict.fromkeys(repeated, "sent twice; send it once"))
    return {name: "\n".join(values) for name, values in form.lists() if name != NONCE}


def only(form: MultiDict[str, str], name: str) -> str:
    """Return the one field that this form has; raises InvalidFieldsError."""
    values: Sequence[str] = form.getlist(name)
    if len(values) != 1 or not values[0].strip():
        raise InvalidFieldsError({name: "send the token's id, its SHA-256 or its text, once"})
    return values[0].strip()


def new_nonce() -> str:
    """Return what makes a form good for one token, however often its answer is reloaded."""
    return secrets.token_urlsafe(18)
