"""The examples of docs/api.md, run against the service."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from devkit.pages import script
from devkit.service import ADMIN_PASS, ADMIN_USER, Gunicorn

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="curl or bash is missing"),
]


def test_examples(service: Gunicorn, tmp_path: Path) -> None:
    """Each command gets the status that the page says, in the order of the page."""
    commands = script("docs/api.md")
    documented = re.findall(r"# (\d{3})$", commands, re.MULTILINE)
    (tmp_path / ".curlrc").write_text('silent\nmax-time = 60\nwrite-out = "%{stderr}%{http_code}\\n"\n')
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")],
        env={"PATH": os.environ["PATH"], "CURL_HOME": str(tmp_path)}
        | {"ADMIN_USER": ADMIN_USER, "ADMIN_PASS": ADMIN_PASS},
        capture_output=True,
        text=True,
        check=False,
    )

    assert len(documented) > 12
    assert (run.stderr.split(), run.returncode) == (documented, 0), run.stdout
    assert commands.count("curl ") == len(documented)
