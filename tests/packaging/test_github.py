"""What GitHub is asked to do: with pinned actions, with few rights, and the same checks as anywhere else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from app.version import VERSION
from devkit.helm import CHART, RELEASE, helm
from devkit.process import ROOT
from devkit.programs import program

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
RIGHTS = {
    "ci": {"check": {"contents": "read"}},
    "release": {
        "notes": {"contents": "read"},
        "image": {"contents": "read", "packages": "write"},
        "release": {"contents": "write", "packages": "write"},
    },
}


def read(path: Path) -> Any:
    """Return what a file in YAML says; it calls the key `on` true."""
    return yaml.safe_load(path.read_text("utf-8"))


def script(job: str, step: str) -> str:
    """Return the commands of a step of the workflow that releases."""
    steps = read(GITHUB / "workflows/release.yml")["jobs"][job]["steps"]
    (found,) = [one["run"] for one in steps if one.get("name") == step]
    return str(found)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_rights(path: Path) -> None:
    """A workflow has no rights, and each job those that it needs; each ends."""
    workflow = read(path)

    assert workflow["permissions"] == {}
    assert {name: job["permissions"] for name, job in workflow["jobs"].items()} == RIGHTS[path.stem]
    assert all(job["timeout-minutes"] <= 60 for job in workflow["jobs"].values())
    assert "group" in workflow["concurrency"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions(path: Path) -> None:
    """Every action is a commit, with its version for people, and keeps no token in the checkout."""
    used = re.findall(r"uses: *(.*)", path.read_text("utf-8"))
    steps = [step for job in read(path)["jobs"].values() for step in job["steps"] if "uses" in step]

    assert len(used) == len(steps) > 0
    assert [line for line in used if not re.fullmatch(r"[\w/.-]+@[0-9a-f]{40} # v\d+(\.\d+){2}", line)] == []
    assert all(step["with"]["persist-credentials"] is False for step in steps)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_expression_in_a_shell(path: Path) -> None:
    """No shell gets text that GitHub put into it, because others may choose that text."""
    steps = [step for job in read(path)["jobs"].values() for step in job["steps"]]

    assert not [step["run"] for step in steps if "${{" in step.get("run", "")]


def test_checks() -> None:
    """Pull requests and the main branch run what everyone runs."""
    workflow = read(GITHUB / "workflows/ci.yml")

    assert [step["run"] for step in workflow["jobs"]["check"]["steps"] if "run" in step] == [".ci/run"]
    assert set(workflow[True]) == {"push", "pull_request"}


def test_history() -> None:
    """The tests of upgrades find the earlier commits that they start; skipping them would fail the run."""
    (checkout,) = [
        step for step in read(GITHUB / "workflows/ci.yml")["jobs"]["check"]["steps"] if "uses" in step
    ]

    assert checkout["with"]["fetch-depth"] == 0


def test_release() -> None:
    """A tag of a version builds an image with an SBOM and its provenance, and then creates the release."""
    workflow = read(GITHUB / "workflows/release.yml")
    image = script("image", "Build and push")

    assert workflow[True] == {"push": {"tags": ["v*"]}}
    assert all(
        option in image for option in ("--output type=registry", "--sbom=true", "--provenance=mode=max")
    )
    assert [workflow["jobs"][name]["needs"] for name in ("image", "release")] == ["notes", "image"]


def test_image() -> None:
    """The image is built for both architectures, reproducibly, and with every build argument but the base."""
    same = (
        "--platform linux/amd64,linux/arm64 ",
        '--build-arg SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" ',
        ",rewrite-timestamp=true",
    )
    page = (ROOT / "docs/docker.md").read_text("utf-8").split("**Reproducible.**")[1]
    image = script("image", "Build and push")
    given = re.findall(r"--build-arg (\w+)=", image)
    declared = re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)

    assert all(option in image and option in page for option in same)
    assert {*given, "PYTHON_IMAGE"} == {*declared, "SOURCE_DATE_EPOCH"}


@pytest.fixture(name="package")
def _package(tmp_path: Path) -> Path:
    """Package the chart with the commands of the workflow, in a copy."""
    shutil.copytree(CHART, tmp_path / "deploy/helm")
    path = f"{Path(program('helm')).parent}:{os.environ['PATH']}"
    env = {"PATH": path, "IMAGE": "ghcr.io/Someone/Gate", "GITHUB_REF_NAME": f"v{VERSION}"}
    command = ["bash", "-ec", script("release", "Package the chart")]
    subprocess.run(command, cwd=tmp_path, env=env, check=True, stdout=subprocess.DEVNULL)
    return tmp_path / f"acl-auth-service-{VERSION}.tgz"


def test_chart(package: Path) -> None:
    """The packaged chart prints what the directory prints, with the image that the same release pushed."""
    image = {"repository": "ghcr.io/someone/gate"}
    name, _, *rest = RELEASE
    with tarfile.open(package) as tar:
        names = {member.partition("/")[2] for member in tar.getnames()}

    assert names >= {"Chart.yaml", "values.yaml", "values.schema.json"}
    assert helm("template", name, str(package), *rest) == helm("template", *RELEASE, values={"image": image})


def test_chart_is_published() -> None:
    """The chart goes to the registry and to the release."""
    assert "helm push acl-auth-service-*.tgz " in script("release", "Push the chart")
    assert " acl-auth-service-*.tgz " in script("release", "Create the release")


def test_updates() -> None:
    """Dependabot looks at all three kinds of dependencies each week, and puts those of a kind together."""
    updates = read(GITHUB / "dependabot.yml")["updates"]

    assert {update["package-ecosystem"] for update in updates} == {"pip", "docker", "github-actions"}
    assert all(update["schedule"] == {"interval": "weekly"} and update["groups"] for update in updates)


@pytest.mark.parametrize("path", sorted((GITHUB / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda p: p.stem)
def test_issue_forms(path: Path) -> None:
    """An issue form asks for something, and every question has a name of its own."""
    form = read(path)
    asked = [field for field in form["body"] if field["type"] != "markdown"]

    assert form.keys() >= {"name", "description", "body"}
    assert len({field["id"] for field in asked}) == len(asked) > 1
    assert all(field["attributes"]["label"] for field in asked)


def test_pre_commit() -> None:
    """The hooks are the tools of .venv that `make check` runs, and nothing that is fetched."""
    (repository,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    hooks = {hook["entry"].split()[0] for hook in repository["hooks"]}
    checked = set(re.findall(r"^\t\$\(BIN\)/(\w[\w-]*)", makefile("check"), re.MULTILINE)) - {"python"}

    assert repository["repo"] == "local"
    assert hooks == {f".venv/bin/{tool}" for tool in checked}
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}


def makefile(target: str) -> str:
    """Return the commands of a target."""
    text = (ROOT / "Makefile").read_text("utf-8")
    return text.split(f"\n{target}:")[1].split("\n\n")[0]
