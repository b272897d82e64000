"""Spellings of paths through real proxies: the backend receives no path that the token does not list."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from chaos.report import Table
from devkit.backend import Backend, EchoHandler, Seen
from devkit.detours import DETOURS, PLAIN, Detour
from devkit.http import bearer, encoded
from devkit.load import send_each
from devkit.proxies import HOST
from devkit.redis_server import RedisServer
from devkit.service import Gunicorn
from devkit.spellings import LISTED, is_listed, is_ordinary, readings, spellings
from devkit.tally import Request

COUNT, COUNT_DETOUR, COUNT_QUICK = 200_000, 10_000, 1_000
COLUMNS = (
    "proxy",
    "sent",
    "refused by the proxy",
    "`wrong_path`",
    "other refusals",
    "allowed",
    "ordinary ones",
    "of these lost",
    "refused for case alone",
    "outside of the list",
)
_CLIENTS = 8
_FORGED = [
    *(("X-Forwarded-Method", "GET"), ("X-Forwarded-Uri", "/v1/models"), ("X-Forwarded-Prefix", "/v1/models")),
    *(("X-Original-Url", "/v1/models"), ("X-Rewrite-Url", "/v1/models"), ("X-Replaced-Path", "/v1/models")),
]


class _Handler(EchoHandler):
    server: PathBackend

    def answer(self, seen: Seen) -> None:
        self.server.received.append((seen.fields.get("x-sent", ""), seen.path))
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


class PathBackend(Backend):
    """A backend that keeps the number that we gave each request, and its path exactly as received."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.received: list[tuple[str, str]] = []


class Result(NamedTuple):
    """What became of the targets that were *sent*, by their number."""

    detour: Detour
    sent: dict[str, str]
    verdicts: Counter[str]
    received: list[tuple[str, str]]
    statuses: Counter[int]

    def missing(self) -> dict[str, str]:
        """Return the targets that did not reach the backend."""
        arrived = {number for number, _ in self.received}
        return {number: target for number, target in self.sent.items() if number not in arrived}

    def outside(self) -> list[tuple[str, str]]:
        """Return the targets, and how the backend received them, that it may take for an unlisted path."""
        return [
            (self.sent.get(number, "nothing"), path)
            for number, path in self.received
            if not all(map(is_listed, readings(path)))
        ]

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        sent, decided, ordinary = len(self.sent), self.verdicts.total(), self._ordinary(self.sent)
        allowed, wrong = self.verdicts["allowed"], self.verdicts["wrong_path"]
        numbers = (sent, sent - decided, wrong, decided - allowed - wrong, allowed, ordinary)
        missing = self.missing()
        other_case = sum(is_ordinary(target.lower(), self.detour.sent) for target in missing.values())
        counts = (*numbers, self._ordinary(missing), other_case, len(self.outside()))
        return self.detour.name, *(f"{number:,}" for number in counts)

    def broken(self) -> Iterator[str]:
        """Yield a sentence for each broken promise."""
        allowed, name = self.verdicts["allowed"], self.detour.name
        for target, path in self.outside()[:10]:
            yield f"{name}: {target!r} reached the backend as {path!r}"
        for target in [text for text in self.missing().values() if is_ordinary(text, self.detour.sent)][:10]:
            yield f"{name}: {target!r} did not reach the backend"
        if len(self.received) > allowed:
            yield f"{name}: {len(self.received)} requests reached the backend, but {allowed} were allowed"
        if errors := {status: count for status, count in self.statuses.items() if status >= 500}:
            yield f"{name}: answered {errors}"
        if not (self._ordinary(self.sent) and self.verdicts["wrong_path"]):
            yield f"{name}: nothing was allowed or nothing refused, which proves nothing"

    def _ordinary(self, targets: Mapping[str, str]) -> int:
        return sum(is_ordinary(target, self.detour.sent) for target in targets.values())


def try_out(detour: Detour, service: Gunicorn, count: int) -> Result:
    """Send *count* targets through a proxy with a token for LISTED."""
    sent = {str(number): text for number, text in enumerate(spellings(HOST, count, detour.sent))}
    token = service.issue(HOST, paths=" ".join(f"{detour.listed}{path}" for path in LISTED))
    with PathBackend() as backend, detour.kind(service.port, backend.port, detour.change) as proxy:
        before = verdicts(service)
        statuses = _send(proxy.port, token, sent)
    return Result(detour, sent, verdicts(service) - before, backend.received, statuses)


def _send(port: int, token: str, sent: Mapping[str, str]) -> Counter[int]:
    """Send the targets over several connections, those that may end one apart; return the statuses."""
    requests = (_request(number, target, token) for number, target in sent.items())
    return send_each([port] * _CLIENTS, [requests] * _CLIENTS).statuses


def _request(number: str, target: str, token: str) -> Request:
    headers = [("Host", HOST), ("X-Sent", number), *bearer(token), *_FORGED]
    return Request(number, encoded(target, headers), is_odd=not re.fullmatch("[!-~]+", target))


def verdicts(service: Gunicorn) -> Counter[str]:
    """Return how many decisions there were, by verdict."""
    found = re.findall(
        r'^acl_auth_decisions_total\{verdict="(\w+)"\} (\d+)', service.page("/metrics").text, re.MULTILINE
    )
    return Counter({verdict: int(number) for verdict, number in found})


def tables(quick: bool) -> list[Table]:  # noqa: FBT001 - a flag of the command line
    """Send all spellings through each proxy."""
    table = Table(f"Spellings of paths, with a token for {', '.join(LISTED)}", COLUMNS)
    with RedisServer() as redis, Gunicorn(redis.port, rate_limit_max=0, log_level="warning") as service:
        for count, detours in ((COUNT, PLAIN), (COUNT_DETOUR, DETOURS)):
            for detour in detours:
                print(detour.name, file=sys.stderr, flush=True)
                result = try_out(detour, service, COUNT_QUICK if quick else count)
                table.rows.append(result.cells())
                table.failures.extend(result.broken())
    return [table]
