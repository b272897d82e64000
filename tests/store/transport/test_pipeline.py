"""Shared round trips: each caller gets its own reply, whatever happens to the others.

A pipeline needs a gevent worker, so each drill runs in its own process with patched sockets.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from devkit.redis_server import RedisServer

ROOT = Path(__file__).parents[3]
SETUP = """
from gevent import monkey; monkey.patch_all()
import os, random, signal, sys, gevent, redis
from app.store.transport.connection import connect, open_pipeline
from app.store.transport.pipeline import Pipeline
from devkit import process
from devkit.builders import make_settings

port = int(sys.argv[1])
control = redis.Redis(port=port)
client = connect(make_settings(REDIS_PORT=port, REDIS_DEADLINE_MS=5000), concurrent=True)
pipeline = open_pipeline(client, drain_s=60)
ECHO = "return {KEYS[1], ARGV[1]}"

def ask(number, script=ECHO, deadline_s=60):
    with gevent.Timeout(deadline_s):
        return pipeline.eval(script, 1, f"key:{number}", number)

def own(number):
    return [f"key:{number}".encode(), str(number).encode()]

def stop(): process.stop([int(sys.argv[2])])
def resume(): os.kill(int(sys.argv[2]), signal.SIGCONT)
"""


def drill(server: RedisServer, *texts: str) -> str:
    """Run the code in *texts* in a process with patched sockets; return what it prints."""
    program = "".join(map(dedent, (SETUP, *texts)))
    try:
        ran = subprocess.run(
            [sys.executable, "-c", program, str(server.port), str(server.pid)],
            cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
    finally:
        server.resume()
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_many_callers_share_a_connection(redis_server: RedisServer) -> None:
    """A thousand concurrent callers share one connection, and each gets its own reply."""
    printed = drill(
        redis_server,
        """
        before = control.info("stats")["total_connections_received"]
        jobs = [gevent.spawn(ask, n) for n in range(1000)]
        gevent.joinall(jobs)
        assert [job.value for job in jobs] == [own(n) for n in range(1000)]
        print(control.info("stats")["total_connections_received"] - before)
        """,
    )
    assert printed == "1"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("return {1, 'a', false, {2, ''}, redis.status_reply('OK')}", "[1, b'a', None, [2, b''], b'OK']"),
        ("return redis.error_reply('ERR no')", "ResponseError"),
        ("return string.rep('x', 300000)", "b'" + "x" * 300_000),
    ],
)
def test_replies(redis_server: RedisServer, reply: str, expected: str) -> None:
    """Every type of reply is read completely, an error is raised, and the connection stays usable."""
    printed = drill(
        redis_server,
        f"""
        try:
            print(ask(1, {reply!r}))
        except redis.ResponseError as error:
            print(type(error).__name__)
        assert ask(2) == own(2)
        """,
    )
    assert printed.startswith(expected)


def test_unknown_script(redis_server: RedisServer) -> None:
    """A script that Redis does not have cached raises NoScriptError."""
    printed = drill(
        redis_server,
        """
        try:
            pipeline.evalsha("f" * 40, 0)
        except redis.exceptions.NoScriptError as error:
            print("NOSCRIPT" in str(error))
        """,
    )
    assert printed == "True"


def test_lost_connection(redis_server: RedisServer) -> None:
    """A lost connection fails the commands in progress, and the next caller gets a new connection."""
    printed = drill(
        redis_server,
        """
        ask(1)
        stop()
        waiting = gevent.spawn(ask, 2)
        gevent.sleep(0.02)
        pipeline._connection._socket.shutdown(2)
        try:
            waiting.get()
        except redis.ConnectionError:
            print("failed")
        resume()
        assert ask(3) == own(3)
        """,
    )
    assert printed == "failed"


def test_failed_connect_fails_all_waiting_callers(redis_server: RedisServer) -> None:
    """Callers that wait for a connection fail together instead of each trying to connect."""
    printed = drill(
        redis_server,
        """
        from gevent.event import Event
        tried, all_wait = [], Event()

        class Refused:
            def connect(self):
                tried.append(1)
                all_wait.wait()
                raise redis.ConnectionError("refused")

        pipeline = Pipeline(Refused, drain_s=0.3)
        jobs = [gevent.spawn(ask, n, deadline_s=10) for n in range(100)]
        gevent.sleep(0)
        all_wait.set()
        gevent.joinall(jobs)
        print(len(tried), {type(job.exception).__name__ for job in jobs})
        """,
    )
    assert printed == "1 {'ConnectionError'}"


SLOW = """
from gevent.event import Event
tried, may_connect = [], Event()
pool = client.connection_pool

