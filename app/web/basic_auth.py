"""Check the operator's password (HTTP Basic, RFC 7617), and limit wrong guesses.

See docs/decisions/0012 and 0020.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from hashlib import sha256
from hmac import compare_digest

from flask import Response, render_template, request
from flask_httpauth import HTTPBasicAuth
from werkzeug.datastructures import Authorization
from werkzeug.exceptions import TooManyRequests

from app.core.clients import Proxies, client_of, is_trusted
from app.core.limits import Refusal
from app.core.logins import WRONG_IN_ALL, WRONG_PER_CLIENT, Login
from app.core.text import counted
from app.services import services
from app.settings import Settings
from app.version import ADMIN_REALM
from app.web.actors import address, stranger
from app.web.problems import is_api, refusal as refuse

log = logging.getLogger(__name__)


class _Basic(HTTPBasicAuth):  # type: ignore[misc]
    """Accepts only the scheme Basic; Flask-HTTPAuth accepts a password with any scheme, such as Bearer."""

    def get_auth(self) -> Authorization | None:
        """Return the user and password that were sent."""
        scheme, _, _ = request.headers.get("Authorization", "").partition(" ")
        return super().get_auth() if scheme.lower() == "basic" else None

    def authenticate_header(self) -> str:
        """Return the challenge, which asks for UTF-8 (RFC 7617 section 2.1)."""
        return f'{super().authenticate_header()}, charset="UTF-8"'


_WHOSE = {WRONG_PER_CLIENT: "from your address", WRONG_IN_ALL: "from many addresses"}

basic_auth = _Basic(realm=ADMIN_REALM)


@basic_auth.verify_password  # type: ignore[untyped-decorator]
def _verify(user: str, password: str) -> bool:
    """Tell whether both are right; a request with neither, a browser's first, does not count as a guess."""
    if not (user or password):
        return False
    hops, is_right = _hops(), matches(user, password, services().settings)
    # Always, so that neither a refusal nor its delay reveals whether the password was right.
    refusal = services().logins.weigh(stranger(), client_of(*hops), is_right=is_right)
    services().tally.note_login(_outcome(refusal, is_right=is_right))
    if refusal:
        fields = {"client": address(), "wait_s": refusal.retry_after_s, "hint": _hint(*hops)}
        log.error("too many wrong passwords client=%(client)s wait_s=%(wait_s)d%(hint)s", fields)
        raise TooManyRequests(_message(refusal), _too_many(refusal), refusal.retry_after_s)
    if not is_right:
        log.warning("wrong user name or password client=%(client)s", {"client": address()})
    return is_right


def _outcome(refusal: Refusal | None, *, is_right: bool) -> Login:
    return Login.THROTTLED if refusal else Login.ACCEPTED if is_right else Login.WRONG


def matches(user: str, password: str, settings: Settings) -> bool:
    """Tell whether both are right, in a time that does not depend on what is wrong."""
    # Digests, because they all have the same length; `&`, so that both are always compared.
    return _same(user, settings.admin_user) & _same(password, settings.admin_pass)


def _same(sent: str, kept: str) -> bool:
    digest = sha256(_bytes(sent)).digest()
    return bool(sum(compare_digest(digest, sha256(form).digest()) for form in _forms(kept)))


def _forms(kept: str) -> list[bytes]:
    """Return the bytes that a client may send: UTF-8, or Latin-1 from clients that ignore the charset."""
    with suppress(UnicodeEncodeError):
        return [_bytes(kept), kept.encode("latin-1")]
    return [_bytes(kept)]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _hops() -> tuple[str, str | None, Proxies]:
    forwarded_for = request.headers.get("X-Forwarded-For")
    return request.remote_addr or "", forwarded_for, services().settings.trusted_proxies


def _hint(peer: str, forwarded_for: str | None, trusted: Proxies) -> str:
    """Return a hint why one guesser locks out all clients behind a proxy, if that is so."""
    if forwarded_for is not None and not is_trusted(peer, trusted):
        return "; if that is your proxy, name it in TRUSTED_PROXIES, or its clients count as one"
    return ""


def _too_many(refusal: Refusal) -> Response:
    wait = {"Retry-After": f"{refusal.retry_after_s}"}
    return refuse(429, _message(refusal), wait)


def _message(refusal: Refusal) -> str:
    whose = _WHOSE.get(refusal.limit, "from your network")
    return f"too many wrong passwords {whose}; try again in {counted(refusal.retry_after_s, 'second')}"


@basic_auth.error_handler  # type: ignore[untyped-decorator]
def _refuse(status: int) -> Response:
    """Refuse the request; a person who closed the dialog of the browser reads where the password is."""
    if is_api() or request.accept_mimetypes.best_match(["text/plain", "text/html"]) != "text/html":
        answer = refuse(status, "wrong or missing user name and password")
    else:
        answer = Response(render_template("signin.html", settings=services().settings), status)
    answer.vary.add("Accept")
    return answer
