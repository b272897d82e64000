"""How faults are made and mended, for those that take more than a word."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import redis

from chaos.load import auth
from chaos.stage import UNAVAILABLE, Act, Stage
from devkit.redis_server import RedisServer
from devkit.service import record_key

SYNC_AT_ONCE = ("--repl-diskless-sync-delay", "0")
SPARE = "spare"
_LOADED_KEYS = 20_000
_FLUSH_PERIOD_S = 0.05


def commands(*texts: str) -> Act:
    """Return the act of giving Redis these commands."""
    return lambda stage: [stage.command(text) for text in texts]


def cut_clients(stage: Stage) -> None:
    """End all connections to Redis but the operator's."""
    stage.command("CLIENT KILL TYPE normal SKIPME yes")


def until_up(stage: Stage) -> None:
    """Wait until Redis answers."""
    stage.redis.wait_ready()


def pause_clients(stage: Stage) -> None:
    """Have Redis postpone all commands a little longer than the fault lasts."""
    stage.command(f"CLIENT PAUSE {stage.during_s * 1000 + 200:.0f} ALL")


def issue_spare(stage: Stage) -> None:
    """Make a second token, to be deleted amid the fault."""
    stage.kept[SPARE] = stage.service.issue("a.test")


# ---- Redis that takes no writes ----


def fail_snapshots(stage: Stage) -> None:
    """Let snapshots fail, as on a full disk, whereupon Redis takes no more writes."""
    (stage.redis.dir / "dump.rdb").mkdir()  # which no file can replace
    stage.client.config_set("save", "3600 1000000")
    _snapshot(stage, "err")


def mend_snapshots(stage: Stage) -> None:
    """Let snapshots succeed again."""
    (stage.redis.dir / "dump.rdb").rmdir()
    _snapshot(stage, "ok")


def _snapshot(stage: Stage, outcome: str) -> None:
    stage.client.bgsave()
    while stage.client.info("persistence")["rdb_last_bgsave_status"] != outcome:
        time.sleep(0.01)


def tries_to_create_and_delete(stage: Stage) -> Iterator[str]:
    """See that a full Redis keeps no new token, not even half of one, and forgets one when asked to."""
    before = stage.client.dbsize()
    created = stage.service.post("/create_token", hosts="a.test").status
    left = stage.client.dbsize() - before
    yield f"create: {created}, {left} keys left"
    if created != UNAVAILABLE or left:
        yield "!a token was created or left half-made"
    deleted = stage.service.post("/delete_token", token=stage.kept[SPARE]).status
    is_gone = not stage.client.exists(record_key(stage.kept[SPARE]))
    yield f"delete: {deleted}, the token is {'gone' if is_gone else 'there'}"
    if not is_gone:
        yield "!a token could not be revoked"


def tries_to_delete_in_vain(stage: Stage) -> Iterator[str]:
    """See that nobody is told that a token was deleted while Redis keeps it."""
    deleted = stage.service.post("/delete_token", token=stage.kept[SPARE]).status
    is_gone = not stage.client.exists(record_key(stage.kept[SPARE]))
    yield f"delete: {deleted}, the token is {'gone' if is_gone else 'there'}"
    if not is_gone and deleted != UNAVAILABLE:
        yield "!the operator was not told that the token is still there"


# ---- fail-over ----


def make_replica(stage: Stage) -> None:
    """Start another Redis that follows the first one."""
    issue_spare(stage)
    other = stage.stack.enter_context(RedisServer(options=SYNC_AT_ONCE))
    other.client().replicaof("127.0.0.1", stage.redis.port)
    _until_followed(other)
    stage.kept["other"] = other


def change_roles(stage: Stage) -> None:
    """Make the other Redis the primary, and the one that the service asks its replica."""
    other = stage.kept["other"]
    other.client().replicaof("NO", "ONE")
    stage.command(f"REPLICAOF 127.0.0.1 {other.port}")


def change_back(stage: Stage) -> None:
    """Make the first Redis the primary again, once it has what happened at the other."""
    _until_followed(stage.redis)
    stage.command("REPLICAOF NO ONE")


def _until_followed(replica: RedisServer) -> None:
    while replica.client().info("replication").get("master_link_status") != "up":
        time.sleep(0.01)


def deletes_on_the_primary(stage: Stage) -> Iterator[str]:
    """See that what is deleted on the new primary is not let in by the old one."""
    stage.kept["other"].client().delete(record_key(stage.kept[SPARE]))
    yield from _revoked(stage, UNAVAILABLE)


def stays_deleted(stage: Stage) -> Iterator[str]:
    """See that it is not let in afterwards either."""
    yield from _revoked(stage, 401)


def _revoked(stage: Stage, expected: int) -> Iterator[str]:
    statuses = {stage.service.auth(stage.kept[SPARE]).status for _ in range(20)}
    yield f"token deleted on the new primary: {', '.join(map(str, statuses))}"
    if statuses != {expected}:
        yield "!a deleted token was let in, or answered for"


# ---- Redis that is busy ----


