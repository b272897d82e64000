"""Shared round trips: each caller gets its own reply, whatever happens to the others.

A pipeline needs a gevent worker, so each drill runs in its own process with patched sockets.
"""

from __future__ import annotations

import pytest

from devkit.process import run_module
from devkit.redis_server import RedisServer


def drill(module: str, name: str, server: RedisServer, *arguments: str) -> str:
    """Run a drill of devkit.drills against *server* and return what it prints."""
    try:
        return run_module(f"devkit.drills.{module}", name, server.port, server.pid, *arguments)
    finally:
        server.resume()


def test_many_callers_share_a_connection(redis_server: RedisServer) -> None:
    """A thousand concurrent callers share one connection, and each gets its own reply."""
    assert drill("pipeline", "share", redis_server) == "1"


def test_full_buffers(redis_server: RedisServer) -> None:
    """Commands that the kernel has no room for are sent when it has, in their order."""
    assert drill("pipeline", "backlog", redis_server) == "40"


def test_round_trips(redis_server: RedisServer) -> None:
    """Every command that is answered is observed once, with the duration of its round trip."""
    assert drill("pipeline", "observed", redis_server) == "302"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("return {1, 'a', false, {2, ''}, redis.status_reply('OK')}", "[1, b'a', None, [2, b''], b'OK']"),
        ("return redis.error_reply('ERR no')", "ResponseError"),
        ("return string.rep('x', 300000)", "b'" + "x" * 300_000),
    ],
)
def test_replies(redis_server: RedisServer, script: str, expected: str) -> None:
    """Every type of reply is read completely, an error is raised, and the connection stays usable."""
    assert drill("pipeline", "reply", redis_server, script).startswith(expected)


def test_unknown_script(redis_server: RedisServer) -> None:
    """A script that Redis has not loaded is distinguished from other errors."""
    assert "NOSCRIPT" in drill("pipeline", "unknown_script", redis_server)


def test_lost_connection(redis_server: RedisServer) -> None:
    """A lost connection fails the commands in progress, and the next caller gets a new one."""
    assert drill("connections", "lost_connection", redis_server) == "ConnectionError"


def test_failed_connection(redis_server: RedisServer) -> None:
    """Callers that wait for a connection all fail with it, rather than retry one after another."""
    assert drill("connections", "failed_connection", redis_server) == "1 ConnectionError"


def test_slow_connection(redis_server: RedisServer) -> None:
    """The one attempt to connect outlives the callers that cannot wait, and serves those that can."""
    assert drill("connections", "slow_connection", redis_server) == "1 StillConnectingError"


def test_late_connection(redis_server: RedisServer) -> None:
    """A connection that missed a deadline stays in use until another one is open."""
    assert drill("connections", "late_connection", redis_server) == "1 True"


def test_slow_reply_harms_no_other_caller(redis_server: RedisServer) -> None:
    """A caller that gives up does not affect the replies of the callers behind it or of new ones."""
    assert drill("pipeline", "slow_answer", redis_server) == "Timeout"


def test_nothing_listens(redis_server: RedisServer) -> None:
    """While nothing listens, many callers share few attempts to connect, and all fail at once."""
    assert int(drill("connections", "nothing_listens", redis_server)) < 100


def test_kills_and_timeouts(redis_server: RedisServer) -> None:
    """Under random kills, deadlines and lost connections no caller ever gets another's reply."""
    assert drill("pipeline", "chaos", redis_server) == "0"
