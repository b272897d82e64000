"""`python -m devkit.drills.connections NAME PORT PID`: a pipeline whose connection fails or is late."""

# ruff: noqa: E402 - patched before anything imports redis
from gevent import monkey

monkey.patch_all()

from typing import Any

import gevent
import redis
from gevent.event import Event

from app.store.transport.connection import connect, open_pipeline
from app.store.transport.pipeline import Pipeline
from devkit.builders import make_settings
from devkit.drills.worker import Worker, errors, main, reply_to


def lost_connection(worker: Worker) -> str:
    """Cut the connection under a caller that waits, and go on with the next one."""
    worker.call(1)
    worker.stop_server()
    waiting = gevent.spawn(worker.call, 2)
    gevent.sleep(0.02)
    worker.pipeline._connection._socket.shutdown(2)
    waiting.join()
    worker.resume_server()
    assert worker.call(3) == reply_to(3)
    return type(waiting.exception).__name__


def failed_connection(worker: Worker) -> str:
    """Refuse the connection that a hundred callers wait for; return the attempts and the errors."""
    attempts, all_wait = [], Event()

    class Refused:
        def connect(self) -> None:
            attempts.append(1)
            all_wait.wait()
            raise redis.ConnectionError("refused")

    worker.pipeline = Pipeline(Refused, drain_s=0.3)
    jobs = [gevent.spawn(worker.call, number, deadline_s=10) for number in range(100)]
    gevent.sleep(0)
    all_wait.set()
    gevent.joinall(jobs)
    return f"{len(attempts)} {errors(jobs)}"


class Slow:
    """Connections that wait for *may_connect* before they connect."""

    def __init__(self, worker: Worker) -> None:
        self.attempts = 0
        self.may_connect = Event()
        self._pool = worker.client.connection_pool

    def __call__(self) -> Any:
        """Return a new connection."""
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        connect_now = connection.connect

        def connect_later() -> None:
            self.attempts += 1
            self.may_connect.wait()
            connect_now()

        connection.connect = connect_later
        return connection


def slow_connection(worker: Worker) -> str:
    """Connect too slowly for three callers and fast enough for one; return the attempts and the errors."""
    slow = Slow(worker)
    worker.pipeline = Pipeline(slow, drain_s=0.3)
    hasty = [gevent.spawn(worker.call, number, deadline_s=0.02) for number in range(3)]
    gevent.joinall(hasty)
    patient = gevent.spawn(worker.call, 4, deadline_s=10)
    gevent.sleep(0)
    slow.may_connect.set()
    assert patient.get() == reply_to(4)
    return f"{slow.attempts} {errors(hasty)}"


def late_connection(worker: Worker) -> str:
    """Return the attempts, and whether the late connection still serves, before its successor connects."""
    slow, pipeline = Slow(worker), worker.pipeline
    worker.call(1)
    late, pipeline._make_connection = pipeline._connection, slow
    worker.control.execute_command("CLIENT", "PAUSE", 10_000, "WRITE")
    hasty = gevent.spawn(worker.call, 2, deadline_s=0.05)
    hasty.join()
    worker.control.execute_command("CLIENT", "UNPAUSE")
    assert worker.call(3, deadline_s=10) == reply_to(3)
    seen = f"{slow.attempts} {pipeline._connection is late}"
    slow.may_connect.set()
    while pipeline._connection is late:
        gevent.sleep(0.01)
    assert worker.call(4, deadline_s=10) == reply_to(4)
    return seen


def nothing_listens(worker: Worker) -> int:
    """Return how many attempts five hundred callers make while nothing listens."""
    attempts = []
    client: Any = connect(make_settings(REDIS_PORT=1), concurrent=True)

    class Counted(redis.Connection):
        def connect(self) -> None:
            attempts.append(1)
            super().connect()  # type: ignore[no-untyped-call]

    client.connection_pool.connection_class = Counted
    worker.pipeline = open_pipeline(client, drain_s=0.3)
    jobs = [gevent.spawn(worker.call, number) for number in range(500)]
    gevent.joinall(jobs)
    assert {type(job.exception) for job in jobs} == {redis.ConnectionError}
    return len(attempts)


if __name__ == "__main__":
    main(lost_connection, failed_connection, slow_connection, late_connection, nothing_listens)
