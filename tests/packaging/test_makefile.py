"""What make offers to a contributor."""

from __future__ import annotations

import re
import subprocess

import pytest

from devkit.process import ROOT

TARGETS = ("run", "unit", "fast", "test", "cover", "check", "bench", "chaos")


def made(*words: str) -> str:
    """Return what make prints."""
    return subprocess.run(["make", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_help() -> None:
    """Every promised target has a line of help."""
    described = re.findall(r"^(\w+) +\S", made("help"), re.MULTILINE)

    assert set(TARGETS) <= set(described)


@pytest.mark.parametrize("target", ["unit", "fast", "test", "cover"])
def test_inner_loops(target: str) -> None:
    """Each inner loop is pytest with marks that there are."""
    (line,) = [line for line in made("-n", target).splitlines() if "-m pytest" in line]
    named = set(re.findall(r"not (\w+)", line))

    assert named <= {"server", "e2e", "browser"}
    assert bool(named) == (target in {"unit", "fast"})
