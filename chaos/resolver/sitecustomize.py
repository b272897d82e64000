"""A resolver that fails on demand, in the way that the file ``resolver`` in the working directory names.

Python imports this module first if it is on PYTHONPATH, so gevent's threads call the patched function.
"""

from __future__ import annotations

import _socket
import time
from pathlib import Path
from typing import Any

NAME = "redis.test"
SILENCE_S = 5
_look_up, _sleep = _socket.getaddrinfo, time.sleep  # before gevent replaces the latter


def _getaddrinfo(host: Any, *args: Any) -> Any:
    if host != NAME:
        return _look_up(host, *args)
    file = Path("resolver")
    fault = file.read_text() if file.exists() else ""
    if fault == "silent":
        _sleep(SILENCE_S)
    if fault:
        raise _socket.gaierror(_socket.EAI_NONAME, "Name or service not known")
    return _look_up("127.0.0.1", *args)


_socket.getaddrinfo = _getaddrinfo  # type: ignore[assignment]
