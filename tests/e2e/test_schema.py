"""The API tested against its own OpenAPI description by schemathesis."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devkit.service import ADMIN_PASS, ADMIN_USER, Gunicorn

pytestmark = pytest.mark.e2e

# Made-up entity tags and repeated idempotency keys are valid, and refused with 412 and 422.
CONFIG = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 412, 422, 429, "5xx"]
"""


@pytest.mark.timeout(900)
def test_schema_and_code_agree(service: Gunicorn, tmp_path: Path) -> None:
    """The API accepts what its description allows, refuses the rest, and describes every response.

    The requests are generated from the description and are the same in every run.
    """
    address = f"http://127.0.0.1:{service.port}/api/v1/openapi.json"
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    program = str(Path(sys.executable).with_name("schemathesis"))
    options = ["--checks=all", "--max-examples=10", "--generation-deterministic", "--request-timeout=60"]
    argv = [program, "run", address, "-a", f"{ADMIN_USER}:{ADMIN_PASS}", "--no-color", *options]
    result = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout[-20_000:]
    assert "Traceback" not in service.log
