"""POST /api/v1/try: what /auth would answer to a request that nobody sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.core.clients import canonical_address
from app.core.ended import Ending
from app.core.fields import InvalidFieldsError, unknown
from app.core.hosts import ADDRESS
from app.core.search import has_beginning
from app.core.tokens import CREDENTIAL, DIGEST, MIN_SECRET_CHARS, TOKEN_ID
from app.core.trials import REFUSING
from app.core.verdicts import Attempt, Decision, Verdict
from app.services import Services, services
from app.settings import Settings
from app.web.answers import OUTCOMES, reason_of
from app.web.schemas import SCHEMAS
from app.web.shown import Shown

_FIELDS = tuple(SCHEMAS["Attempt"]["properties"])
_NAME = re.compile(f"{TOKEN_ID.pattern}|{DIGEST.pattern}", re.ASCII)
_ADDRESS = re.compile(ADDRESS, re.ASCII)


def decide(current: Services, body: dict[str, Any]) -> Shown:
    """Return the decision on the request in *body*; raise InvalidFieldsError."""
    sent = _checked(body)
    attempt = _attempt(sent, current.settings)
    if name := sent.get("id"):
        return shown(current.trials.of_token(name, attempt), current.settings)
    return shown(current.trials.with_secret(attempt), current.settings)


def shown(decision: Decision, settings: Settings) -> Shown:
    """Return *decision* as the API returns it."""
    verdict, identity, refusal = decision.verdict, decision.identity, decision.refusal
    outcome = OUTCOMES[verdict]
    return {
        "allowed": verdict is Verdict.ALLOWED,
        "verdict": verdict,
        "status": outcome.status,
        "reason": reason_of(verdict, outcome, settings),
        "field": REFUSING.get(verdict),
        "retry_after": refusal.retry_after_s if refusal else None,
        "id": identity.token_id.decode(errors="replace") if identity else None,
        "ended": Ending.EXPIRED if verdict is Verdict.EXPIRED_TOKEN else decision.ending,
    }


def _checked(body: dict[str, Any]) -> dict[str, str]:
    """Return the texts in *body*; raise InvalidFieldsError."""
    sent = {name: value for name, value in body.items() if value is not None}
    problems = unknown(body, _FIELDS)
    problems |= {name: "a text, or null" for name, value in sent.items() if not isinstance(value, str)}
    if not problems:
        problems = _problems(sent)
    if problems:
        raise InvalidFieldsError(problems)
    return sent


def without_secrets(typed: Mapping[str, str], name: str) -> dict[str, str]:
    """Return what was *typed* without anything that may be a secret; the field *name* has a token's name."""
    prefix = services().settings.token_prefix
    shown = {field: text for field, text in typed.items() if not has_beginning(text, prefix)}
    if len(text := shown.get(name, "")) >= MIN_SECRET_CHARS and not _is_name(text):
        del shown[name]
    return shown


def _is_name(text: str) -> bool:
    """Return whether *text* has the form of a token's id or SHA-256."""
    return bool(_NAME.fullmatch(text))


def _problems(sent: Mapping[str, str]) -> dict[str, str]:
    problems = invalid(sent)
    if ("id" in sent) == ("token" in sent):
        problems["id"] = "send this or token, which is the secret; one of the two"
    return problems


def invalid(sent: Mapping[str, str]) -> dict[str, str]:
    """Return what is wrong with each field that was *sent*."""
    problems = {}
    if "id" in sent and not _is_name(sent["id"]):
        problems["id"] = "the token's id or its SHA-256; send a secret in token"
    if "address" in sent and not _ADDRESS.fullmatch(sent["address"]):
        problems["address"] = "an IPv4 or IPv6 address, such as 192.0.2.7"
    return problems


def _attempt(sent: dict[str, str], settings: Settings) -> Attempt:
    """Return what /auth would read from the headers; only trusted proxies report an address."""
    secret = sent.get("token", "")
    fault = Verdict.MALFORMED_CREDENTIAL if "token" in sent and not CREDENTIAL.fullmatch(secret) else None
    address = canonical_address(sent["address"]) if settings.trusted_proxies and "address" in sent else None
    return Attempt(secret, sent.get("host"), fault, sent.get("method"), sent.get("path"), address)
