"""Prepare the volume `secrets`, in which this runs once per start of the stack.

Replaces secrets by the files new_… if there are any, generates missing ones, and writes what Redis and the
sentinels read. It takes no secret from the environment, which `docker inspect` shows. Arguments: the address
of the admin pages, COMPOSE_PROFILES, and the first three numbers of the addresses of Redis and the sentinels.
"""

from __future__ import annotations

import os
import sys
from hashlib import sha256
from pathlib import Path
from secrets import token_hex, token_urlsafe
from string import Template

OWN = {
    "pepper_previous": "",
    "pepper": token_hex(32),
    "admin_user": "admin",
    "admin_pass": token_urlsafe(18),
}
GENERATED = {
    "redis_password": token_hex(32),
    "ha_password": token_hex(32),
    "grafana_password": token_urlsafe(18),
}
# What containers of other users read, which are in the group of this one.
SHARED = {"grafana_password", "redis.acl", "redis.conf", "sentinel.conf", "sentinels.acl"}
LEFT_HA = """\
Redis had a replica when this stack last ran, and the replica may have newer tokens than the first server.
Start it with COMPOSE_PROFILES=ha in .env. docs/docker.md says how to go back to one server."""


def read(name: str) -> str:
    """Return the content of a file without its line end, or "" if there is none."""
    text = Path(name).read_text() if Path(name).exists() else ""
    return text.removesuffix("\n").removesuffix("\r")


def write(name: str, text: str) -> None:
    """Replace a file atomically; only this user can read it, unless it is shared."""
    Path("new").write_text(text + "\n")
    Path("new").chmod(0o640 if name in SHARED else 0o600)
    Path("new").rename(name)


def own_secrets() -> dict[str, str]:
    """Return the secrets of the operator, and tell where the password is."""
    kept, given = {name: read(name) for name in OWN}, {name: read("new_" + name) for name in OWN}
    now = {name: given[name] or kept[name] or made for name, made in OWN.items()}
    # A new pepper must not invalidate the tokens of the old one.
    old = [kept["pepper"], *now["pepper_previous"].split(",")]
    now["pepper_previous"] = ",".join(p for p in dict.fromkeys(old) if p and p != now["pepper"])
    if given["admin_pass"] or kept["admin_pass"]:
        print("user and password: docker compose exec auth cat /secrets/admin_user /secrets/admin_pass")
    else:
        print("user and password, shown this once:", now["admin_user"], now["admin_pass"])
    if now["pepper_previous"]:
        print("The pepper was replaced; tokens from before stay valid. To end those not used since:")
        print("docker compose run --rm secrets truncate -s 0 pepper_previous && docker compose restart auth")
    return now


def configurations(passwords: dict[str, str], network: str) -> dict[str, str]:
    """Return what Redis and the sentinels read: passwords as hashes where that is possible."""
    hashes = {name: sha256(password.encode()).hexdigest() for name, password in passwords.items()}
    values = passwords | {"network": network}
    written = {}
    for name in sorted(SHARED - GENERATED.keys()):
        lines = (Path(__file__).parent / name).read_text().splitlines()
        text = "\n".join(line for line in lines if not line.startswith("#"))
        written[name] = Template(text).substitute(hashes if name.endswith(".acl") else values)
    return written


def redis_url(password: str, network: str, *, is_ha: bool) -> str:
    """Return where the service finds Redis; its password for Redis itself is in a setting of its own."""
    login = f"sentinel_username=acl-auth&sentinel_password={password}"
    sentinels = ",".join(f"{network}.1{number}" for number in (1, 2, 3))
    return f"redis+sentinel://acl-auth@{sentinels}/tokens?{login}" if is_ha else "redis://acl-auth@redis"


def main(address: str, profiles: str, network: str) -> None:
    """Write all files; exit with a message if they would lead to old data."""
    os.umask(0o077)
    is_ha = "ha" in profiles.split(",")
    if read("redis_url").startswith("redis+sentinel:") and not is_ha:
        sys.exit(LEFT_HA)
    print("admin pages:", address)
    passwords = {name: read(name) or made for name, made in GENERATED.items()}
    url = {"redis_url": redis_url(passwords["redis_password"], network, is_ha=is_ha)}
    # pepper_previous is written before the pepper is replaced.
    for name, text in (own_secrets() | passwords | url | configurations(passwords, network)).items():
        write(name, text)
        Path("new_" + name).unlink(missing_ok=True)
    # This user's group can open files whose names it knows; all that are not shared are for this user alone.
    os.chown(".", -1, os.getgid())
    Path().chmod(0o710)


main(*sys.argv[1:])
