"""What a client behind a real Traefik gets, and what its backend sees."""

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
    """A token that lists the host."""

    def test_identity(self, service: Gunicorn, traefik: Traefik, backend: Backend, redis: Any) -> None:
        """The backend learns whose token it was, in printable ASCII."""
        token = service.issue("a.test", email="ops@a.test", comment="nightly 日本")

        assert traefik.call(token).status == 200
        fields = dict(backend.seen[0].headers)
        assert fields["X-Auth-Token-Id"] == redis.hget(record_key(token), "id")
        assert fields["X-Auth-Email"] == "ops@a.test"
        assert fields["X-Auth-Comment"] == "nightly %E6%97%A5%E6%9C%AC"

    def test_secret_stays(self, traefik: Traefik, backend: Backend, token: str) -> None:
        """The backend never sees the token."""
        assert traefik.call(token).status == 200
        assert token not in str(backend.seen)

    @pytest.mark.parametrize(
        "name", ["X-Auth-Token-Id", "x-auth-email", "X_Auth_Token_Id", "X.Auth.Token.Id", "X-Auth_Comment"]
    )
    def test_forged_identity(self, traefik: Traefik, backend: Backend, token: str, name: str) -> None:
        """No identity that a client writes itself survives, however it is spelled."""
        assert traefik.call(token, headers=[(name, "forged")]).status == 200
        assert "forged" not in str(backend.seen)

    @pytest.mark.parametrize("host", ["A.TEST", "a.test:8443", "a.test.", "a.TEST.:443"])
    def test_host_spelling(self, traefik: Traefik, backend: Backend, token: str, host: str) -> None:
        """Case, one port and one trailing dot don't make another host."""
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
        """Nothing else that a client sends costs it its access."""
        assert traefik.call(token, headers=headers).status == 200
        assert backend.hits == 1

    def test_upgrade(self, traefik: Traefik, backend: Backend, token: str) -> None:
        """A WebSocket opens with a good token."""
        assert traefik.call(token, headers=_UPGRADE).status == 101
        assert backend.hits == 1

    def test_below_auth(self, traefik: Traefik, backend: Backend, token: str) -> None:
        """An address below /auth is /auth."""
        assert [traefik.call(each, entry_point="/auth/").status for each in (token, "wrong")] == [200, 401]
        assert backend.hits == 1

    @pytest.mark.parametrize("entry_point", ["web", "same-method", "with-body"])
    def test_body(self, traefik: Traefik, backend: Backend, token: str, entry_point: str) -> None:
        """A request with a body reaches the backend as it is, again and again."""
        for _ in range(5):
            answer = traefik.call(token, entry_point=entry_point, method="POST", body=b"x" * 50_000)
            assert (answer.status, answer.json()["method"]) == (200, "POST")
        assert backend.hits == 5


