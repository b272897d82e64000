"""The operator's password, by HTTP Basic (RFC 7617)."""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest

from flask import Response
from flask_httpauth import HTTPBasicAuth

from app.services import services

basic_auth = HTTPBasicAuth(realm="acl-auth-service admin")


@basic_auth.verify_password  # type: ignore[untyped-decorator]
def _verify(user: str, password: str) -> bool:
    settings = services().settings
    # Digests, because compare_digest takes no non-ASCII text; `&`, so that both are always compared.
    return _same(user, settings.admin_user) & _same(password, settings.admin_pass)


def _same(sent: str, kept: str) -> bool:
    return compare_digest(_digest(sent), _digest(kept))


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogateescape")).digest()


@basic_auth.error_handler  # type: ignore[untyped-decorator]
def _refuse(status: int) -> Response:
    return Response("wrong or missing user name and password\n", status, mimetype="text/plain")
