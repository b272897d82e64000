"""Faults and their repair, for those that are more than one call."""

from __future__ import annotations

from collections.abc import Iterator

from chaos.stage import UNAVAILABLE, Action, Stage
from devkit.service import record_key
from devkit.tally import auth


def commands(*lines: str) -> Action:
    """Return the action of running these Redis commands."""
    return lambda stage: [stage.command(line) for line in lines]


def cut_clients(stage: Stage) -> None:
    """Close all connections to Redis but our own."""
    stage.command("CLIENT KILL TYPE normal SKIPME yes")


def until_up(stage: Stage) -> None:
    """Wait until Redis answers."""
    stage.redis.wait_ready()


def pause_clients(stage: Stage) -> None:
    """Have Redis postpone all commands for slightly longer than the fault lasts."""
    stage.command(f"CLIENT PAUSE {stage.during_s * 1000 + 200:.0f} ALL")


_BROKEN = {
    "rate=abc": {"hosts": "a.test", "rate_limit_max": "abc"},
    "rate=nan": {"hosts": "a.test", "rate_limit_max": "nan"},
    "rate=-1": {"hosts": "a.test", "rate_limit_max": "-1"},
    "rate=1e999": {"hosts": "a.test", "rate_limit_max": "1e999"},
    "window=0": {"hosts": "a.test", "rate_limit_max": "5", "rate_limit_window_sec": "0"},
}
BROKEN_TOKENS = dict.fromkeys(("wrong type", *_BROKEN), UNAVAILABLE)


def _secret(name: str) -> str:
    return name.replace("=", "-").replace(" ", "-")


def present_broken_tokens(stage: Stage) -> None:
    """Add requests with tokens whose records will be broken."""
    stage.requests += [auth(name, _secret(name), 401) for name in BROKEN_TOKENS]


def break_records(stage: Stage) -> None:
    """Write a record of the wrong type, and some with invalid numbers."""
    stage.client.set(record_key("wrong-type"), "no hash")
    for name, fields in _BROKEN.items():
        stage.client.hset(record_key(_secret(name)), mapping=fields)


def remove_records(stage: Stage) -> None:
    """Delete the broken records."""
    stage.client.delete(*(record_key(_secret(name)) for name in BROKEN_TOKENS))


def change_password(user: str) -> Action:
    """Return the action of changing the password of *user*, who has to authenticate again."""

    def action(stage: Stage) -> None:
        stage.command(f"ACL SETUSER {user} resetpass >another")
        cut_clients(stage)

    return action


def resolve(stage: Stage, fault: str) -> None:
    """Have the resolver fail in the way *fault* names; it works again with an empty one."""
    (stage.service.dir / "resolver").write_text(fault)


def lose_name(fault: str) -> Action:
    """Return the action of cutting all connections while the name of Redis cannot be resolved."""

    def action(stage: Stage) -> None:
        resolve(stage, fault)
        cut_clients(stage)

    return action


def counts_log_lines(stage: Stage) -> Iterator[str]:
    """Check that the log reports the failure regularly, but not for every request."""
    lines = stage.service.log.count("no decision")
    yield f"{lines} lines in the log"
    if lines > 2 * (stage.during_s + 3):
        yield "!the log was flooded"
