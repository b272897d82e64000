"""REFUSAL_FORMAT: a refusal of /auth is plain text, or JSON that SDKs show."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from app.core.limits import Limit, Refusal
from app.core.verdicts import Decision, Verdict
from app.web.answers import OUTCOMES, Answer, render
from devkit.builders import make_settings
from devkit.process import ROOT

INVALID = (
    '{"type":"about:blank","title":"Unauthorized","status":401,"detail":"invalid token","error":'
    '{"message":"invalid token","type":"invalid_request_error","param":null,"code":"invalid_token"}}'
)
REFUSALS = sorted(OUTCOMES.keys() - {Verdict.ALLOWED})


def answer(verdict: Verdict, refusal_format: str, **settings: str) -> Answer:
    """Return the answer for *verdict* in *refusal_format*."""
    refusal = Refusal(Limit(1, 60), 7) if OUTCOMES[verdict].status == 429 else None
    return render(
        Decision(verdict, refusal=refusal), make_settings(REFUSAL_FORMAT=refusal_format, **settings)
    )


def test_json(make_client: Callable[..., FlaskClient]) -> None:
    """A refusal in JSON is a problem of RFC 9457 with an error of OpenAI's API, to the byte."""
    headers = {"X-Forwarded-Host": "a.test", "Authorization": "Bearer unknown"}
    sent = make_client(REFUSAL_FORMAT="json").get("/auth", headers=headers)

    assert (sent.status_code, sent.text) == (401, INVALID)
    assert sent.headers["Content-Type"] == "application/problem+json"
    assert sent.headers["Content-Length"] == str(len(INVALID))


@pytest.mark.parametrize("verdict", REFUSALS)
def test_only_the_body_differs(verdict: Verdict) -> None:
    """Status and headers are those of the refusal in text, whose body is the reason in JSON."""
    text, sent = answer(verdict, "text"), answer(verdict, "json")
    members = json.loads(sent.body)

    assert (sent.status, sent.headers[1:]) == (text.status, text.headers[1:])
    assert sent.headers[0] == ("Content-Type", "application/problem+json")
    assert members["detail"] == members["error"]["message"] == text.body
    assert members["status"] == text.status
    assert (list(members), list(members["error"])) == tuple(
        map(list, (json.loads(INVALID), json.loads(INVALID)["error"]))
    )


@pytest.mark.parametrize("verdict", REFUSALS)
def test_small(verdict: Verdict) -> None:
    """A body is printable ASCII and fits into one small packet."""
    body = answer(verdict, "json").body

    assert len(body) <= 256
    assert body.isascii()
    assert body.isprintable()


def test_allowed() -> None:
    """A 200 is the same in either format."""
    assert answer(Verdict.ALLOWED, "json") == answer(Verdict.ALLOWED, "text")


def test_without_bearer() -> None:
    """Where Bearer is not accepted, JSON does not mention it either."""
    sent = answer(Verdict.NO_CREDENTIAL, "json", CREDENTIAL_SOURCES="x-api-key")

    assert json.loads(sent.body)["detail"] == "missing token"


def test_documented_codes() -> None:
    """docs/recipes/README.md lists every body with its status, type and code, and no other."""
    text = (ROOT / "docs/recipes/README.md").read_text("utf-8")
    rows = {row for row in text.splitlines() if row.startswith("| `") and row.count("|") == 5}

    assert {_row(verdict) for verdict in REFUSALS} == rows


def _row(verdict: Verdict) -> str:
    members = json.loads(answer(verdict, "json").body)
    error = members["error"]
    return f"| `{error['message']}` | {members['status']} | `{error['type']}` | `{error['code']}` |"
