"""Programs that no Python package brings."""

from __future__ import annotations

import os
import shutil

import pytest


def program(*names: str) -> str:
    """Return the path of the first of *names* that is installed.

    Without any, the test is skipped, and with CI=true it fails.
    """
    path = next(filter(None, map(shutil.which, names)), None)
    if path:
        return path
    reason = f"there is no {names[0]} on the PATH"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
