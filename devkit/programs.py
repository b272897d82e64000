"""Programs that do not come with a Python package."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest


def path_of(*names: str) -> str:
    """Return the path of the first of *names* in this environment or on this system, "" without any."""
    beside = Path(sys.executable).parent
    places = f"{beside}:{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin"
    return next(filter(None, (shutil.which(name, path=places) for name in names)), "")


def program(*names: str) -> str:
    """Return the path of the first of *names*; skips the test without any, or fails it where CI=true."""
    if path := path_of(*names):
        return path
    reason = f"{names[0]} is not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def demanded(name: str) -> str:
    """Return the path of a program that the benchmarks cannot do without, or exit."""
    return path_of(name) or sys.exit(f"The benchmarks need {name} on the PATH.")
