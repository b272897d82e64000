"""Everything that goes wrong with Redis while requests come in, one after another."""

from __future__ import annotations

import sys

from chaos import acts, cases
from chaos.acts import commands
from chaos.report import Table
from chaos.stage import AS_EVER, FULL, QUICK, Fault, try_out
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
    Fault("`CLIENT PAUSE`", inject=acts.pause_clients, heal=acts.until_up),
    Fault(
        "connections refused",
        inject=lambda stage: stage.proxy.refuse(),
        heal=lambda stage: stage.proxy.restore(),
        relayed=True,
    ),
    Fault(
        "SYN swallowed (black hole)",
        inject=lambda stage: stage.proxy.swallow(),
        heal=lambda stage: stage.proxy.restore(),
        relayed=True,
        in_quick=True,
    ),
    Fault(
        "open connections fall silent",
        inject=lambda stage: stage.proxy.hush(),
        heal=lambda stage: stage.proxy.restore(),
        relayed=True,
    ),
    Fault(
        "new connections are accepted, then silent",
        inject=lambda stage: stage.proxy.hush(cut=True),
        heal=lambda stage: stage.proxy.restore(),
        relayed=True,
    ),
    Fault(
        "accepted and cut at once",
        inject=lambda stage: stage.proxy.hang_up(),
        heal=lambda stage: stage.proxy.restore(),
        relayed=True,
    ),
    Fault(
        "name of Redis unknown (DNS)",
        inject=acts.lose_name("unknown"),
        heal=lambda stage: acts.resolve(stage, ""),
        settings=_BY_NAME,
    ),
    Fault(
        "`SCRIPT FLUSH` every 50 ms",
        inject=acts.flush_scripts,
        heal=acts.end_flushing,
        during=AS_EVER,
        in_quick=True,
    ),
    Fault(
        "memory full (`OOM`)",
        inject=commands("CONFIG SET maxmemory 1"),
        heal=commands("CONFIG SET maxmemory 0"),
        prepare=acts.issue_spare,
        watch=acts.tries_to_create_and_delete,
        in_quick=True,
    ),
    Fault(
        "snapshots fail (`MISCONF`)",
        inject=acts.fail_snapshots,
        heal=acts.mend_snapshots,
        prepare=acts.issue_spare,
        watch=acts.tries_to_delete_in_vain,
    ),
    Fault(
        "primary becomes a replica",
        inject=acts.change_roles,
        heal=acts.change_back,
        options=acts.SYNC_AT_ONCE,
        prepare=acts.make_replica,
        watch=acts.deletes_on_the_primary,
        verify=acts.stays_deleted,
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
        inject=acts.restart_slowly,
        heal=acts.hurry,
        prepare=acts.fill,
        aof=True,
    ),
    Fault("endless script of another (`BUSY`)", inject=acts.run_endless_script, heal=acts.end_script),
    Fault(
        "password changed (`WRONGPASS`)",
        inject=acts.change_password(_USER),
        heal=commands(f"ACL SETUSER {_USER} >{_PASSWORD}"),
        options=("--user", *_GRANT.split()),
        settings=_SIGN_IN,
        verify=acts.counts_log_lines,
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
        inject=acts.break_records,
        heal=acts.mend_records,
        during=acts.BROKEN_ONES,
        prepare=acts.ask_for_broken_ones,
        in_quick=True,
    ),
)

_COLUMNS = ("fault", "before", "during", "after", "200 without right")
_LATENCIES = ("p50 ms", "p99 ms", "max ms", "/livez max ms", "recovered in ms", "seen")


def tables(quick: bool) -> list[Table]:  # noqa: FBT001 - what the command line says
    """Try every fault, or the most telling ones, then the single cases."""
    pace = QUICK if quick else FULL
    table = Table(f"Redis faults under {pace.per_second} requests per second", (*_COLUMNS, *_LATENCIES))
    for fault in FAULTS:
        if fault.in_quick or not quick:
            print(fault.name, file=sys.stderr, flush=True)
            row, broken = try_out(fault, pace)
            table.rows.append(row)
            table.failures.extend(broken)
    return [table, cases.table(quick=quick)]
