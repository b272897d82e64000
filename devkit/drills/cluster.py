"""`python -m devkit.drills.cluster URL`: two thousand simultaneous decisions in all slots of a Cluster."""

# ruff: noqa: E402 - patched before anything imports redis
from gevent import monkey

monkey.patch_all()

import sys
from typing import Any

import gevent

from app.store.transport.connection import connect, open_pipeline
from app.store.transport.scripts import Script
from devkit.builders import make_settings


def main() -> None:
    """Check that each decision gets its own reply."""
    pipeline: Any = open_pipeline(
        connect(make_settings(REDIS_URL=sys.argv[1], REDIS_DEADLINE_MS=5000), concurrent=True), drain_s=60
    )
    assert pipeline._pipelines == {}
    take = Script("take")

    def is_answered(number: int) -> bool:
        names = [
            f"tokens:{number:064x}",
            f"{{tokens:{number:064x}}}:window",
            f"{{tokens:{number:064x}}}:usage",
        ]
        reply: list[bytes] = take.run(pipeline, names, [100, 60, "call"])
        return reply == [names[0].encode(), b"unknown_token", b"call"]

    jobs = [gevent.spawn(is_answered, number) for number in range(2000)]
    gevent.joinall(jobs, raise_error=True)
    assert all(job.value for job in jobs)


if __name__ == "__main__":
    main()
