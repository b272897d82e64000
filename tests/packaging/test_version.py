"""One version everywhere: app/version.py has it, and whatever else names one agrees."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import yaml  # type: ignore[import-untyped]

from app.version import VERSION
from devkit.process import ROOT

SHOWN = f"acl-auth-service {VERSION}\n"


def test_package() -> None:
    """The package takes its version from the code."""
    package = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

    assert "version" not in package["project"]
    assert "version" in package["project"]["dynamic"]
    assert package["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "app.version.VERSION"}


def test_images() -> None:
    """The manifests and the documents name the image of this version and of no other."""
    files = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "k8s").glob("*.yaml")]
    tags = {
        file.name: re.findall(r"acl-auth-service:(\d+\.[\w.]*)", file.read_text("utf-8")) for file in files
    }

    assert {"auth-service.yaml", "kubernetes.md"} <= {name for name, found in tags.items() if found}
    assert {tag for found in tags.values() for tag in found} == {VERSION}


def test_chart() -> None:
    """The Helm chart has this version, and deploys it."""
    chart = yaml.safe_load((ROOT / "deploy/helm/Chart.yaml").read_text("utf-8"))

    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def test_changelog() -> None:
    """The newest release in CHANGELOG.md is this version, with its date, below what is unreleased."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    unreleased, newest = re.findall(r"^## (.*)$", text, re.MULTILINE)[:2]

    assert unreleased == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(VERSION)}\] - \d{{4}}-\d\d-\d\d", newest)


def notes(*args: str) -> subprocess.CompletedProcess[str]:
    """Return what scripts/notes.py did, with no package in its reach, as in the workflow that releases."""
    argv = [sys.executable, "-S", str(ROOT / "scripts/notes.py"), *args]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_notes() -> None:
    """The notes of a release are its section of the changelog; a tag of another version gets none."""
    printed = notes(f"v{VERSION}").stdout

    assert printed.startswith("### ")
    assert f"\n\n{printed}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "\n## " not in printed
    assert (notes("v0.0.1").stdout, notes("v0.0.1").returncode) == ("", 1)


def test_run() -> None:
    """scripts/run.py prints the version and starts nothing."""
    argv = [sys.executable, str(ROOT / "scripts/run.py"), "--version"]

    assert subprocess.check_output(argv, text=True, timeout=60) == SHOWN
