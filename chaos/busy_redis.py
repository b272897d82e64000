"""Faults in which Redis is busy: with its own data, with a script, or with loading scripts again."""

from __future__ import annotations

import threading
from contextlib import suppress

import redis

from chaos.actions import until_up
from chaos.stage import Stage
from devkit.waiting import until

_LOADED_KEYS = 20_000
_FLUSH_PERIOD_S = 0.05


def fill(stage: Stage) -> None:
    """Write enough keys for loading them to take a while."""
    pipe = stage.client.pipeline(transaction=False)
    for number in range(_LOADED_KEYS):
        pipe.set(f"other:{number}", "x" * 100)
    pipe.execute()
    stage.redis.flush()


def restart_slowly(stage: Stage) -> None:
    """Restart Redis so that it loads its AOF for longer than the fault lasts."""
    stage.redis.kill()
    microseconds = stage.during_s * 4 / _LOADED_KEYS * 1_000_000
    stage.redis.argv = [*stage.redis.argv, "--key-load-delay", f"{microseconds:.0f}"]
    stage.kept["starting"] = threading.Thread(target=stage.redis.start)
    stage.kept["starting"].start()
    _until_refused(stage, redis.exceptions.BusyLoadingError)


def load_the_rest(stage: Stage) -> None:
    """Load the rest of the AOF without delay."""
    stage.command("CONFIG SET key-load-delay 0")
    stage.kept["starting"].join()


def run_endless_script(stage: Stage) -> None:
    """Run an endless script, for which Redis soon refuses all other commands."""
    stage.client.config_set("lua-time-limit", 50)
    connection = stage.client.connection_pool.get_connection()
    connection.send_command("EVAL", "while true do end", 0)
    stage.kept["connection"] = connection
    _until_refused(stage, redis.ResponseError)


def end_script(stage: Stage) -> None:
    """Kill the endless script."""
    stage.command("SCRIPT KILL")
    stage.kept["connection"].disconnect()
    stage.client.connection_pool.release(stage.kept["connection"])
    until_up(stage)


def _until_refused(stage: Stage, error: type[redis.RedisError]) -> None:
    until(lambda: isinstance(_refusal(stage), error), 20)


def _refusal(stage: Stage) -> redis.RedisError | None:
    """Return the error that Redis answers with, None for a value or no answer."""
    with suppress(OSError, redis.ConnectionError, redis.TimeoutError):
        try:
            stage.client.get("anything")
        except (redis.exceptions.BusyLoadingError, redis.ResponseError) as error:
            return error
    return None


def flush_scripts(stage: Stage) -> None:
    """Remove all scripts from Redis repeatedly."""
    is_over = threading.Event()

    def flush() -> None:
        with redis.Redis(port=stage.redis.port) as client:
            while not is_over.wait(_FLUSH_PERIOD_S):
                client.script_flush()

    thread = threading.Thread(target=flush)
    thread.start()
    stage.kept["flushing"] = is_over, thread


def end_flushing(stage: Stage) -> None:
    """Stop removing scripts."""
    is_over, thread = stage.kept["flushing"]
    is_over.set()
    thread.join()
