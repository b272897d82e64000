"""Requirements are locked by version and hash, and every direct one is explained."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from devkit.process import ROOT

# Each set contains the one before it.
SETS = ("requirements", "requirements-run", "requirements-dev", "requirements-bench")
# Installed apart from those and from each other.
APART = ("requirements-clients", "requirements-openai1", "requirements-kubernetes")
HASH = re.compile(r" +--hash=sha256:[0-9a-f]{64}(?= |$)")


class Line(NamedTuple):
    """A requirement and the number of its hashes."""

    requirement: Requirement
    hashes: int

    @property
    def name(self) -> str:
        """The normalized name of the package."""
        return canonicalize_name(self.requirement.name)


def lines(file: str) -> list[Line]:
    """Return the requirements in *file*; any other content raises InvalidRequirement."""
    text = (ROOT / file).read_text("utf-8").replace("\\\n", "")
    content = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    requirements = [
        line for line in content if not (file.endswith(".in") and line.startswith(("-r ", "-c ")))
    ]
    return [Line(Requirement(HASH.sub("", line)), len(HASH.findall(line))) for line in requirements]


def versions(file: str) -> dict[str, str]:
    """Return the version specifier of every package in *file*."""
    return {line.name: str(line.requirement.specifier) for line in lines(file)}


@pytest.mark.parametrize("name", SETS + APART)
def test_locked(name: str) -> None:
    """Every installed package has one exact version and hashes, and no index is named."""
    locked = lines(f"{name}.txt")

    assert all(re.fullmatch("==[^*,]+", str(line.requirement.specifier)) for line in locked)
    assert all(line.hashes and not line.requirement.url for line in locked)
    assert len({line.name for line in locked}) == len(locked)


@pytest.mark.parametrize("name", SETS + APART)
def test_direct_requirements_are_locked(name: str) -> None:
    """The lock matches the .in file; ``make lock`` updates it."""
    direct = versions(f"{name}.in")

    assert direct.items() <= versions(f"{name}.txt").items()


@pytest.mark.parametrize(("smaller", "larger"), list(pairwise(SETS)))
def test_sets_agree(smaller: str, larger: str) -> None:
    """A larger set contains the smaller one in the same versions, so that tests run what is deployed."""
    assert versions(f"{smaller}.txt").items() <= versions(f"{larger}.txt").items()
    assert f"-r {smaller}.in\n-c {smaller}.txt\n" in (ROOT / f"{larger}.in").read_text("utf-8")


def test_direct_requirements_are_explained() -> None:
    """Every directly required package is explained in CONTRIBUTING.md."""
    section = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("## Dependencies\n")[1].split("\n## ")[0]
    named = {canonicalize_name(word) for word in re.findall(r"[A-Za-z0-9._-]*[A-Za-z0-9]", section)}

    assert {line.name for name in SETS + APART for line in lines(f"{name}.in")} <= named


def test_hashes_are_always_checked() -> None:
    """Neither make nor the Dockerfile installs anything without checking its hash."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", "")
    installs = re.findall("^.*pip.* install --.*$", makefile + dockerfile, re.MULTILINE)

    assert len(installs) == 2
    assert all("--require-hashes" in line for line in installs)
