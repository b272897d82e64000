"""The peers of the benchmarks do what they are measured for."""

from __future__ import annotations

import pytest

from benchmarks import contract
from benchmarks.lineup import BOUND, CONTENDERS, FASTAPI, FLASK, NGINX_LUA

pytestmark = pytest.mark.e2e

# CI has only what the other tests need. The Go peers take too long to build; `make bench` checks them too.
INSTALLED = [name for name in (FLASK, FASTAPI, NGINX_LUA) if not CONTENDERS[name].missing()]


@pytest.mark.parametrize("name", INSTALLED)
def test_contract(name: str) -> None:
    """A peer refuses, limits and fails closed as the service does."""
    assert contract.problems(CONTENDERS[name]) == []


def test_open_door() -> None:
    """A contender that allows every request is found out in all cases that refuse."""
    found = {problem.partition(":")[0] for problem in contract.problems(CONTENDERS[BOUND])}

    refused = {"no token", "another scheme", "an unknown token", "another host"}
    assert found == refused | {"one request too many", "no Redis"}
