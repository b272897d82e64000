"""`python -m devkit.drills.pipeline NAME PORT PID …`: callers that share the connection of a pipeline."""

# ruff: noqa: E402 - patched before anything imports redis
from gevent import monkey

monkey.patch_all()

import random
from collections import Counter
from functools import partial
from typing import Any

import gevent
import redis

from app.store.transport.connection import open_pipeline
from devkit.drills.worker import Worker, main, reply_to


def share(worker: Worker) -> int:
    """Return how many connections a thousand simultaneous callers open."""
    before = worker.control.info("stats")["total_connections_received"]
    jobs = [gevent.spawn(worker.call, number) for number in range(1000)]
    gevent.joinall(jobs)
    assert [job.value for job in jobs] == [reply_to(number) for number in range(1000)]
    return int(worker.control.info("stats")["total_connections_received"] - before)


def backlog(worker: Worker) -> int:
    """Return how many callers get their own replies to commands that no socket's buffer has room for."""
    worker.call(0)
    worker.stop_server()
    texts = [f"{number:02}" * 500_000 for number in range(40)]
    jobs = [gevent.spawn(worker.pipeline.execute_command, "ECHO", text) for text in texts]
    gevent.sleep(0.2)
    assert worker.pipeline._connection._unsent
    worker.resume_server()
    gevent.joinall(jobs)
    return sum(job.value == text.encode() for job, text in zip(jobs, texts, strict=True))


def observed(worker: Worker) -> int:
    """Return how many round trips are observed: one for each command that is answered, however late."""
    seen: list[tuple[float, int]] = []
    worker.pipeline = open_pipeline(worker.client, 60, lambda *observed: seen.append(observed))
    gevent.joinall([gevent.spawn(worker.call, number) for number in range(300)])
    worker.stop_server()
    gevent.spawn(worker.call, 300, deadline_s=0.05).join()
    assert worker.pipeline.waiting == 1
    worker.resume_server()
    worker.call(301)
    while sum(commands for _, commands in seen) < 302:
        gevent.sleep(0.01)
    assert worker.pipeline.waiting == 0
    assert min(seen)[0] > 0
    assert max(seen)[0] > 0.05
    return sum(commands for _, commands in seen)


def reply(worker: Worker, script: str) -> object:
    """Return the reply of *script*, or the name of its error."""
    try:
        received = worker.call(1, script)
    except redis.ResponseError as error:
        received = type(error).__name__
    assert worker.call(2) == reply_to(2)
    return received


def unknown_script(worker: Worker) -> str:
    """Return what a script is refused with that Redis has not loaded."""
    try:
        worker.pipeline.evalsha("f" * 40, 0)
    except redis.exceptions.NoScriptError as error:
        return str(error)
    return ""


def slow_answer(worker: Worker) -> str:
    """Let the deadline of one caller pass; those before and behind it get their replies."""
    worker.call(1)
    worker.stop_server()
    hasty = gevent.spawn(worker.call, 2, deadline_s=0.05)
    patient = gevent.spawn(worker.call, 3)
    hasty.join()
    later = gevent.spawn(worker.call, 4)
    gevent.sleep(0.02)
    worker.resume_server()
    assert (patient.get(), later.get()) == (reply_to(3), reply_to(4))
    return type(hasty.exception).__name__


def chaos(worker: Worker) -> int:
    """Kill callers and connections at random, with short deadlines; return how many replies were mixed up."""
    random.seed(7)
    worker.pipeline = open_pipeline(worker.client, drain_s=0.3)
    seen, spawn = Counter[str](), partial(gevent.spawn, _call_on, worker, iter(range(10**9)))
    jobs = [spawn(seen) for _ in range(400)]
    while min(seen[what] for what in ("own", "late", "lost")) < 1000 or seen["killed"] < 100:
        gevent.sleep(0.01)
        place = random.randrange(len(jobs))
        jobs[place].kill(block=False)
        jobs[place] = spawn(seen)
        seen["killed"] += 1
        if random.random() < 0.1 and worker.pipeline._connection:
            worker.control.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    return seen["mixed up"]


def _call_on(worker: Worker, numbers: Any, seen: Counter[str]) -> None:
    while True:
        number = next(numbers)
        try:
            received = worker.call(number, deadline_s=random.choice([0.0005, 0.002, 0.02, 1]))
        except (gevent.Timeout, redis.ConnectionError) as error:
            seen["late" if isinstance(error, gevent.Timeout) else "lost"] += 1
            gevent.sleep(0.05)
        else:
            seen["own" if received == reply_to(number) else "mixed up"] += 1


if __name__ == "__main__":
    main(share, backlog, observed, reply, unknown_script, slow_answer, chaos)
