"""The answers that a client gets through a real Traefik, and the requests that reach its backend."""

from __future__ import annotations

import time
from base64 import b64encode
from typing import Any

import pytest

from devkit.backend import Backend
from devkit.http import Headers
from devkit.service import BASIC, Gunicorn, record_key
from devkit.traefik import Traefik

pytestmark = pytest.mark.e2e

_REALM = 'Bearer realm="acl-auth-service"'
_METHODS = ["OPTIONS", "HEAD", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"]
_UPGRADE = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", b64encode(b"sixteen bytes ok").decode()),
    ("Sec-WebSocket-Version", "13"),
]


class TestAllowed:
    """Requests with a token that lists the host."""

    def test_identity(self, service: Gunicorn, traefik: Traefik, backend: Backend, redis: Any) -> None:
        """The backend receives the token's identity in printable ASCII."""
        token = service.issue("a.test", email="ops@a.test", comment="nightly 日本")

        assert traefik.call(token).status == 200
        fields = dict(backend.seen[0].headers)
        assert fields["X-Auth-Token-Id"] == redis.hget(record_key(token), "id")
        assert fields["X-Auth-Email"] == "ops@a.test"
        assert fields["X-Auth-Comment"] == "nightly %E6%97%A5%E6%9C%AC"

    def test_backend_never_receives_the_token(self, traefik: Traefik, backend: Backend, token: str) -> None:
        """The backend never receives the token."""
        assert traefik.call(token).status == 200
        assert token not in str(backend.seen)

    @pytest.mark.parametrize(
        "name", ["X-Auth-Token-Id", "x-auth-email", "X_Auth_Token_Id", "X.Auth.Token.Id", "X-Auth_Comment"]
    )
    def test_forged_identity(self, traefik: Traefik, backend: Backend, token: str, name: str) -> None:
        """Identity headers sent by a client never reach the backend, in any spelling."""
        assert traefik.call(token, headers=[(name, "forged")]).status == 200
        assert "forged" not in str(backend.seen)

    @pytest.mark.parametrize("host", ["A.TEST", "a.test:8443", "a.test.", "a.TEST.:443"])
    def test_host_spelling(self, traefik: Traefik, backend: Backend, token: str, host: str) -> None:
        """Case, one port and one trailing dot do not change the host."""
        assert traefik.call(token, host).status == 200
        assert backend.hits == 1

    @pytest.mark.parametrize(
        "headers",
        [
            [("Cookie", "c" * 9000)],
            [(f"X-Header-{number}", "x") for number in range(120)],
            [("X-Forwarded-Ssl", "on")],
            [("Content-Type", "text/plain"), ("Content-Type", "text/html")],
            [("SCRIPT_NAME", "/zzz"), ("PATH_INFO", "/zzz")],
            [("X_Forwarded_Host", "b.test"), ("X-Auth_Token", "x")],
        ],
        ids=["cookie", "many", "ssl", "content-types", "cgi", "underscores"],
    )
    def test_odd_headers(self, traefik: Traefik, backend: Backend, token: str, headers: Headers) -> None:
        """Unusual headers of the client do not change the decision."""
        assert traefik.call(token, headers=headers).status == 200
        assert backend.hits == 1

    def test_upgrade(self, traefik: Traefik, backend: Backend, token: str) -> None:
        """A WebSocket opens with a valid token."""
        assert traefik.call(token, headers=_UPGRADE).status == 101
        assert backend.hits == 1

    def test_paths_below_auth(self, traefik: Traefik, backend: Backend, token: str) -> None:
        """Every path below /auth behaves like /auth."""
        assert [traefik.call(credential, entry_point="/auth/").status for credential in (token, "wrong")] == [
            200,
            401,
        ]
        assert backend.hits == 1

    @pytest.mark.parametrize("entry_point", ["web", "same-method", "with-body"])
    def test_body(self, traefik: Traefik, backend: Backend, token: str, entry_point: str) -> None:
        """Requests with a body reach the backend intact over reused connections."""
        for _ in range(5):
            answer = traefik.call(token, entry_point=entry_point, method="POST", body=b"x" * 50_000)
            assert (answer.status, answer.json()["method"]) == (200, "POST")
        assert backend.hits == 5


