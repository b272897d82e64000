"""Refuse the pages and the API at other hosts and to other networks than those that the settings list."""

from __future__ import annotations

import logging

from flask import Response, request

from app.core.admission import is_client_listed, is_host_listed
from app.core.clients import is_trusted
from app.services import services
from app.web.actors import address
from app.web.problems import refusal

log = logging.getLogger(__name__)

# What programs ask, at whatever host: decisions, health, metrics, and what the holder of a token may do.
OPEN = {"auth", "metrics", "self_service"}
_HINT = "; it came through a proxy that is not in TRUSTED_PROXIES"


def refuse_network() -> Response | None:
    """Refuse a client outside ADMIN_ALLOWED_NETWORKS, before its password is looked at."""
    settings, forwarded_for = services().settings, request.headers.get("X-Forwarded-For")
    networks, peer = settings.admin_allowed_networks, request.remote_addr or ""
    if (
        not networks
        or request.blueprint in OPEN
        or is_client_listed(peer, forwarded_for, settings.trusted_proxies, networks)
    ):
        return None
    is_unknown = forwarded_for is not None and not is_trusted(peer, settings.trusted_proxies)
    fields = {"client": address(), "hint": _HINT if is_unknown else ""}
    log.warning("refused a client outside ADMIN_ALLOWED_NETWORKS client=%(client)s%(hint)s", fields)
    where = f"the address {fields['client']}{fields['hint']}"
    return refusal(403, f"ADMIN_ALLOWED_NETWORKS does not include {where}")


def refuse_host() -> Response | None:
    """Refuse a host outside ADMIN_HOSTS: this is not the service that the client means (RFC 9110 15.5.20)."""
    hosts = services().settings.admin_hosts
    if not hosts or request.blueprint in OPEN or is_host_listed(request.headers.get("Host"), hosts):
        return None
    return refusal(421, "the admin pages and the API are not at this host; ADMIN_HOSTS lists where they are")
