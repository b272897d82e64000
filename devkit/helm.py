"""The Helm chart, as the real helm prints it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import yaml  # type: ignore[import-untyped]

from devkit.process import ROOT
from devkit.programs import program

CHART = ROOT / "deploy/helm"
RELEASE = ("acl-auth-service", str(CHART), "--namespace", "default")

Object = dict[str, Any]
Objects = dict[tuple[str, str], Object]


class RefusedError(Exception):
    """Helm printed nothing but this message."""


def helm(*args: str, values: Object | None = None) -> str:
    """Return what helm prints with *values* in place of the chart's; raises RefusedError."""
    given = ("--values", "-") if values else ()
    done = subprocess.run(
        [program("helm"), *args, *given],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise RefusedError(done.stderr + done.stdout)
    return done.stdout


def printed(**values: Any) -> list[Object]:
    """Return the objects of a release with *values*; raises RefusedError."""
    return [*yaml.load_all(helm("template", *RELEASE, values=values), yaml.CSafeLoader)]


def objects(**values: Any) -> Objects:
    """Return the objects of a release by kind and name; raises RefusedError."""
    return {(found["kind"], found["metadata"]["name"]): found for found in printed(**values)}
