"""An import that is killed is repeated without harm, and commands in the shell move a database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from app.core import copy_lines
from app.core.copies import TokenCopy, UsageCopy
from app.core.ended import EndedToken, Ending
from app.core.peppers import Peppers
from app.core.tokens import mint_id
from app.core.usage import DAYS, HOURS
from app.store import keys
from devkit.builders import ENVIRON, PEPPER, make_token
from devkit.moving import contents
from devkit.process import OUTSIDE, ROOT
from devkit.redis_server import RedisServer

pytestmark = pytest.mark.e2e

TOKENS, ENDED = 600, 60
END_S = 4_000_000_000
# Runs the command, and kills it without warning at the second call of a method.
KILLED = """
import os, signal, sys
from app.store.copy_writer import RedisCopies
from app.store.index import Index
import wsgi
where, name = {{"Index": Index, "RedisCopies": RedisCopies}}["{owner}"], "{name}"
method, calls = getattr(where, name), []
def killed(*args):
    calls.append(name)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return method(*args)
setattr(where, name, killed)
wsgi.app.cli(["tokens", "import", sys.argv[1]])
"""


def write(path: Path) -> None:
    """Write an export of tokens with usage and an end, and of tokens that ended."""
    usage = UsageCopy(
        int(time.time()) // 3600, ((1,) * HOURS, *((0,) * HOURS,) * 3), ((2,) * DAYS, *((0,) * DAYS,) * 3)
    )
    ids = [mint_id(1_800_000_000_000 + number) for number in range(TOKENS + ENDED)]
    with path.open("w") as file:
        file.write(copy_lines.header(Peppers(PEPPER).fingerprints, 0, "1.0"))
        for number, token_id in enumerate(ids[:TOKENS]):
            token = make_token(f"{number:064x}", id=token_id, expires_at=END_S)
            file.write(copy_lines.line(TokenCopy(token=token, usage=usage)))
        for number, token_id in enumerate(ids[TOKENS:], TOKENS):
            facts: dict[str, Any] = {"ending": Ending.DELETED, "ended_at": int(time.time())}
            file.write(copy_lines.line(EndedToken(digest=f"{number:064x}", id=token_id, **facts)))


def flask(server: RedisServer, *args: str) -> subprocess.CompletedProcess[str]:
    """Run Python with *args* and the settings of a service on *server*."""
    more = {"REDIS_PORT": str(server.port), "REDIS_DEADLINE_MS": "5000", "PYTHONPATH": str(ROOT)}
    env = os.environ | ENVIRON | more
    command = [sys.executable, *args]
    return subprocess.run(
        command, cwd=OUTSIDE, env=env, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.parametrize("place", ["Index.add", "RedisCopies._run"])
def test_kill(redis_server: RedisServer, tmp_path: Path, place: str) -> None:
    """After kill -9 a token is there with everything or not at all, and the second try completes it."""
    path = tmp_path / "tokens.jsonl"
    write(path)
    owner, name = place.split(".")
    with redis.Redis(port=redis_server.port) as client:
        client.flushall()
        killed = flask(redis_server, "-c", KILLED.format(owner=owner, name=name), str(path))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert 0 < count(client) < TOKENS
        assert count(client) == len(list(client.scan_iter(match="{tokens:*}:usage", count=1000)))
        again = flask(redis_server, "-m", "flask", "--app", "wsgi", "tokens", "import", str(path))
        assert again.returncode == 0, again.stderr
        assert "tokens already here: " in again.stderr
        repeated = contents(client)
        client.flushall()
        flask(redis_server, "-m", "flask", "--app", "wsgi", "tokens", "import", str(path))
        assert contents(client) == repeated
        client.flushall()  # other tests of this server have another pepper


def count(client: Any) -> int:
    """Return the number of records, each of which has its end."""
    names = list(client.scan_iter(match=keys.RECORD_PATTERN, count=1000))
    assert {client.pttl(name) > 0 for name in names} == {True}
    return len(names)