def fill(stage: Stage) -> None:
    """Write so many keys that loading them takes a while."""
    pipe = stage.client.pipeline(transaction=False)
    for number in range(_LOADED_KEYS):
        pipe.set(f"other:{number}", "x" * 100)
    pipe.execute()
    stage.redis.flush()


def restart_slowly(stage: Stage) -> None:
    """Kill Redis and start it so that it is loading its AOF all the while."""
    stage.redis.kill()
    microseconds = stage.during_s * 4 / _LOADED_KEYS * 1_000_000
    stage.redis.argv = [*stage.redis.argv, "--key-load-delay", f"{microseconds:.0f}"]
    stage.kept["starting"] = threading.Thread(target=stage.redis.start)
    stage.kept["starting"].start()
    _until_refused(stage, "LOADING")


def hurry(stage: Stage) -> None:
    """Let the rest be loaded at once."""
    stage.command("CONFIG SET key-load-delay 0")
    stage.kept["starting"].join()


def run_endless_script(stage: Stage) -> None:
    """Have somebody's script run for ever, and Redis refuse all else after a while."""
    stage.client.config_set("lua-time-limit", 50)
    connection = stage.client.connection_pool.get_connection()
    connection.send_command("EVAL", "while true do end", 0)
    stage.kept["connection"] = connection
    _until_refused(stage, "BUSY")


def end_script(stage: Stage) -> None:
    """Kill that script."""
    stage.command("SCRIPT KILL")
    stage.kept["connection"].disconnect()
    stage.client.connection_pool.release(stage.kept["connection"])
    until_up(stage)


def _until_refused(stage: Stage, word: str) -> None:
    said = ""
    deadline = time.monotonic() + 20
    while word not in said and time.monotonic() < deadline:
        with suppress(OSError, redis.ConnectionError, redis.TimeoutError):
            said = _said(stage)
        time.sleep(0.01)


def _said(stage: Stage) -> str:
    try:
        stage.client.get("anything")
    except (redis.exceptions.BusyLoadingError, redis.ResponseError) as error:
        return f"LOADING {error}" if isinstance(error, redis.exceptions.BusyLoadingError) else str(error)
    return ""


def flush_scripts(stage: Stage) -> None:
    """Have Redis forget all scripts again and again."""
    is_over = threading.Event()

    def flush() -> None:
        with redis.Redis(port=stage.redis.port) as client:
            while not is_over.wait(_FLUSH_PERIOD_S):
                client.script_flush()

    thread = threading.Thread(target=flush)
    thread.start()
    stage.kept["flushing"] = is_over, thread


def end_flushing(stage: Stage) -> None:
    """Let Redis keep its scripts."""
    is_over, thread = stage.kept["flushing"]
    is_over.set()
    thread.join()


# ---- records ----

_BROKEN = {
    "rate=abc": {"hosts": "a.test", "rate_limit_max": "abc"},
    "rate=nan": {"hosts": "a.test", "rate_limit_max": "nan"},
    "rate=-1": {"hosts": "a.test", "rate_limit_max": "-1"},
    "rate=1e999": {"hosts": "a.test", "rate_limit_max": "1e999"},
    "window=0": {"hosts": "a.test", "rate_limit_max": "5", "rate_limit_window_sec": "0"},
}
BROKEN_ONES = dict.fromkeys(("wrong type", *_BROKEN), UNAVAILABLE)


def ask_for_broken_ones(stage: Stage) -> None:
    """Ask for tokens too whose records will be broken."""
    stage.asks += [auth(name, name.replace("=", "-").replace(" ", "-"), 401) for name in BROKEN_ONES]


def break_records(stage: Stage) -> None:
    """Write a record of the wrong type, and some with numbers that are none."""
    stage.client.set(record_key("wrong-type"), "no hash")
    for name, fields in _BROKEN.items():
        stage.client.hset(record_key(name.replace("=", "-")), mapping=fields)


def mend_records(stage: Stage) -> None:
    """Take them away."""
    stage.client.delete(*(record_key(name.replace("=", "-").replace(" ", "-")) for name in BROKEN_ONES))


# ---- signing in ----


def change_password(user: str) -> Act:
    """Return the act of changing the password of *user*, who has to sign in again."""

    def act(stage: Stage) -> None:
        stage.command(f"ACL SETUSER {user} resetpass >another")
        cut_clients(stage)

    return act


# ---- names ----


def resolve(stage: Stage, fault: str) -> None:
    """Have the resolver fail as *fault* says, not at all if it says nothing."""
    (stage.service.dir / "resolver").write_text(fault)


def lose_name(fault: str) -> Act:
    """Return the act of cutting all connections while the name of Redis can't be looked up."""

    def act(stage: Stage) -> None:
        resolve(stage, fault)
        cut_clients(stage)

    return act


def counts_log_lines(stage: Stage) -> Iterator[str]:
    """See that the log says so now and then, however many requests fail."""
    lines = stage.service.log.count("no decision")
    yield f"{lines} lines in the log"
    if lines > 2 * (stage.during_s + 3):
        yield "!the log was flooded"