class TestRefused:
    """What the client is told; the backend hears nothing."""

    @pytest.fixture(autouse=True)
    def _backend_unreached(self, backend: Backend) -> Any:
        yield
        assert not backend.seen

    def test_no_token(self, traefik: Traefik) -> None:
        """Without a credential the challenge names no error (RFC 6750 section 3.1)."""
        answer = traefik.call()

        assert (answer.status, answer.text) == (401, "missing bearer token")
        assert answer.headers["www-authenticate"] == _REALM
        assert answer.headers["cache-control"] == "no-store"
        assert "set-cookie" not in answer.headers

    def test_wrong_token(self, traefik: Traefik, token: str) -> None:
        """A token that is not ours is invalid, mistyped or not."""
        for wrong in (token[:-1] + ("a" if token[-1] != "a" else "b"), "from-somewhere-else"):
            answer = traefik.call(wrong)
            assert (answer.status, answer.text) == (401, "invalid token")
            assert answer.headers["www-authenticate"] == f'{_REALM}, error="invalid_token"'

    @pytest.mark.parametrize("host", ["b.test", "x.a.test", "test", "aatest", "a.test.evil.test"])
    def test_other_host(self, traefik: Traefik, token: str, host: str) -> None:
        """A token opens the hosts that it lists, and no neighbour."""
        answer = traefik.call(token, host)

        assert (answer.status, answer.text) == (403, "forbidden for host")
        assert answer.headers["www-authenticate"] == f'{_REALM}, error="insufficient_scope"'

    @pytest.mark.parametrize("pair", ["good bad", "bad good", "good good", "good basic", "basic good"])
    def test_two_credentials(self, traefik: Traefik, token: str, pair: str) -> None:
        """Two credentials are none, so that no two readers can pick different ones."""
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
        """A client can't take Traefik's word away with a Connection header."""
        headers = [("Connection", named), ("X-Forwarded-Host", "a.test")]
        assert traefik.call(token, "b.test", headers, entry_point).status == 403

    @pytest.mark.parametrize("entry_point", ["web", "same-method"])
    @pytest.mark.parametrize("method", _METHODS)
    def test_every_method(self, traefik: Traefik, method: str, entry_point: str) -> None:
        """No method is answered for its own sake, OPTIONS least of all."""
        assert traefik.call(entry_point=entry_point, method=method).status == 401

    def test_upgrade(self, traefik: Traefik) -> None:
        """No WebSocket opens with a bad token."""
        assert traefik.call("wrong", headers=_UPGRADE).status == 401

    @pytest.mark.parametrize("entry_point", ["/", "/healthz", "/livez", "/metrics", "/static/app.css"])
    def test_wrong_address(self, traefik: Traefik, token: str, entry_point: str) -> None:
        """A ForwardAuth that asks any other address opens nothing, to nobody."""
        for credential in (f"Bearer {token}", BASIC):
            assert (
                traefik.call(entry_point=entry_point, headers=[("Authorization", credential)]).status == 403
            )

    def test_api_address(self, traefik: Traefik) -> None:
        """Nor does the API answer a ForwardAuth, not even the operator's."""
        assert traefik.call(entry_point="/api/v1/tokens", headers=[("Authorization", BASIC)]).status == 403

    def test_nobody_home(self, traefik: Traefik, token: str) -> None:
        """A service that is not there refuses too."""
        assert traefik.call(token, entry_point="nobody-home").status >= 500

    @pytest.mark.parametrize("place", ["query", "cookie", "basic", "forwarded-uri"])
    def test_token_elsewhere(self, traefik: Traefik, token: str, place: str) -> None:
        """A token is read from Authorization: Bearer alone."""
        headers = {
            "query": [],
            "cookie": [("Cookie", f"access_token={token}; Authorization=Bearer {token}")],
            "basic": [("Authorization", f"Basic {b64encode(f'x:{token}'.encode()).decode()}")],
            "forwarded-uri": [("X-Forwarded-Uri", f"/?access_token={token}")],
        }[place]
        target = f"/?access_token={token}&Authorization=Bearer%20{token}"
        assert traefik.call(headers=headers, entry_point="all-headers", target=target).status == 401


@pytest.mark.parametrize("entry_point", ["web", "same-method"])
@pytest.mark.parametrize("method", _METHODS)
def test_allowed_method(
    traefik: Traefik, backend: Backend, token: str, method: str, entry_point: str
) -> None:
    """Every method is decided alike."""
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
    """The decision depends on the token and the host alone, even when Traefik hands us every header."""
    asked = [(token, "a.test"), (token, "b.test"), (None, "a.test")]
    assert [traefik.call(*each, headers=[header], entry_point="all-headers").status for each in asked] == [
        200,
        403,
        401,
    ]


def test_hop_by_hop_credential(traefik: Traefik, backend: Backend, token: str) -> None:
    """A client that declares its credential hop-by-hop has none."""
    answer = traefik.call(token, headers=[("Connection", "Authorization")])
    assert (answer.status, backend.hits) in {(401, 0), (200, 1)}
    assert traefik.call("wrong", headers=[("Connection", "Authorization")]).status == 401


def test_retry_after(traefik: Traefik, backend: Backend, token: str, redis: Any) -> None:
    """A refused client that waits Retry-After is admitted, and one second less would be too short."""
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
    """The pages work behind Traefik like any site: no sub-request, so not refused."""
    assert traefik.call(host="admin.test").status == 401
    assert traefik.call(host="admin.test", headers=[("Authorization", BASIC)]).status == 200
