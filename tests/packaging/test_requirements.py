"""What is installed: all of it locked by version and content, and each choice explained."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from devkit.process import ROOT

# Each holds all of the one before.
SETS = ("requirements", "requirements-run", "requirements-dev", "requirements-bench")
HASH = re.compile(r" +--hash=sha256:[0-9a-f]{64}(?= |$)")


class Line(NamedTuple):
    """One requirement, and how many files may satisfy it."""

    asked: Requirement
    hashes: int

    @property
    def name(self) -> str:
        """The name as indexes compare it."""
        return canonicalize_name(self.asked.name)


def lines(file: str) -> list[Line]:
    """Return the requirements of *file*; whatever else it says is no requirement and raises."""
    text = (ROOT / file).read_text("utf-8").replace("\\\n", "")
    said = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    own = [line for line in said if not (file.endswith(".in") and line.startswith(("-r ", "-c ")))]
    return [Line(Requirement(HASH.sub("", line)), len(HASH.findall(line))) for line in own]


def versions(file: str) -> dict[str, str]:
    """Return what *file* pins."""
    return {line.name: str(line.asked.specifier) for line in lines(file)}


@pytest.mark.parametrize("name", SETS)
def test_locked(name: str) -> None:
    """Every package that is installed has one version and the hashes of its files, and no index is named."""
    locked = lines(f"{name}.txt")

    assert all(re.fullmatch("==[^*,]+", str(line.asked.specifier)) for line in locked)
    assert all(line.hashes and not line.asked.url for line in locked)
    assert len({line.name for line in locked}) == len(locked)


@pytest.mark.parametrize("name", SETS)
def test_choices_are_locked(name: str) -> None:
    """What people chose is what is installed: after a change of an .in file, `make lock`."""
    chosen = versions(f"{name}.in")

    assert chosen.items() <= versions(f"{name}.txt").items()


@pytest.mark.parametrize(("smaller", "larger"), list(pairwise(SETS)))
def test_sets_agree(smaller: str, larger: str) -> None:
    """What is tested and measured is what runs: a larger set has all of the smaller in the same versions."""
    assert versions(f"{smaller}.txt").items() <= versions(f"{larger}.txt").items()
    assert f"-r {smaller}.in\n-c {smaller}.txt\n" in (ROOT / f"{larger}.in").read_text("utf-8")


def test_choices_are_explained() -> None:
    """Each package that people chose is named in CONTRIBUTING.md, where its reason is."""
    section = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("## Dependencies\n")[1].split("\n## ")[0]
    named = {canonicalize_name(word) for word in re.findall(r"[A-Za-z0-9._-]*[A-Za-z0-9]", section)}

    assert {line.name for name in SETS for line in lines(f"{name}.in")} <= named


def test_no_way_around() -> None:
    """Neither make nor the Dockerfile installs anything without its hash."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", "")
    installs = re.findall("^.*pip.* install --.*$", makefile + dockerfile, re.MULTILINE)

    assert len(installs) == 2
    assert all("--require-hashes" in line for line in installs)
