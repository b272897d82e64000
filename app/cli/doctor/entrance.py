"""What ``flask doctor --url`` finds at the public entrance, by requests that a stranger could send.

A finding rests on what can have no other reason: a marker that the backend echoes, the realm of a challenge,
the text of a metric, a request that the service has counted as allowed. Where an answer may mean two things,
nothing is reported.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from app.cli.doctor.prober import Prober
from app.cli.doctor.visits import Answer, CertificateError, Door, VisitError
from app.cli.doctor.wallet import Minted
from app.core.credentials import IDENTITY_HEADERS
from app.core.errors import StoreUnavailableError
from app.core.findings import Finding, finding

_REDIRECTS, _NOT_FOUND = range(300, 400), {404, 421}
_FAILURES = range(500, 600)
_REFUSALS = {401, 403, 429, *_FAILURES}
_OWN_PATHS = ("/healthz", "/livez", "/metrics")
_WRONG_ADDRESS = "does not serve ForwardAuth"
_METRIC = "acl_auth_decisions"
_PROBES = {"ok", "redis unavailable"}
_OWN_POLICY = "default-src 'none'"


class Entrance:
    """The checks of one address; *plain* is where the same host might be served without TLS."""

    def __init__(self, prober: Prober, plain: Door | None, *, is_proxy_trusted: bool) -> None:
        self._prober = prober
        self._url = prober.door.url
        self._wallet = prober.wallet
        self._plain = plain
        self._is_proxy_trusted = is_proxy_trusted
        self._stranger = f"doctor-{secrets.token_hex(4)}.invalid"
        self._sample: Answer | None = None  # what the backend answered to a request with a token

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong, and delete the tokens; a failure to answer ends the checks."""
        url = self._url
        with self._wallet:
            try:
                yield from self._behind(self._prober.visit())
            except CertificateError as error:
                yield finding("entrance-certificate", url=url, reason=error)
            except VisitError as error:
                name = "entrance-slow" if self._prober.requests > 1 else "entrance-silent"
                yield finding(name, url=url, reason=error)
            except StoreUnavailableError as error:
                yield finding("entrance-no-token", reason=error)
        yield from self._wallet.leftovers()

    def _behind(self, anonymous: Answer) -> Iterator[Finding]:
        """Yield what is wrong, by the *anonymous* answer to a request without a token."""
        if anonymous.status in _REDIRECTS:
            target = anonymous.get("Location")[:200]
            yield finding("entrance-redirects", url=self._url, status=anonymous.status, target=target)
            return
        if self._url.scheme == "http" and not self._url.is_local:
            yield finding("entrance-unencrypted", url=self._url)
        if self._prober.is_admin(anonymous):
            yield from self._own_auth()
        elif self._prober.is_refusal(anonymous):
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
            return finding("entrance-wrong-address", url=self._url)
        if status in _NOT_FOUND and not self._prober.is_echo(anonymous):
            name = "entrance-not-found"
        elif status in _REFUSALS and not self._prober.is_echo(anonymous):
            name = "entrance-failing" if status in _FAILURES else "entrance-foreign"
        return finding(name, url=self._url, status=status)

    def _protected(self) -> Iterator[Finding]:
        """Yield what is wrong with an address that asks for a token."""
        token = self._wallet.token(self._url.host)
        if token is None:
            yield finding("entrance-no-token", reason=self._wallet.trouble)
            return
        sample, is_allowed = self._prober.knock(token)
        if not is_allowed:
            yield self._refused(sample, token.sources[0].header)
            yield from self._forgeries()
            return
        self._sample = sample
        yield from self._received(token, sample)
        yield from self._forgeries()
        yield from self._misrouted(token)
        if not self._is_proxy_trusted:
            yield finding("entrance-clients-unknown")

    def _refused(self, answer: Answer, header: str) -> Finding:
        """Return what it means that the service did not allow a request with a valid token in *header*."""
        if answer.status in _FAILURES:
            return finding("entrance-failing", url=self._url, status=answer.status)
        reason = answer.body[:60] if answer.body.isprintable() else ""
        details = {"header": header, "status": answer.status, "reason": reason}
        return finding("entrance-token-refused", url=self._url, **details)

    def _received(self, token: Minted, sample: Answer) -> Iterator[Finding]:
        """Yield what the backend receives and should not; only a backend that echoes it shows that."""
        if not self._prober.is_echo(sample):
            yield finding("entrance-blind")
            return
        leaks = dict[str, None]()
        for source in token.sources:
            answer, is_allowed = self._prober.knock(token, token.sent_in(source))
            if not is_allowed:
                yield self._refused(answer, source.header)
            elif any(trace in answer.body for trace in token.traces):
                leaks[source.header] = None
        if leaks:
            yield finding("entrance-token-forwarded", header=", ".join(leaks))
        yield from self._arrived(token, "entrance-forged-identity", [*IDENTITY_HEADERS])
        aliases = [name.replace("-", sign) for name in IDENTITY_HEADERS for sign in "_."]
        yield from self._arrived(token, "entrance-forged-alias", aliases)

    def _arrived(self, token: Minted, name: str, headers: Sequence[str]) -> Iterator[Finding]:
        forged = {header: f"forged{secrets.token_hex(8)}" for header in headers}
        answer = self._prober.visit([*token.headers, *forged.items()])
        if arrived := [header for header, value in forged.items() if value in answer.body]:
            yield finding(name, names=", ".join(arrived))

    def _forgeries(self) -> Iterator[Finding]:
        """Yield which headers of the client are believed, though the proxy has to write them."""
        path = f"/{self._prober.marker}"
        for name, header, value, token in (
            ("host", "X-Forwarded-Host", self._stranger, self._wallet.token(self._stranger)),
            ("path", "X-Forwarded-Uri", path, self._wallet.token(self._url.host, path)),
        ):
            if token and self._prober.knock(token, [*token.headers, (header, value)])[1]:
                yield finding(f"entrance-forged-{name}", url=self._url)

    def _misrouted(self, token: Minted) -> Iterator[Finding]:
        """Yield what goes past the check of the token at the host of a backend."""
        if self._prober.is_echo(self._prober.visit(method="OPTIONS")):
            yield finding("entrance-open-method", method="OPTIONS")
        if _is_allowed(self._prober.visit(token.headers, target="/auth")):
            yield finding("entrance-public-auth", host=self._url.host)
        if self._prober.is_admin(self._prober.visit(target="/api/v1/tokens")):
            yield finding("entrance-public-admin", url=self._url)

    def _own_auth(self) -> Iterator[Finding]:
        """Yield whether /auth answers at the host of the admin pages, where nothing else has its realm."""
        answers = [self._prober.visit(target=path) for path in ("/auth", "/auth/doctor")]
        if any(map(self._prober.is_refusal, answers)):
            yield finding("entrance-public-auth", host=self._url.host)

    def _own_paths(self) -> Iterator[Finding]:
        """Yield which of the paths that have no password answer, from this service or from the backend.

        A proxy that asks the path of the client instead of /auth is allowed to open those of the backend.
        """
        host = self._url.host
        for path in _OWN_PATHS:
            answer = self._prober.visit(target=path)
            if self._prober.is_echo(answer) and self._sample:
                yield finding("entrance-open-path", path=path)
            elif _METRIC in answer.body:
                yield finding("entrance-public-metrics", host=host)
            elif answer.body in _PROBES and _OWN_POLICY in answer.get("Content-Security-Policy"):
                yield finding("entrance-public-probe", path=path, host=host)

    def _other_host(self) -> Iterator[Finding]:
        """Yield what answers to a made-up host."""
        host = self._stranger
        anonymous = self._prober.visit(host=host)
        if self._prober.is_admin(anonymous):
            yield finding("entrance-service-any-host", host=host)
        elif self._prober.is_echo(anonymous) or _is_same(anonymous, self._sample):
            yield finding("entrance-any-host-open", host=host)
        if _METRIC in self._prober.visit(target="/metrics", host=host).body:
            yield finding("entrance-public-metrics", host=host)
        token = self._wallet.token(host)
        if token and _is_allowed(self._prober.visit(token.headers, target="/auth", host=host)):
            yield finding("entrance-public-auth", host=host)
        if token and self._prober.knock(token, host=host)[1]:
            yield finding("entrance-any-host", host=host)

    def _without_tls(self) -> Iterator[Finding]:
        """Yield whether the host of an https address is served over plain http too."""
        if not self._plain:
            return
        with suppress(VisitError):
            url, prober = self._plain.url, replace(self._prober, door=self._plain)
            answer = prober.visit()
            if prober.is_echo(answer) or prober.is_refusal(answer) or prober.is_admin(answer):
                yield finding("entrance-no-redirect", url=url, status=answer.status)


def _is_same(answer: Answer, sample: Answer | None) -> bool:
    """Tell whether *answer* has the status and the body, if there is one, of what the backend answered."""
    return bool(sample and sample.body and answer.status == sample.status and answer.body == sample.body)


def _is_allowed(answer: Answer) -> bool:
    """Tell whether *answer* is the 200 of /auth itself."""
    return answer.body == "OK" and bool(answer.get(next(iter(IDENTITY_HEADERS))))
