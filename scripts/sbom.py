"""``make sbom`` lists the packages of the image with versions, licenses and dependencies, as CycloneDX.

See docs/decisions/0013.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from venv import create

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
BOM = ROOT / "sbom.cdx.json"


def names(file: str) -> set[NormalizedName]:
    """Return the packages that *file* requires on this platform."""
    text = (ROOT / file).read_text("utf-8").replace("\\\n", "")
    lines = [line.split(" --hash")[0] for line in text.splitlines() if line[:1].isalnum()]
    wanted = map(Requirement, lines)
    return {canonicalize_name(r.name) for r in wanted if r.marker is None or r.marker.evaluate()}


def describe(environment: Path) -> dict[str, Any]:
    """Install as the Dockerfile does, into an empty *environment*, and return its bill of materials."""
    create(environment)
    lock = ["--require-hashes", "--only-binary", ":all:", "--requirement", str(ROOT / "requirements.txt")]
    options = ["--python", str(environment / "bin/python"), "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", *options, "install", *lock], check=True)
    tool = [
        "cyclonedx_py",
        "environment",
        "--output-reproducible",
        "--pyproject",
        str(ROOT / "pyproject.toml"),
    ]
    # It warns that we have no dependencies, which `complete` adds.
    python = [sys.executable, "-W", "ignore", "-m"]
    done = subprocess.run([*python, *tool, str(environment)], check=True, capture_output=True)
    bom: dict[str, Any] = json.loads(done.stdout)
    return bom


def complete(bom: dict[str, Any]) -> None:
    """Add the packages of requirements.in, which the tool does not know, as ours; exits if one is missing."""
    refs = {canonicalize_name(part["name"]): part["bom-ref"] for part in bom["components"]}
    if set(refs) != names("requirements.txt"):
        sys.exit(
            f"installed, but not locked, or the reverse: {sorted(set(refs) ^ names('requirements.txt'))}"
        )
    ours = bom["metadata"]["component"]["bom-ref"]
    needed = sorted(refs[name] for name in names("requirements.in"))
    others = [entry for entry in bom["dependencies"] if entry["ref"] != ours]
    bom["dependencies"] = [*others, {"ref": ours, "dependsOn": needed}]


def main() -> None:
    """Write the bill of materials."""
    with TemporaryDirectory() as environment:
        bom = describe(Path(environment))
    complete(bom)
    BOM.write_text(json.dumps(bom, indent=2, sort_keys=True) + "\n", "utf-8")
    print(f"{BOM.name}: {len(bom['components'])} packages")


if __name__ == "__main__":
    main()
