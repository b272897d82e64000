"""Print the release notes of this version, its section of CHANGELOG.md. An argument is the tag to check.

It needs nothing but Python, because the release workflow installs nothing.
"""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION: str = runpy.run_path(str(ROOT / "app/version.py"))["VERSION"]


def main(tags: list[str]) -> None:
    """Print the notes; exit with a message if a tag names another version or there are no notes."""
    if wrong := [tag for tag in tags if tag != f"v{VERSION}"]:
        sys.exit(f"app/version.py says {VERSION}, not {wrong[0]}")
    print(notes((ROOT / "CHANGELOG.md").read_text("utf-8"), VERSION))


def notes(changelog: str, version: str) -> str:
    """Return what *changelog* says about *version*, without the heading."""
    pattern = rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## |\Z)"
    section = re.search(pattern, changelog, re.MULTILINE | re.DOTALL)
    if not section or not section[1].strip():
        sys.exit(f"CHANGELOG.md says nothing about {version}")
    return section[1].strip()


if __name__ == "__main__":
    main(sys.argv[1:])
