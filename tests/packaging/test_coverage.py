"""``make cover`` measures the worker processes, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devkit.process import COVERAGE, ROOT

pytestmark = pytest.mark.e2e


def test_workers_are_measured(tmp_path: Path) -> None:
    """Lines that run only in a gevent worker are counted: express lane, draining and pipeline."""
    env = {name: value for name, value in os.environ.items() if name != COVERAGE}
    env["COVERAGE_FILE"] = str(tmp_path / "data")

    def coverage(*args: str) -> bytes:
        return subprocess.check_output([sys.executable, "-m", "coverage", *args], cwd=ROOT, env=env)

    coverage("run", "-m", "devkit.drills.served")
    coverage("combine", "-q")
    files = json.loads(coverage("json", "--fail-under=0", "-qo-"))["files"]
    lines = {Path(name).name: file["executed_lines"] for name, file in files.items()}

    assert min(len(lines[name]) for name in ("express.py", "draining.py", "pipeline.py")) > 40