class Slow(pool.connection_class):
    def connect(self):
        tried.append(1)
        may_connect.wait()
        super().connect()

def slow():
    return Slow(**pool.connection_kwargs)
"""


def test_connecting_outlives_its_callers(redis_server: RedisServer) -> None:
    """A caller that misses its deadline leaves the one attempt to connect running for later callers."""
    printed = drill(
        redis_server,
        SLOW,
        """
        pipeline = Pipeline(slow, drain_s=0.3)
        hasty = [gevent.spawn(ask, n, deadline_s=0.02) for n in range(3)]
        gevent.joinall(hasty)
        patient = gevent.spawn(ask, 4, deadline_s=10)
        gevent.sleep(0)
        may_connect.set()
        assert patient.get() == own(4)
        print(len(tried), {type(job.exception).__name__ for job in hasty})
        """,
    )
    assert printed == "1 {'StillConnectingError'}"


def test_late_connection_stays_in_use(redis_server: RedisServer) -> None:
    """A connection on which a deadline was missed stays in use until another one is connected."""
    printed = drill(
        redis_server,
        SLOW,
        """
        ask(1)
        late, pipeline._make_connection = pipeline._connection, slow
        control.execute_command("CLIENT", "PAUSE", 10_000, "WRITE")
        hasty = gevent.spawn(ask, 2, deadline_s=0.05)
        hasty.join()
        control.execute_command("CLIENT", "UNPAUSE")
        assert ask(3, deadline_s=10) == own(3)
        print(tried, pipeline._connection is late)
        may_connect.set()
        while pipeline._connection is late:
            gevent.sleep(0.01)
        assert ask(4, deadline_s=10) == own(4)
        """,
    )
    assert printed == "[1] True"


def test_missed_deadline_affects_one_caller(redis_server: RedisServer) -> None:
    """When a caller misses its deadline, the others keep their positions; new ones get a new connection."""
    printed = drill(
        redis_server,
        """
        ask(1)
        stop()
        hasty = gevent.spawn(ask, 2, deadline_s=0.05)
        patient = gevent.spawn(ask, 3)
        hasty.join()
        print(type(hasty.exception).__name__)
        later = gevent.spawn(ask, 4)
        gevent.sleep(0.02)
        resume()
        assert (patient.get(), later.get()) == (own(3), own(4))
        """,
    )
    assert printed == "Timeout"


def test_many_callers_share_failed_attempts(redis_server: RedisServer) -> None:
    """While the port is closed, 500 callers make few attempts to connect, and all fail at once."""
    printed = drill(
        redis_server,
        """
        attempts = []
        closed = connect(make_settings(REDIS_PORT=1), concurrent=True)

        class Counted(redis.Connection):
            def connect(self):
                attempts.append(1)
                super().connect()

        closed.connection_pool.connection_class = Counted
        pipeline = open_pipeline(closed, drain_s=0.3)
        jobs = [gevent.spawn(ask, n) for n in range(500)]
        gevent.joinall(jobs)
        assert {type(job.exception) for job in jobs} == {redis.ConnectionError}
        print(len(attempts) < 100)
        """,
    )
    assert printed == "True"


def test_random_kills_and_missed_deadlines(redis_server: RedisServer) -> None:
    """Under random kills, deadlines and lost connections no caller gets the reply to another."""
    printed = drill(
        redis_server,
        """
        from collections import Counter
        random.seed(7)
        pipeline = open_pipeline(client, drain_s=0.3)
        seen, keys = Counter(), iter(range(10**9))

        def caller():
            while True:
                key = next(keys)
                try:
                    reply = ask(key, deadline_s=random.choice([0.0005, 0.002, 0.02, 1]))
                except (gevent.Timeout, redis.ConnectionError) as error:
                    seen["late" if isinstance(error, gevent.Timeout) else "lost"] += 1
                    gevent.sleep(0.05)
                else:
                    seen["own" if reply == own(key) else "mixed up"] += 1

        jobs = [gevent.spawn(caller) for _ in range(400)]
        while min(seen[what] for what in ("own", "late", "lost")) < 1000 or seen["killed"] < 100:
            gevent.sleep(0.01)
            place = random.randrange(len(jobs))
            jobs[place].kill(block=False)
            jobs[place] = gevent.spawn(caller)
            seen["killed"] += 1
            if random.random() < 0.1 and pipeline._connection:
                control.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        print(seen["mixed up"])
        """,
    )
    assert printed == "0"
