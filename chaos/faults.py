"""All faults of Redis, each under a steady load of requests."""

from __future__ import annotations

import sys

from chaos import actions, busy_redis, cases, refused_writes
from chaos.actions import commands
from chaos.report import Table
from chaos.stage import AS_EVER, FULL, QUICK, Fault
from chaos.trial import try_out
from devkit.process import ROOT

_USER, _PASSWORD = "service", "password-of-the-service"
_SIGN_IN = {"redis_username": _USER, "redis_password": _PASSWORD}
_GRANT = f"{_USER} on >{_PASSWORD} ~* &* +@all"
_BY_NAME = {"redis_host": "redis.test", "pythonpath": f"{ROOT / 'chaos' / 'resolver'}:{ROOT}"}

FAULTS = (
    Fault(
        "Redis killed (`kill -9`)",
        inject=lambda stage: stage.redis.kill(),
        heal=lambda stage: stage.redis.start(),
        aof=True,
        in_quick=True,
    ),
    Fault(
        "Redis stopped (`SIGSTOP`)",
        inject=lambda stage: stage.redis.pause(),
        heal=lambda stage: stage.redis.resume(),
        in_quick=True,
    ),
    Fault("`CLIENT PAUSE`", inject=actions.pause_clients, heal=actions.until_up),
    Fault(
        "connections refused",
        inject=lambda stage: stage.relay.refuse(),
        heal=lambda stage: stage.relay.restore(),
        relayed=True,
    ),
    Fault(
        "SYN swallowed (black hole)",
        inject=lambda stage: stage.relay.swallow(),
        heal=lambda stage: stage.relay.restore(),
        relayed=True,
        in_quick=True,
    ),
    Fault(
        "open connections fall silent",
        inject=lambda stage: stage.relay.silence(),
        heal=lambda stage: stage.relay.restore(),
        relayed=True,
    ),
    Fault(
        "new connections are accepted, then silent",
        inject=lambda stage: stage.relay.silence(cut=True),
        heal=lambda stage: stage.relay.restore(),
        relayed=True,
    ),
    Fault(
        "accepted and cut at once",
        inject=lambda stage: stage.relay.hang_up(),
        heal=lambda stage: stage.relay.restore(),
        relayed=True,
    ),
    Fault(
        "name of Redis unknown (DNS)",
        inject=actions.lose_name("unknown"),
        heal=lambda stage: actions.resolve(stage, ""),
        settings=_BY_NAME,
    ),
    Fault(
        "`SCRIPT FLUSH` every 50 ms",
        inject=busy_redis.flush_scripts,
        heal=busy_redis.end_flushing,
        during=AS_EVER,
        in_quick=True,
    ),
    Fault(
        "memory full (`OOM`)",
        inject=commands("CONFIG SET maxmemory 1"),
        heal=commands("CONFIG SET maxmemory 0"),
        prepare=refused_writes.issue_spare,
        watch=refused_writes.create_and_delete,
        in_quick=True,
    ),
    Fault(
        "snapshots fail (`MISCONF`)",
        inject=refused_writes.fail_snapshots,
        heal=refused_writes.repair_snapshots,
        prepare=refused_writes.issue_spare,
        watch=refused_writes.delete_without_success,
    ),
    Fault(
        "primary becomes a replica",
        inject=refused_writes.change_roles,
        heal=refused_writes.change_back,
        options=refused_writes.SYNC_AT_ONCE,
        prepare=refused_writes.make_replica,
        watch=refused_writes.delete_on_the_primary,
        verify=refused_writes.check_deleted,
    ),
    Fault(
        "replica of a dead primary",
        inject=commands("REPLICAOF 127.0.0.1 1"),
        heal=commands("REPLICAOF NO ONE"),
    ),
    Fault(
        "too few replicas (`NOREPLICAS`)",
        inject=commands("CONFIG SET min-replicas-to-write 1"),
        heal=commands("CONFIG SET min-replicas-to-write 0"),
    ),
    Fault(
        "Redis loads its data (`LOADING`)",
        inject=busy_redis.restart_slowly,
        heal=busy_redis.load_the_rest,
        prepare=busy_redis.fill,
        aof=True,
    ),
    Fault(
        "endless script of another (`BUSY`)", inject=busy_redis.run_endless_script, heal=busy_redis.end_script
    ),
    Fault(
        "password changed (`WRONGPASS`)",
        inject=actions.change_password(_USER),
        heal=commands(f"ACL SETUSER {_USER} >{_PASSWORD}"),
        options=("--user", *_GRANT.split()),
        settings=_SIGN_IN,
        verify=actions.counts_log_lines,
    ),
    Fault(
        "user removed (`ACL DELUSER`)",
        inject=commands(f"ACL DELUSER {_USER}"),
        heal=commands(f"ACL SETUSER {_GRANT}"),
        options=("--user", *_GRANT.split()),
        settings=_SIGN_IN,
    ),
    Fault(
        "scripts forbidden (`NOPERM`)",
        inject=commands(f"ACL SETUSER {_USER} -evalsha"),
        heal=commands(f"ACL SETUSER {_USER} +evalsha"),
        options=("--user", *_GRANT.split()),
        settings=_SIGN_IN,
    ),
    Fault(
        "records of other tokens broken",
        inject=actions.break_records,
        heal=actions.remove_records,
        during=actions.BROKEN_TOKENS,
        prepare=actions.present_broken_tokens,
        in_quick=True,
    ),
)

_COLUMNS = ("fault", "before", "during", "after", "200 without right")
_LATENCIES = ("p50 ms", "p99 ms", "max ms", "/livez max ms", "recovered in ms", "seen")


def tables(quick: bool) -> list[Table]:  # noqa: FBT001 - a flag of the command line
    """Try every fault, or with *quick* the most telling ones, then the single cases."""
    pace = QUICK if quick else FULL
    table = Table(f"Redis faults under {pace.per_second} requests per second", (*_COLUMNS, *_LATENCIES))
    for fault in FAULTS:
        if fault.in_quick or not quick:
            print(fault.name, file=sys.stderr, flush=True)
            row, broken = try_out(fault, pace)
            table.rows.append(row)
            table.failures.extend(broken)
    return [table, cases.table(quick=quick)]
