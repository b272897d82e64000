"""`python intruder.py USER PATH…`: prints the paths that another user of the machine can use.

It tries to connect to sockets, to list directories and to read files.
"""

import os
import socket
import sys
from pathlib import Path


def use(path: Path) -> None:
    """Use *path* for what it is; raises PermissionError."""
    if path.suffix == ".sock":
        os.chdir(path.parent)  # because the path of a Unix socket may have at most 107 bytes
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path.name)
    elif path.is_dir():
        list(path.iterdir())
    else:
        path.read_bytes()


def main() -> None:
    """Become the user, and try every path."""
    user = int(sys.argv[1])
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    for path in map(Path, sys.argv[2:]):
        try:
            use(path)
        except PermissionError:
            continue
        print(path)


if __name__ == "__main__":
    main()
