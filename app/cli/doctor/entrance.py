"""What ``flask doctor --url`` finds at the public entrance, by requests that a stranger could send.

A finding rests on what can have no other reason: a marker that the backend echoes, the realm of a challenge,
the text of a metric, a request that the service has counted as allowed. Where an answer may mean two things,
nothing is reported.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from app.cli.doctor.visits import Answer, CertificateError, Door, Headers, VisitError
from app.cli.doctor.wallet import Minted, Wallet
from app.core.credentials import IDENTITY_HEADERS, Source
from app.core.errors import StoreUnavailableError
from app.core.findings import Finding, finding
from app.version import ADMIN_REALM

_PATIENCE_S = 50  # less than the tokens last
_ECHO = "X-Doctor-Echo"
_REDIRECTS, _NOT_FOUND = range(300, 400), {404, 421}
_FAILURES = range(500, 600)
_REFUSALS = {401, 403, 429, *_FAILURES}
_OWN_PATHS = ("/healthz", "/livez", "/metrics")
_WRONG_ADDRESS = "does not serve ForwardAuth"
_METRIC = "acl_auth_decisions"
_PROBES = {"ok", "redis unavailable"}
_OWN_POLICY = "default-src 'none'"
_NOTHING = Answer(0, [], "")


@dataclass(kw_only=True)
class Entrance:
    """The checks of one address; *plain* is where the same host might be served without TLS."""

    door: Door
    plain: Door | None
    wallet: Wallet
    sources: Sequence[Source]
    realm: str
    is_proxy_trusted: bool
    requests: int = 0
    _sample: Answer = _NOTHING  # what the backend answered to a request with a token
    _give_up_at: float = field(default_factory=lambda: time.monotonic() + _PATIENCE_S)
    _marker: str = field(default_factory=lambda: f"echo{secrets.token_hex(8)}")
    _stranger: str = field(default_factory=lambda: f"doctor-{secrets.token_hex(4)}.invalid")

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong, and delete the tokens; a failure to answer ends the checks."""
        url = self.door.url
        with self.wallet:
            try:
                yield from self._behind(self._visit())
            except CertificateError as error:
                yield finding("entrance-certificate", url=url, reason=error)
            except VisitError as error:
                name = "entrance-slow" if self.requests > 1 else "entrance-silent"
                yield finding(name, url=url, reason=error)
            except StoreUnavailableError as error:
                yield finding("entrance-no-token", reason=error)
        yield from self.wallet.leftovers()

    def _behind(self, anonymous: Answer) -> Iterator[Finding]:
        """Yield what is wrong, by the *anonymous* answer to a request without a token."""
        if anonymous.status in _REDIRECTS:
            target = anonymous.get("Location")[:200]
            yield finding("entrance-redirects", url=self.door.url, status=anonymous.status, target=target)
            return
        if self.door.url.scheme == "http" and not self.door.url.is_local:
            yield finding("entrance-unencrypted", url=self.door.url)
        if self._is_ours(anonymous, ADMIN_REALM):
            yield from self._own_auth()
        elif self._is_ours(anonymous, self.realm):
            yield from self._protected()
        else:
            yield self._unprotected(anonymous)
        yield from self._own_paths()
        yield from self._other_host()
        yield from self._without_tls()

    def _unprotected(self, anonymous: Answer) -> Finding:
        """Return what an answer means that is neither a page nor a refusal of this service."""
        status, name = anonymous.status, "entrance-unprotected"
        if _WRONG_ADDRESS in anonymous.body:
            return finding("entrance-wrong-address", url=self.door.url)
        if status in _NOT_FOUND and not self._is_echo(anonymous):
            name = "entrance-not-found"
        elif status in _REFUSALS and not self._is_echo(anonymous):
            name = "entrance-failing" if status in _FAILURES else "entrance-foreign"
        return finding(name, url=self.door.url, status=status)

    def _protected(self) -> Iterator[Finding]:
        """Yield what is wrong with an address that asks for a token."""
        token = self.wallet.token(self.door.url.host)
        if token is None:
            yield finding("entrance-no-token", reason=self.wallet.trouble)
            return
        self._sample, is_allowed = self._knock(token)
        if not is_allowed:
            yield self._refused(self._sample, self.sources[0].header)
            yield from self._forgeries()
            return
        yield from self._received(token)
        yield from self._forgeries()
        yield from self._misrouted(token)
        if not self.is_proxy_trusted:
            yield finding("entrance-clients-unknown")

    def _refused(self, answer: Answer, header: str) -> Finding:
        """Return what it means that the service did not allow a request with a valid token in *header*."""
        if answer.status in _FAILURES:
            return finding("entrance-failing", url=self.door.url, status=answer.status)
        reason = answer.body[:60] if answer.body.isprintable() else ""
        details = {"header": header, "status": answer.status, "reason": reason}
        return finding("entrance-token-refused", url=self.door.url, **details)

    def _received(self, token: Minted) -> Iterator[Finding]:
        """Yield what the backend receives and should not; only a backend that echoes it shows that."""
        if not self._is_echo(self._sample):
            yield finding("entrance-blind")
            return
        for source in self.sources:
            answer, is_allowed = self._knock(token, token.sent_in(source))
            if not is_allowed:
                yield self._refused(answer, source.header)
            elif any(trace in answer.body for trace in token.traces):
                yield finding("entrance-token-forwarded", header=source.header)
        yield from self._arrived(token, "entrance-forged-identity", [*IDENTITY_HEADERS])
        aliases = [name.replace("-", sign) for name in IDENTITY_HEADERS for sign in "_."]
        yield from self._arrived(token, "entrance-forged-alias", aliases)

    def _arrived(self, token: Minted, name: str, headers: Sequence[str]) -> Iterator[Finding]:
        forged = {header: f"forged{secrets.token_hex(8)}" for header in headers}
        answer = self._visit([*token.headers, *forged.items()])
        if arrived := [header for header, value in forged.items() if value in answer.body]:
            yield finding(name, names=", ".join(arrived))

    def _forgeries(self) -> Iterator[Finding]:
        """Yield which headers of the client are believed, though the proxy has to write them."""
        path = f"/{self._marker}"
        for name, header, value, token in (
            ("host", "X-Forwarded-Host", self._stranger, self.wallet.token(self._stranger)),
            ("path", "X-Forwarded-Uri", path, self.wallet.token(self.door.url.host, path)),
        ):
            if token and self._knock(token, [*token.headers, (header, value)])[1]:
                yield finding(f"entrance-forged-{name}", url=self.door.url)

    def _misrouted(self, token: Minted) -> Iterator[Finding]:
        """Yield what goes past the check of the token at the host of a backend."""
        if self._is_echo(self._visit(method="OPTIONS")):
            yield finding("entrance-open-method", method="OPTIONS")
        if self._is_allowed(self._visit(token.headers, target="/auth")):
            yield finding("entrance-public-auth", host=self.door.url.host)
        if self._is_ours(self._visit(target="/api/v1/tokens"), ADMIN_REALM):
            yield finding("entrance-public-admin", url=self.door.url)

    def _own_auth(self) -> Iterator[Finding]:
        """Yield whether /auth answers at the host of the admin pages, where nothing else has its realm."""
        if any(self._is_ours(self._visit(target=path), self.realm) for path in ("/auth", "/auth/doctor")):
            yield finding("entrance-public-auth", host=self.door.url.host)

    def _own_paths(self) -> Iterator[Finding]:
        """Yield which of the paths that have no password answer, from this service or from the backend.

        A proxy that asks the path of the client instead of /auth is allowed to open those of the backend.
        """
        host = self.door.url.host
        for path in _OWN_PATHS:
            answer = self._visit(target=path)
            if self._is_echo(answer) and self._sample is not _NOTHING:
                yield finding("entrance-open-path", path=path)
            elif _METRIC in answer.body:
                yield finding("entrance-public-metrics", host=host)
            elif answer.body in _PROBES and _OWN_POLICY in answer.get("Content-Security-Policy"):
                yield finding("entrance-public-probe", path=path, host=host)

    def _other_host(self) -> Iterator[Finding]:
        """Yield what answers to a made-up host."""
        host = self._stranger
        anonymous = self._visit(host=host)
        if self._is_ours(anonymous, ADMIN_REALM):
            yield finding("entrance-service-any-host", host=host)
        elif self._is_echo(anonymous) or self._is_sample(anonymous):
            yield finding("entrance-any-host-open", host=host)
        if _METRIC in self._visit(target="/metrics", host=host).body:
            yield finding("entrance-public-metrics", host=host)
        token = self.wallet.token(host)
        if token and self._is_allowed(self._visit(token.headers, target="/auth", host=host)):
            yield finding("entrance-public-auth", host=host)
        if token and self._knock(token, host=host)[1]:
            yield finding("entrance-any-host", host=host)

    def _without_tls(self) -> Iterator[Finding]:
        """Yield whether the host of an https address is served over plain http too."""
        if not self.plain:
            return
        with suppress(VisitError):
            answer = self.plain.visit(self.plain.url.target, [(_ECHO, self._marker)])
            realms = (self.realm, ADMIN_REALM)
            if self._is_echo(answer) or any(self._is_ours(answer, realm) for realm in realms):
                yield finding("entrance-no-redirect", url=self.plain.url, status=answer.status)

    def _visit(
        self, headers: Headers = (), *, target: str = "", method: str = "GET", host: str = ""
    ) -> Answer:
        if time.monotonic() > self._give_up_at:
            raise VisitError(f"the checks took more than {_PATIENCE_S} seconds")
        self.requests += 1
        return self.door.visit(
            target or self.door.url.target, [*headers, (_ECHO, self._marker)], method, host
        )

    def _knock(self, token: Minted, headers: Headers = (), *, host: str = "") -> tuple[Answer, bool]:
        """Return the answer to a request with *token*, and whether the service allowed it, as it counted."""
        before = self.wallet.allowed(token)
        answer = self._visit(headers or token.headers, host=host)
        return answer, self.wallet.allowed(token) > before

    def _is_echo(self, answer: Answer) -> bool:
        return self._marker in answer.body

    def _is_ours(self, answer: Answer, realm: str) -> bool:
        """Tell whether *answer* is this service's challenge for *realm*."""
        return answer.status == HTTPStatus.UNAUTHORIZED and f'realm="{realm}"' in answer.get(
            "WWW-Authenticate"
        )

    def _is_sample(self, answer: Answer) -> bool:
        """Tell whether *answer* has the status and the body of what the backend answered."""
        return answer.status == self._sample.status and answer.body == self._sample.body != ""

    @staticmethod
    def _is_allowed(answer: Answer) -> bool:
        """Tell whether *answer* is the 200 of /auth itself."""
        return answer.body == "OK" and bool(answer.get(next(iter(IDENTITY_HEADERS))))
