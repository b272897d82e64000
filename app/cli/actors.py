"""Who runs a command."""

from __future__ import annotations

import getpass
import os

from app.core.audit import Actor, Via
from app.core.text import visible


def actor() -> Actor:
    """Return the user of the operating system, as far as it is known."""
    try:
        return Actor(Via.SHELL, visible(getpass.getuser()))
    except (KeyError, OSError):  # a container may run as a user without a name
        return Actor(Via.SHELL, f"uid {os.getuid()}")
