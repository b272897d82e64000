"""Faults in which Redis refuses writes: failing snapshots, full memory, and replicas."""

from __future__ import annotations

from collections.abc import Iterator

from chaos.stage import UNAVAILABLE, Stage
from devkit.redis_server import RedisServer
from devkit.service import record_key
from devkit.waiting import until

SYNC_AT_ONCE = ("--repl-diskless-sync-delay", "0")
SPARE = "spare"


def issue_spare(stage: Stage) -> None:
    """Create a second token, which is deleted during the fault."""
    stage.kept[SPARE] = stage.service.issue("a.test")


def fail_snapshots(stage: Stage) -> None:
    """Make snapshots fail, as on a full disk, so that Redis refuses writes."""
    (stage.redis.dir / "dump.rdb").mkdir()  # because a file cannot replace a directory
    stage.client.config_set("save", "3600 1000000")
    _snapshot(stage, "err")


def repair_snapshots(stage: Stage) -> None:
    """Make snapshots succeed again."""
    (stage.redis.dir / "dump.rdb").rmdir()
    _snapshot(stage, "ok")


def _snapshot(stage: Stage, outcome: str) -> None:
    stage.client.bgsave()
    until(lambda: stage.client.info("persistence")["rdb_last_bgsave_status"] == outcome)


def create_and_delete(stage: Stage) -> Iterator[str]:
    """Check that a full Redis stores no part of a new token, and still deletes one."""
    before = stage.client.dbsize()
    created = stage.service.post("/create_token", hosts="a.test").status
    left = stage.client.dbsize() - before
    yield f"create: {created}, {left} keys left"
    if created != UNAVAILABLE or left:
        yield "!a token was created, or left in part"
    deleted = stage.service.post("/delete_token", token=stage.kept[SPARE]).status
    is_gone = not stage.client.exists(record_key(stage.kept[SPARE]))
    yield f"delete: {deleted}, the token is {'gone' if is_gone else 'there'}"
    if not is_gone:
        yield "!a token could not be revoked"


def delete_without_success(stage: Stage) -> Iterator[str]:
    """Check that the operator is not told that a token was deleted while Redis still has it."""
    deleted = stage.service.post("/delete_token", token=stage.kept[SPARE]).status
    is_gone = not stage.client.exists(record_key(stage.kept[SPARE]))
    yield f"delete: {deleted}, the token is {'gone' if is_gone else 'there'}"
    if not is_gone and deleted != UNAVAILABLE:
        yield "!the operator was not told that the token is still there"


def make_replica(stage: Stage) -> None:
    """Start a replica of Redis."""
    issue_spare(stage)
    other = stage.stack.enter_context(RedisServer(options=SYNC_AT_ONCE))
    other.client().replicaof("127.0.0.1", stage.redis.port)
    _until_in_sync(other)
    stage.kept["other"] = other


def change_roles(stage: Stage) -> None:
    """Promote the replica, and make the Redis of the service its replica."""
    other = stage.kept["other"]
    other.client().replicaof("NO", "ONE")
    stage.command(f"REPLICAOF 127.0.0.1 {other.port}")


def change_back(stage: Stage) -> None:
    """Promote the first Redis again, once it is in sync with the other."""
    _until_in_sync(stage.redis)
    stage.command("REPLICAOF NO ONE")


def _until_in_sync(replica: RedisServer) -> None:
    until(lambda: replica.client().info("replication").get("master_link_status") == "up")


def delete_on_the_primary(stage: Stage) -> Iterator[str]:
    """Check that a token that is deleted on the new primary is not allowed by the old one."""
    stage.kept["other"].client().delete(record_key(stage.kept[SPARE]))
    yield from _revoked(stage, UNAVAILABLE)


def check_deleted(stage: Stage) -> Iterator[str]:
    """Check that it is not allowed afterwards either."""
    yield from _revoked(stage, 401)


def _revoked(stage: Stage, expected: int) -> Iterator[str]:
    statuses = {stage.service.auth(stage.kept[SPARE]).status for _ in range(20)}
    yield f"token deleted on the new primary: {', '.join(map(str, statuses))}"
    if statuses != {expected}:
        yield f"!a deleted token got another answer than {expected}"
