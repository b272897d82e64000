"""The API held against its own description by a program that reads nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devkit.service import ADMIN_PASS, ADMIN_USER, Gunicorn

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(900)
def test_schema_and_code_agree(service: Gunicorn, tmp_path: Path) -> None:
    """What the description allows is done, what it forbids is refused, and every answer is described.

    The requests are made from the description alone and are the same in each run.
    """
    address = f"http://127.0.0.1:{service.port}/api/v1/openapi.json"
    program = str(Path(sys.executable).with_name("schemathesis"))
    how = ["--checks=all", "--max-examples=20", "--generation-deterministic", "--request-timeout=60"]
    argv = [program, "run", address, "-a", f"{ADMIN_USER}:{ADMIN_PASS}", "--no-color", *how]
    said = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert said.returncode == 0, said.stdout[-20_000:]
    assert "Traceback" not in service.log