class TestRefused:
    """What the client is answered; the backend must receive no request."""

    @pytest.fixture(autouse=True)
    def _backend_unreached(self, backend: Backend) -> Any:
        yield
        assert not backend.seen

    def test_no_token(self, traefik: Traefik) -> None:
        """Without a credential, the challenge contains no error (RFC 6750, section 3.1)."""
        answer = traefik.call()

        assert (answer.status, answer.text) == (401, "missing bearer token")
        assert answer.headers["www-authenticate"] == _REALM
        assert answer.headers["cache-control"] == "no-store"
        assert "set-cookie" not in answer.headers

    def test_wrong_token(self, traefik: Traefik, token: str) -> None:
        """An unknown token is invalid, whether it is a mistyped one of ours or of another shape."""
        for wrong in (token[:-1] + ("a" if token[-1] != "a" else "b"), "from-somewhere-else"):
            answer = traefik.call(wrong)
            assert (answer.status, answer.text) == (401, "invalid token")
            assert answer.headers["www-authenticate"] == f'{_REALM}, error="invalid_token"'

    @pytest.mark.parametrize("host", ["b.test", "x.a.test", "test", "aatest", "a.test.evil.test"])
    def test_other_host(self, traefik: Traefik, token: str, host: str) -> None:
        """A token opens only the hosts that it lists, not similar ones."""
        answer = traefik.call(token, host)

        assert (answer.status, answer.text) == (403, "forbidden for host")
        assert answer.headers["www-authenticate"] == f'{_REALM}, error="insufficient_scope"'

    @pytest.mark.parametrize("pair", ["good bad", "bad good", "good good", "good basic", "basic good"])
    def test_two_credentials(self, traefik: Traefik, token: str, pair: str) -> None:
        """Two credentials are refused, because two readers might pick different ones."""
        values = {"good": f"Bearer {token}", "bad": "Bearer x", "basic": BASIC}
        answer = traefik.call(headers=[("Authorization", values[name]) for name in pair.split()])

        assert (answer.status, answer.text) == (401, "invalid token")
        assert answer.headers["www-authenticate"] == f'{_REALM}, error="invalid_request"'

    @pytest.mark.parametrize("entry_point", ["web", "insecure", "all-headers"])
    @pytest.mark.parametrize(
        "name", ["X-Forwarded-Host", "X_Forwarded_Host", "X.Forwarded.Host", "Forwarded", "X-Original-Host"]
    )
    def test_forged_host(self, traefik: Traefik, token: str, entry_point: str, name: str) -> None:
        """The host is the one that Traefik routed by, not one that the client claims."""
        claim = "host=a.test" if name == "Forwarded" else "a.test"
        assert traefik.call(token, "b.test", [(name, claim)], entry_point).status == 403

    @pytest.mark.parametrize("entry_point", ["web", "insecure", "all-headers"])
    @pytest.mark.parametrize("named", ["X-Forwarded-Host", "X-Forwarded-Host, X-Forwarded-Method"])
    def test_hop_by_hop_host(self, traefik: Traefik, token: str, entry_point: str, named: str) -> None:
        """A Connection header cannot remove the headers that Traefik sets."""
        headers = [("Connection", named), ("X-Forwarded-Host", "a.test")]
        assert traefik.call(token, "b.test", headers, entry_point).status == 403

    @pytest.mark.parametrize("entry_point", ["web", "same-method"])
    @pytest.mark.parametrize("method", _METHODS)
    def test_every_method(self, traefik: Traefik, method: str, entry_point: str) -> None:
        """Every method needs a credential, OPTIONS included."""
        assert traefik.call(entry_point=entry_point, method=method).status == 401

    def test_upgrade(self, traefik: Traefik) -> None:
        """A WebSocket does not open with a bad token."""
        assert traefik.call("wrong", headers=_UPGRADE).status == 401

    @pytest.mark.parametrize("entry_point", ["/", "/healthz", "/livez", "/metrics", "/static/app.css"])
    def test_wrong_address(self, traefik: Traefik, token: str, entry_point: str) -> None:
        """A ForwardAuth that points to another path of this service allows no request."""
        for credential in (f"Bearer {token}", BASIC):
            assert (
                traefik.call(entry_point=entry_point, headers=[("Authorization", credential)]).status == 403
            )

    def test_api_address(self, traefik: Traefik) -> None:
        """The API refuses ForwardAuth requests even with the operator's password."""
        assert traefik.call(entry_point="/api/v1/tokens", headers=[("Authorization", BASIC)]).status == 403

    def test_service_down(self, traefik: Traefik, token: str) -> None:
        """If the service is down, no request is allowed."""
        assert traefik.call(token, entry_point="nobody-home").status >= 500

    @pytest.mark.parametrize("source", ["query", "cookie", "basic", "forwarded-uri"])
    def test_token_elsewhere(self, traefik: Traefik, token: str, source: str) -> None:
        """A token is accepted in Authorization: Bearer only."""
        headers = {
            "query": [],
            "cookie": [("Cookie", f"access_token={token}; Authorization=Bearer {token}")],
            "basic": [("Authorization", f"Basic {b64encode(f'x:{token}'.encode()).decode()}")],
            "forwarded-uri": [("X-Forwarded-Uri", f"/?access_token={token}")],
        }[source]
        target = f"/?access_token={token}&Authorization=Bearer%20{token}"
        assert traefik.call(headers=headers, entry_point="all-headers", target=target).status == 401


