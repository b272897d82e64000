"""``make run`` starts the service and its own Redis on this machine.

Missing secrets are generated once and stored in ``.env``; the data is stored in ``data/``. REDIS_HOST or
REDIS_URL name another Redis to use instead. See docs/decisions/0017.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app.version import NAME, VERSION  # noqa: E402 - the path comes first
from scripts import children, env_file, older_versions, termination  # noqa: E402
from scripts.embedded import SERVICE, Embedded, claim  # noqa: E402
from scripts.locks import Locks  # noqa: E402
from scripts.permissions import tighten  # noqa: E402

DATA = ROOT / "data"
PAUSE_S = 0.3
MAX_PORT = 65535
BACKLOG = 2048  # as gunicorn's


def main() -> int:
    """Run everything until Ctrl-C or until the service exits; return its exit status."""
    if sys.argv[1:] == ["--version"]:
        print(f"{NAME} {VERSION}")
        return 0
    os.chdir(ROOT)
    termination.install()
    with ExitStack() as cleanup:
        try:
            return _run(cleanup)
        except KeyboardInterrupt:
            print("\nstopping", flush=True)
            return 0
        except OSError as error:
            sys.exit(f"make run: {error}")
        finally:
            termination.block()  # because stopping is short and must not leave a process behind


def _run(cleanup: ExitStack) -> int:
    if env_file.ENV_FILE.exists():
        tighten(env_file.ENV_FILE)
    if env_file.names_another_redis():
        return _serve(cleanup, _listen(), env_file.without_own_address())
    locks = claim(DATA)
    older_versions.end_servers(DATA, env_file.kept().get("REDIS_PORT"))
    listener, address = _listen(), env_file.own_address()
    embedded = Embedded(DATA, locks, env_file.database())
    cleanup.callback(embedded.stop)
    embedded.start()
    return _serve(cleanup, listener, address, locks, embedded.restart_if_dead)


def _serve(
    cleanup: ExitStack,
    listener: socket.socket | None,
    address: dict[str, str],
    locks: Locks | None = None,
    restart_if_dead: Callable[[], None] = lambda: None,
) -> int:
    generated, port = env_file.generate_secrets(), _port()
    service = _start(listener, address, locks)
    # SIGINT is gunicorn's quick shutdown, which does not wait for idle connections of browsers.
    cleanup.callback(children.stop, service, signal.SIGINT)
    children.wait(lambda: service.poll() is not None or _lives(port), "the service did not start")
    if service.poll() is None:
        _greet(f"http://127.0.0.1:{port}", generated)
    while service.poll() is None:
        restart_if_dead()
        termination.pause(PAUSE_S)
    return service.returncode


def _start(
    listener: socket.socket | None, address: dict[str, str], locks: Locks | None
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"]
    environ = {**os.environ, **address}
    if not environ.get("WEB_CONCURRENCY", "").strip():
        environ.pop("WEB_CONCURRENCY", None)  # because gunicorn would parse it as a number
    if listener is None:
        return children.spawn(command, locks, SERVICE, env=environ)
    with listener:
        number = listener.fileno()
        return children.spawn([*command, "--bind", f"fd://{number}"], locks, SERVICE, [number], env=environ)


def _listen() -> socket.socket | None:
    """Listen on the port of the service unless BIND is set, so that no other process can answer there."""
    port = _port()
    if os.environ.get("BIND"):
        return None
    try:
        return socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            sys.exit(f"port {port} is in use; choose another: PORT={port + 1} make run")
        raise


def _port() -> int:
    text = os.environ.get("PORT", "8000")
    if not text.isdecimal() or not 0 < int(text) <= MAX_PORT:
        sys.exit(f"PORT must be a number from 1 to 65535, not {text!r}")
    return int(text)


def _greet(url: str, generated: dict[str, str]) -> None:
    """Print where everything is, and the password only in the run that generated it."""
    known = env_file.known()
    user, password = known.get("ADMIN_USER", "…"), generated.get("ADMIN_PASS")
    lines = ["", "acl-auth-service is running.", "", f"  Admin page  {url}/", f"  User        {user}"]
    if password:
        lines += [f"  Password    {password}", "", "  Create a token:", _curl(url, user, password), ""]
        lines += ["  The password is kept in .env and not shown again."]
    else:
        lines += ["  Password    see ADMIN_PASS in .env or in the environment"]
    print("\n".join([*lines, "  Ctrl-C stops everything.", ""]), flush=True)


def _curl(url: str, user: str, password: str) -> str:
    return (
        f"    curl -s -u {shlex.quote(f'{user}:{password}')} -d hosts=whoami.localhost {url}/create_token"
        " | grep -o 'acl_[0-9A-Za-z]*' | head -n 1"
    )


def _lives(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=1) as answer:
        return bool(answer.status == HTTPStatus.OK)
    return False


if __name__ == "__main__":
    sys.exit(main())
