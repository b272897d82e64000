"""Files that only this user may read and write (docs/decisions/0017)."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ROOT = 0  # which may do everything anyway
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def tighten(path: Path) -> None:
    """Restrict *path* and everything in it to this user; exits if another user owns any of it."""
    for place in (path, path.resolve(), *_inside(path)):
        with suppress(FileNotFoundError):  # because Redis removes files meanwhile
            _tighten(place)


def warn_of_writers(path: Path) -> None:
    """Warn if other users can replace *path*."""
    for above in path.parents:
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            print(f"Every user of this machine can replace {path}: chmod o-w {above}", file=sys.stderr)


def replace(path: Path, text: str) -> None:
    """Write a file atomically, and never readable by another user."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _inside(path: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(path):
        yield from (Path(directory, name) for name in names + files)


def _tighten(path: Path) -> None:
    found = path.lstat()
    if found.st_uid not in {os.geteuid(), _ROOT}:
        sys.exit(f"{path} belongs to another user (uid {found.st_uid}); see what it is, then move it away")
    if stat.S_ISLNK(found.st_mode) or not found.st_mode & _OTHERS:
        return
    path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
    if path.lstat().st_mode & _OTHERS:
        sys.exit(f"{path} can't be kept from other users: its file system has no modes; use another one")
