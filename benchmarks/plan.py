"""Which contenders are measured how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.lineup import BOUND, CONTENDERS, FASTAPI, GO_POOL, NGINX_LUA, SERVICE
from benchmarks.proxies import OTHERS, TRAEFIK
from benchmarks.wrk import Mode


@dataclass(frozen=True)
class Row:
    """A way to send requests, and the number of workers that answer them."""

    mode: Mode
    workers: int = 1

    @property
    def name(self) -> str:
        """Return its name on the command line."""
        return self.mode.name + (f"-workers-{self.workers}" if self.workers > 1 else "")

    @property
    def title(self) -> str:
        """Return its title in the tables."""
        return self.mode.title + (f", {self.workers} workers" if self.workers > 1 else "")


Plan = Mapping[Row, Sequence[str]]

_CONNECTIONS = (1, 32, 256)
ALONE, KEPT, _ = _KEPT = [Row(Mode(count)) for count in _CONNECTIONS]
_, NEW, _ = _NEW = [Row(Mode(count, keep_alive=False)) for count in _CONNECTIONS]
_, BEHIND, _ = _BEHIND = [Row(Mode(count, TRAEFIK)) for count in _CONNECTIONS]
BEHIND_OTHERS = {kind: Row(Mode(32, kind)) for kind in OTHERS}

EVERYONE = tuple(CONTENDERS)
ANCHORS = (SERVICE, NGINX_LUA, GO_POOL, FASTAPI, BOUND)
_MAIN = (KEPT, NEW, BEHIND)
_TWO = [Row(row.mode, 2) for row in _MAIN]

FULL: Plan = {
    row: EVERYONE if row in _MAIN else ANCHORS
    for row in (*_KEPT, *_NEW, *_BEHIND, *BEHIND_OTHERS.values(), *_TWO)
}
QUICK: Plan = {
    ALONE: ANCHORS,
    **dict.fromkeys(_MAIN, EVERYONE),
    **dict.fromkeys(BEHIND_OTHERS.values(), (SERVICE,)),
}
# The others have no target, and take a second each.
LONGER = {ALONE, *_MAIN, *BEHIND_OTHERS.values(), _KEPT[-1], _NEW[-1], _BEHIND[-1]}


def chosen(plan: Plan, names: Sequence[str]) -> Plan:
    """Return the rows with these names."""
    return {row: who for row, who in plan.items() if row.name in names}
