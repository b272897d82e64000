"""The commands of Redis that have keys or stand in scripts, by how many arguments each has at least.

With another number of arguments, Redis 8 does not tell a script whether its user may run the command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAMES = {
    0: "DBSIZE EXEC INFO MULTI PING TIME",
    1: "BITFIELD DEL EXISTS GET HGETALL LLEN PERSIST PEXPIRETIME PTTL SMEMBERS TYPE ZCARD ZRANDMEMBER",
    2: """EXPIRE HDEL HEXISTS HGET HMGET LINDEX LPUSH PEXPIRE PEXPIREAT RENAME SADD SET SREM ZMSCORE ZREM
          ZSCAN ZSCORE""",
    3: """GETRANGE HSET HSETNX LRANGE LTRIM SETRANGE XREVRANGE XTRIM ZADD ZCOUNT ZLEXCOUNT ZRANGE
          ZREMRANGEBYRANK ZREMRANGEBYSCORE""",
    4: "XADD",
}
ARGUMENTS: Mapping[str, int] = {name: count for count, names in _NAMES.items() for name in names.split()}
_CALL = re.compile(r"\bredis\.p?call\('([A-Z]+)'")


def sample(command: str, argument: str) -> str:
    """Return a valid number of arguments after *command*, all alike; the server need not accept them."""
    return " ".join([command, *[argument] * ARGUMENTS[command]])


def called(script: str) -> set[str]:
    """Return the commands that the source of a script calls."""
    return {*_CALL.findall(script)}
