"""The responses of /auth: one table from verdict to status, and all headers (docs/decisions/0023)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote_from_bytes

from app.core.backends import Added
from app.core.credentials import BEARER, IDENTITY_HEADERS, Scheme, schemes
from app.core.limits import Refusal
from app.core.verdicts import Decision, Identity, Verdict
from app.settings import Settings
from app.web.problems import MEDIA_TYPE, document

_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


class Outcome(NamedTuple):
    """Status and body for a verdict, and *error* for the challenge of Bearer (RFC 6750 section 3).

    An *error* of None means that the answer has no challenge at all.
    """

    status: int
    body: str
    error: str | None = None


_INVALID = 'error="invalid_token"'
_FORBIDDEN = 'error="insufficient_scope"'
OUTCOMES: Mapping[Verdict, Outcome] = {
    Verdict.ALLOWED: Outcome(200, "OK"),
    Verdict.NO_CREDENTIAL: Outcome(401, "missing bearer token", ""),
    Verdict.MALFORMED_CREDENTIAL: Outcome(401, "invalid token", 'error="invalid_request"'),
    Verdict.MISTYPED_TOKEN: Outcome(401, "invalid token", _INVALID),
    Verdict.UNKNOWN_TOKEN: Outcome(401, "invalid token", _INVALID),
    Verdict.EXPIRED_TOKEN: Outcome(
        401, "invalid token", f'{_INVALID}, error_description="the token expired"'
    ),
    Verdict.DISABLED_TOKEN: Outcome(401, "invalid token", _INVALID),
    Verdict.TOKEN_NOT_YET_VALID: Outcome(401, "invalid token", _INVALID),
    Verdict.WRONG_HOST: Outcome(403, "forbidden for host", _FORBIDDEN),
    Verdict.WRONG_METHOD: Outcome(403, "forbidden for method", _FORBIDDEN),
    Verdict.WRONG_PATH: Outcome(403, "forbidden for path", _FORBIDDEN),
    Verdict.WRONG_NETWORK: Outcome(403, "forbidden for network", _FORBIDDEN),
    Verdict.RATE_LIMITED: Outcome(429, "rate limit exceeded"),
    Verdict.QUOTA_EXCEEDED: Outcome(429, "quota exceeded"),
    Verdict.THROTTLED_CLIENT: Outcome(429, "rate limit exceeded"),
    Verdict.UNAVAILABLE: Outcome(503, "redis unavailable"),
}

# The type and code of ``error`` in JSON by status, in the words of OpenAI's API and of RFC 6750.
ERRORS: Mapping[int, tuple[str, str]] = {
    401: ("invalid_request_error", "invalid_token"),
    403: ("invalid_request_error", "insufficient_scope"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    503: ("server_error", "unavailable"),
}
# The codes of verdicts whose status stands for more than one.
CODES: Mapping[Verdict, str] = {
    Verdict.NO_CREDENTIAL: "missing_token",
    Verdict.QUOTA_EXCEEDED: "insufficient_quota",  # as in OpenAI's API
}


class Answer(NamedTuple):
    """Status, headers and body, for the Flask view and for the express lane alike."""

    status: int
    headers: list[tuple[str, str]]
    body: str


def render(decision: Decision, settings: Settings, added: Added = ()) -> Answer:
    """Return the answer to *decision*; *added* are the headers that the backend receives if it is allowed."""
    outcome = OUTCOMES[decision.verdict]
    media_type, body = _content(decision.verdict, outcome, settings)
    headers = [("Content-Type", media_type), ("Cache-Control", "no-store")]
    if outcome.error is not None:
        headers += _challenges(outcome, settings)
    if decision.verdict is Verdict.ALLOWED and decision.identity:
        headers += [*_identity_headers(decision.identity), *added]
    if decision.refusal:
        headers += _limit_headers(decision.refusal)
    if decision.verdict is Verdict.UNAVAILABLE:
        headers.append(("Retry-After", "1"))
    return Answer(outcome.status, headers, body)


def _content(verdict: Verdict, outcome: Outcome, settings: Settings) -> tuple[str, str]:
    """Return the media type and the body."""
    reason = reason_of(verdict, outcome, settings)
    if settings.refusal_format == "json" and verdict is not Verdict.ALLOWED:
        return MEDIA_TYPE, _problem(verdict, outcome.status, reason)
    return "text/plain; charset=utf-8", reason


@lru_cache
def _problem(verdict: Verdict, status: int, reason: str) -> str:
    """Return a problem (RFC 9457) with an ``error`` as OpenAI's API has it, which its clients show."""
    type_, code = ERRORS[status]
    error = {"message": reason, "type": type_, "param": None, "code": CODES.get(verdict, code)}
    return json.dumps(document(status, reason, error=error), separators=(",", ":"))


def reason_of(verdict: Verdict, outcome: Outcome, settings: Settings) -> str:
    """Return the text that a client is sent."""
    if verdict is Verdict.NO_CREDENTIAL and BEARER not in schemes(settings.credential_sources):
        return "missing token"
    return outcome.body


def _challenges(outcome: Outcome, settings: Settings) -> list[tuple[str, str]]:
    """Return a challenge for each accepted scheme.

    Only Bearer has one for a 403 (RFC 6750 section 3.1); with Basic, browsers would ask for another password.
    """
    accepted = schemes(settings.credential_sources)
    if outcome.status == HTTPStatus.FORBIDDEN:
        accepted = tuple(scheme for scheme in accepted if scheme.reports_errors)
    return [("WWW-Authenticate", _challenge(scheme, outcome, settings)) for scheme in accepted]


def _challenge(scheme: Scheme, outcome: Outcome, settings: Settings) -> str:
    error = outcome.error if scheme.reports_errors else ""
    return ", ".join(filter(None, [f'{scheme.name} realm="{settings.auth_realm}"', scheme.parameters, error]))


def _identity_headers(identity: Identity) -> list[tuple[str, str]]:
    return [(name, header_text(part(identity))) for name, part in IDENTITY_HEADERS.items()]


def header_text(value: bytes) -> str:
    """Return *value* with every byte percent-encoded that is not printable ASCII."""
    return quote_from_bytes(value, safe=_PRINTABLE)


def _limit_headers(refusal: Refusal) -> list[tuple[str, str]]:
    """Return Retry-After, draft-ietf-httpapi-ratelimit-headers-11, and the X- names; times in seconds."""
    limit, wait_s = refusal.limit, refusal.retry_after_s
    policies = [f'"{policy.name}";q={policy.max_requests};w={policy.window_s}' for policy in refusal.policies]
    return [
        ("Retry-After", f"{wait_s}"),
        ("RateLimit-Policy", ", ".join(policies)),
        ("RateLimit", f'"{limit.name}";r=0;t={wait_s}'),
        ("X-RateLimit-Limit", f"{limit.max_requests}"),
        ("X-RateLimit-Remaining", "0"),
        ("X-RateLimit-Reset", f"{wait_s}"),
    ]
