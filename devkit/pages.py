"""The examples of a page: its commands, run as they are printed, and what it shows of their output."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from devkit import forked
from devkit.process import ROOT
from devkit.service import ADMIN_PASS, ADMIN_USER, Gunicorn


def blocks(page: str, language: str, section: str = "") -> list[str]:
    """Return the examples in *language* below a heading of *page*, or all of them, in lists too."""
    text = (ROOT / page).read_text("utf-8")
    if section:
        _, heading, text = text.partition(f"\n## {section}\n")
        assert heading, f"{page} has no {section}"
        text = text.partition("\n## ")[0]
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [dedent(code) for _, code in found]


def script(page: str, section: str = "") -> str:
    """Return the shell commands below a heading of *page*, or all of them."""
    found = blocks(page, "sh", section)
    assert found, f"{page} has no commands"
    return "".join(found)


def run(commands: str, service: Gunicorn, **variables: str) -> str:
    """Run *commands* where the service runs, until one of them fails; return what they print."""
    (service.dir / ".env").write_text(f"ADMIN_USER='{ADMIN_USER}'\nADMIN_PASS='{ADMIN_PASS}'\n")
    here = {"http://127.0.0.1:8000": f"http://127.0.0.1:{service.port}"}
    here[".venv/bin/flask"] = forked.flask()
    for documented, replacement in here.items():
        commands = commands.replace(documented, replacement)
    return bash(commands, service.dir, service.env | {"COLUMNS": "80"} | variables, typed="y\n")


def bash(commands: str, directory: Path, env: Mapping[str, str], typed: str = "") -> str:
    """Run *commands* in *directory*, until one of them fails; return what they print."""
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", commands],
        cwd=directory,
        env=env,
        input=typed,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
