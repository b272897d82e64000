"""ETag, If-Match and If-None-Match on one token, and Idempotency-Key (docs/decisions/0028).

An entity tag covers what an operator can change, and neither usage nor times of use.
"""

from __future__ import annotations

import re

from flask import request

from app.core.errors import PreconditionFailedError
from app.core.fields import InvalidFieldsError
from app.core.registry import Registry
from app.core.tokens import Token
from app.services import services

KEY = "Idempotency-Key"
MAX_KEY_CHARS = 255
# A string of RFC 9651, or the text alone without quotes.
KEY_PATTERN = rf'"([ !#-\[\]-~]|\\["\\]){{1,{MAX_KEY_CHARS}}}"|[!#-+\--:<-\[\]-~]{{1,{MAX_KEY_CHARS}}}'
_KEY = re.compile(KEY_PATTERN, re.ASCII)
_ESCAPED = re.compile(r'\\(["\\])')


def tag(token: Token) -> dict[str, str]:
    """Return the header with the entity tag of *token*."""
    return {"ETag": f'"{token.revision}"'}


def registry_for(token: Token) -> Registry:
    """Return the registry for a change of *token*, as strict as If-Match; raise PreconditionFailedError."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return services().registry
    if not request.if_match.contains(token.revision):
        raise PreconditionFailedError("the token was changed since it was read; nothing was changed")
    return services().registry.strict


def is_unchanged(token: Token) -> bool:
    """Return whether the client has the current entity tag of *token*."""
    return "If-None-Match" in request.headers and request.if_none_match.contains_weak(token.revision)


def idempotency_key() -> str | None:
    """Return the key of the request, None if it has none; raise InvalidFieldsError."""
    sent = request.headers.get(KEY)
    if sent is None:
        return None
    if not _KEY.fullmatch(sent):
        problem = f'one text of 1 to {MAX_KEY_CHARS} visible characters, in double quotes: "8e03978e-40d5"'
        raise InvalidFieldsError({KEY: problem})
    return _ESCAPED.sub(r"\1", sent[1:-1]) if sent.startswith('"') else sent
