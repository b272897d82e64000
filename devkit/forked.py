"""The flask command without the second that its imports take: one process has them, and forks for each."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from functools import cache
from pathlib import Path

from flask import cli as flask_cli

from devkit.process import ROOT

_MAX_BYTES = 1_000_000
_GONE = 141  # the child was killed, as by SIGPIPE
_CLIENT = """\
#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    call = [os.getcwd(), sys.argv[1:], dict(os.environ), os.umask(0)]
    socket.send_fds(server, [json.dumps(call).encode()], [0, 1, 2])
    sys.exit(int(server.recv(9) or {gone}))
"""


@cache
def flask() -> str:
    """Return the path of a program that does what ``flask`` does; its process ends with this one."""
    place = Path(tempfile.mkdtemp(prefix="flask-"))
    path, program = place / "socket", place / "flask"
    program.write_text(_CLIENT.format(python=sys.executable, path=str(path), gone=_GONE))
    program.chmod(0o700)
    (life, _ours), (told, ready) = os.pipe(), os.pipe()  # closed when this process ends, which ends the other
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "devkit.forked", str(path)],
        os.environ | {"PYTHONPATH": str(ROOT)},
        file_actions=[(os.POSIX_SPAWN_DUP2, life, 0), (os.POSIX_SPAWN_DUP2, ready, 1)],
    )
    for end in (life, ready):
        os.close(end)
    os.read(told, 1)
    os.close(told)
    return str(program)


def main(path: str) -> None:
    """Fork for each connection to the socket at *path*, until standard input ends."""
    import app.assembly  # noqa: F401, PLC0415 - what takes long, before the first fork

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that no child has to be waited for
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        os.write(1, b"\n")  # it listens
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            client, _ = listener.accept()
            with client:
                if not os.fork():
                    client.send(f"{_carry_out(client)}".encode())
                    os._exit(0)
    shutil.rmtree(Path(path).parent)


def _carry_out(client: socket.socket) -> int:
    """Run the command that *client* sends, with its files, in this process; return its exit code."""
    sent, files, _, _ = socket.recv_fds(client, _MAX_BYTES, 3)
    directory, argv, env, umask = json.loads(sent)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(directory)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(env | {"FLASK_SKIP_DOTENV": "1"})  # as app/early.pth does
    sys.argv = ["flask", *argv]
    try:
        flask_cli.main()
    except SystemExit as end:
        return _code(end)
    finally:
        sys.stdout.flush()
    return 0


def _code(end: SystemExit) -> int:
    """Return the exit code that Python would end with, after it has printed the message."""
    if isinstance(end.code, str):
        sys.stderr.write(f"{end.code}\n")
        return 1
    return int(end.code or 0)


if __name__ == "__main__":
    main(sys.argv[1])
