"""The whole gate compared with a model, on real servers whose clock is set to the microsecond.

``make chaos ARGS=model`` takes 10 000 steps on each server.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from devkit.clock import StoppedClock
from devkit.gate_model import RESPONSES
from devkit.gate_walk import walk

pytestmark = pytest.mark.server
STEPS, STEPS_IN_CLUSTER = 1500, 700  # where a rotation takes thousands of attempts


@pytest.fixture(name="clock")
def _clock() -> Iterator[StoppedClock]:
    with StoppedClock() as clock:
        yield clock


def test_one_server(clock: StoppedClock) -> None:
    """After any changes of any tokens, at any time, every request gets the answer of the model."""
    with clock.server() as server, redis.Redis(port=server.port, protocol=2) as client:
        assert walk(client, clock, STEPS).keys() == RESPONSES.keys()


def test_cluster(clock: StoppedClock) -> None:
    """In a Cluster it does too."""
    with clock.nodes() as nodes:
        assert walk(nodes.client(), clock, STEPS_IN_CLUSTER).keys() == RESPONSES.keys()