@pytest.mark.parametrize("entry_point", ["web", "same-method"])
@pytest.mark.parametrize("method", _METHODS)
def test_allowed_method(
    traefik: Traefik, backend: Backend, token: str, method: str, entry_point: str
) -> None:
    """Every HTTP method is decided the same way."""
    assert traefik.call(token, entry_point=entry_point, method=method).status == 200
    assert [seen.method for seen in backend.seen] == [method]


@pytest.mark.parametrize(
    "header",
    [
        ("Accept", "x/y"),
        ("If-None-Match", "*"),
        ("If-Modified-Since", "Tue, 24 Nov 2026 04:07:01 GMT"),
        ("Range", "bytes=0-0"),
        ("Forwarded", "host=b.test"),
        ("SCRIPT_NAME", "/zzz"),
        ("PATH_INFO", "/livez"),
        ("X-Script-Name", "/auth"),
        ("X-HTTP-Method-Override", "OPTIONS"),
        ("Origin", "http://evil.test"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Expect", "100-continue"),
    ],
    ids=lambda header: header[0],
)
def test_nothing_else_matters(traefik: Traefik, token: str, header: tuple[str, str]) -> None:
    """Only the token and the host matter, even if Traefik forwards every header."""
    requests = [(token, "a.test"), (token, "b.test"), (None, "a.test")]
    answers = [traefik.call(*request, headers=[header], entry_point="all-headers") for request in requests]

    assert [answer.status for answer in answers] == [200, 403, 401]


def test_hop_by_hop_credential(traefik: Traefik, backend: Backend, token: str) -> None:
    """A credential that the client declares hop-by-hop is dropped, or else decided as usual."""
    answer = traefik.call(token, headers=[("Connection", "Authorization")])
    assert (answer.status, backend.hits) in {(401, 0), (200, 1)}
    assert traefik.call("wrong", headers=[("Connection", "Authorization")]).status == 401


def test_retry_after(traefik: Traefik, backend: Backend, token: str, redis: Any) -> None:
    """A client that waits for Retry-After is admitted; one that waits a second less is not."""
    redis.hset(record_key(token), mapping={"rate_limit_max": 2, "rate_limit_window_sec": 2})
    assert [traefik.call(token).status for _ in range(2)] == [200, 200]
    refused = traefik.call(token)
    began, wait_s = time.monotonic(), int(refused.headers["retry-after"])

    assert (refused.status, refused.text, wait_s) == (429, "rate limit exceeded", 2)
    assert refused.headers["ratelimit-policy"].endswith(";q=2;w=2")
    time.sleep(wait_s - 1)
    assert traefik.call(token).status == 429
    time.sleep(began + wait_s - time.monotonic())
    assert traefik.call(token).status == 200
    assert backend.hits == 3


def test_admin_pages(traefik: Traefik) -> None:
    """The admin pages work behind Traefik like any other site."""
    assert traefik.call(host="admin.test").status == 401
    assert traefik.call(host="admin.test", headers=[("Authorization", BASIC)]).status == 200
