"""What operators do while /auth is measured."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from benchmarks.fill import HOST
from devkit.service import Gunicorn

PAGE_SIZE = 50
EVERY_S = 0.5  # a quick operator
_IN_VAIN = "/?q=nowhere.example"


def targets(size: int) -> dict[str, str]:
    """Return the pages of the token table and the searches whose times are measured, of *size* tokens."""
    last = -(-size // PAGE_SIZE)
    pages = {"first": "/?page=1", "middle": f"/?page={(last + 1) // 2}", "last": f"/?page={last}"}
    # An id is found at once; every token has one of the hosts, and no token the other.
    return pages | {"id": "/?q=1", "host": f"/?q={HOST}", "no host": _IN_VAIN}


@contextmanager
def pages(service: Gunicorn, size: int) -> Iterator[None]:
    """Load admin pages while the block runs."""
    with _repeated(service.page, list(targets(size).values())):
        yield


@contextmanager
def searches(service: Gunicorn) -> Iterator[None]:
    """Search in vain while the block runs, which examines as many tokens as a search may."""
    with _repeated(service.page, [_IN_VAIN]):
        yield


@contextmanager
def deletion(service: Gunicorn, email: str) -> Iterator[None]:
    """Delete all tokens with this e-mail address while the block runs, or until it is done."""
    form = {"action": "delete", "all": "1", "email": email}
    thread = threading.Thread(target=service.post, args=("/bulk_tokens",), kwargs=form)
    thread.start()
    yield
    thread.join()


@contextmanager
def export(service: Gunicorn) -> Iterator[None]:
    """Export all tokens while the block runs, in a process of its own."""
    argv = (sys.executable, "-m", "flask", "--app", "wsgi", "tokens", "export")
    with subprocess.Popen(argv, env=service.env, cwd=service.dir, stdout=subprocess.DEVNULL) as process:
        yield
        process.kill()


@contextmanager
def restart(service: Gunicorn) -> Iterator[None]:
    """Replace all workers while the block runs."""
    service.signal(signal.SIGHUP)
    yield


@contextmanager
def _repeated(load: Callable[[str], object], each: Sequence[str]) -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=_repeat, args=(load, each, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _repeat(load: Callable[[str], object], each: Sequence[str], over: threading.Event) -> None:
    while True:
        for target in each:
            if over.wait(EVERY_S):
                return
            load(target)
