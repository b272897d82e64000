"""Who sends a request that changes something, for the audit log (docs/decisions/0031)."""

from __future__ import annotations

from flask import request

from app.core.audit import Actor, Via
from app.core.clients import address_of
from app.services import services
from app.web.problems import API


def operator() -> Actor:
    """Return the operator, whose password the request has."""
    name = request.authorization.username if request.authorization else None
    return Actor(_via(), name or "", address())


def stranger() -> Actor:
    """Return whoever tries to sign in, without the name, in whose place some type the password."""
    return Actor(_via(), "", address())


def holder(token_id: str) -> Actor:
    """Return the holder of a token, which has no other name than its id."""
    return Actor(Via.SELF, token_id, address())


def _via() -> Via:
    return Via.API if request.path.startswith(f"{API}/") else Via.PAGE


def address() -> str:
    """Return the address of the client as TRUSTED_PROXIES report it."""
    peer, forwarded_for = request.remote_addr or "", request.headers.get("X-Forwarded-For")
    return address_of(peer, forwarded_for, services().settings.trusted_proxies)
