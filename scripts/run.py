"""``make run``: the service and a Redis of its own, on this machine, with one command.

Secrets that are missing are made once and kept in ``.env``; data are kept in ``data/``. Set REDIS_HOST or
REDIS_URL to use another Redis.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path
from types import FrameType

from dotenv import dotenv_values, set_key, unset_key

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import children, older  # noqa: E402 - the path comes first
from scripts.embedded import SERVICE, Embedded, claim, replace  # noqa: E402
from scripts.locks import Locks  # noqa: E402
from scripts.private import tighten  # noqa: E402

ENV_FILE = ROOT / ".env"
DATA = ROOT / "data"
URL_FILE = "data/redis.url"  # relative, so that a checkout can be moved
PAUSE_S = 0.3
MAX_PORT = 65535
_UNUSED = (
    "REDIS_PORT",
    "REDIS_USERNAME",
    "REDIS_USERNAME_FILE",
    "REDIS_PASSWORD",
    "REDIS_PASSWORD_FILE",
    "REDIS_TLS",
    "REDIS_TLS_SKIP_VERIFY",
    "REDIS_TLS_CA_FILE",
)


def main() -> int:
    """Run everything until Ctrl-C, or until the service ends; return its exit status."""
    os.chdir(ROOT)
    _on_endings(signal.default_int_handler)
    with ExitStack() as cleanup:
        try:
            return _run(cleanup)
        except KeyboardInterrupt:
            print("\nstopping", flush=True)
            return 0
        except OSError as error:
            sys.exit(f"make run: {error}")
        finally:
            _on_endings(signal.SIG_IGN)  # stopping is short, and nothing may be left behind


def _on_endings(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, handler)


def _run(cleanup: ExitStack) -> int:
    if ENV_FILE.exists():
        tighten(ENV_FILE)
    if _names_another(_known()):
        return _serve(cleanup, None, _without_own(), lambda: None)
    locks = claim(DATA)
    older.end_servers(DATA, _kept().get("REDIS_PORT"))
    address = _own_address()
    embedded = Embedded(DATA, locks, _database())
    cleanup.callback(embedded.stop)
    embedded.start()
    return _serve(cleanup, locks, address, embedded.mend)


def _serve(cleanup: ExitStack, locks: Locks | None, address: dict[str, str], mend: Callable[[], None]) -> int:
    port, made = _port(), _make_secrets()
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"]
    environ = {"BIND": f"127.0.0.1:{port}", **os.environ, **address}
    service = children.spawn(command, locks, SERVICE, env=environ)
    cleanup.callback(
        children.stop, service, signal.SIGINT
    )  # gunicorn's quick stop: no wait for idle browsers
    children.wait(lambda: service.poll() is not None or _lives(port), "the service did not start")
    if service.poll() is None:
        _greet(f"http://127.0.0.1:{port}", made)
    while service.poll() is None:
        mend()
        time.sleep(PAUSE_S)
    return service.returncode


def _port() -> int:
    text = os.environ.get("PORT", "8000")
    if not text.isdecimal() or not 0 < int(text) <= MAX_PORT:
        sys.exit(f"PORT must be a number from 1 to 65535, not {text!r}")
    if _answers(int(text)):
        sys.exit(f"port {text} is in use; choose another: PORT={int(text) + 1} make run")
    return int(text)


def _database() -> int:
    text = _known().get("REDIS_DB") or "0"
    if not text.isdecimal():
        sys.exit(f"REDIS_DB must be a number, not {text!r}")
    return int(text)


def _kept() -> dict[str, str]:
    """Return what .env says, to the letter."""
    try:
        values = dotenv_values(ENV_FILE, interpolate=False)
    except (OSError, UnicodeError) as error:
        sys.exit(f"{ENV_FILE} can't be read: {error}")
    return {name: value for name, value in values.items() if value}


def _known() -> dict[str, str]:
    return {**_kept(), **os.environ}


def _make_secrets() -> dict[str, str]:
    """Write those that are set nowhere to ``.env`` and return them."""
    known = _known()
    wanted = {
        "PEPPER": secrets.token_hex(32),
        "ADMIN_USER": "admin",
        "ADMIN_PASS": secrets.token_urlsafe(18),
    }
    missing = {
        name: new for name, new in wanted.items() if not known.get(name) and not known.get(f"{name}_FILE")
    }
    _keep(missing)
    return missing


def _keep(values: dict[str, str]) -> None:
    ENV_FILE.touch(mode=0o600)
    for name, value in values.items():
        set_key(ENV_FILE, name, value, quote_mode="never", follow_symlinks=True)


def _names_another(values: dict[str, str]) -> bool:
    """Tell whether *values* say where a Redis is that is not the embedded one."""
    return bool(
        values.get("REDIS_HOST")
        or values.get("REDIS_URL")
        or values.get("REDIS_URL_FILE", URL_FILE) not in {"", URL_FILE}
    )


def _without_own() -> dict[str, str]:
    """Return what keeps the service from the embedded Redis, and forget that one if .env names another."""
    kept = _kept()
    if kept.get("REDIS_URL_FILE") != URL_FILE:
        return {}
    if _names_another(kept):
        unset_key(ENV_FILE, "REDIS_URL_FILE", follow_symlinks=True)
    return {"REDIS_URL_FILE": ""}


def _own_address() -> dict[str, str]:
    """Write to .env where the embedded Redis says its address; return that and nothing else of an address."""
    _keep({} if _kept().get("REDIS_URL_FILE") == URL_FILE else {"REDIS_URL_FILE": URL_FILE})
    text = ENV_FILE.read_text("utf-8")
    if (clean := older.without_address(text)) != text:
        replace(ENV_FILE.resolve(), clean)
        print("REDIS_PORT and REDIS_PASSWORD in .env were those of an older version; they are comments now")
    if unused := [name for name in _UNUSED if _known().get(name)]:
        print(
            f"{', '.join(unused)}: not used. Set REDIS_HOST or REDIS_URL too for a Redis of yours", flush=True
        )
    return dict.fromkeys([*_UNUSED, "REDIS_DB"], "") | {"REDIS_URL_FILE": URL_FILE}


def _greet(url: str, made: dict[str, str]) -> None:
    """Say where everything is; a password is said in the run that made it and never again."""
    known = _known()
    user, password = known.get("ADMIN_USER", "…"), made.get("ADMIN_PASS")
    lines = ["", "acl-auth-service is running.", "", f"  Admin page  {url}/", f"  User        {user}"]
    if password:
        lines += [f"  Password    {password}", "", "  Make a token:", _curl(url, user, password), ""]
        lines += ["  The password is kept in .env and not shown again."]
    else:
        lines += ["  Password    see ADMIN_PASS in .env or in the environment"]
    print("\n".join([*lines, "  Ctrl-C stops everything.", ""]), flush=True)


def _curl(url: str, user: str, password: str) -> str:
    return (
        f"    curl -s -u {user}:{password} -d hosts=whoami.localhost {url}/create_token"
        " | grep -o 'acl_[0-9A-Za-z]*' | head -n 1"
    )


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _lives(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=1) as answer:
        return bool(answer.status == HTTPStatus.OK)
    return False


if __name__ == "__main__":
    sys.exit(main())
