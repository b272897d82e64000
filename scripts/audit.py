"""``make audit`` looks the locked packages up in a vulnerability database, or reports that it is unreachable.

See docs/decisions/0013. The service is trusted only if it reports a release that is known to be
vulnerable: a mirror or a captive portal may answer every query with "nothing found".
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parent.parent
# "bench" includes all but those installed apart; pip-audit takes no two versions of a package at once.
LOCKS = [ROOT / f"requirements-{name}.txt" for name in ("bench", "clients", "openai1", "kubernetes")]
SERVICE = os.environ.get("OSV_URL", "https://api.osv.dev/v1/query")
KNOWN: dict[str, Any] = {"package": {"ecosystem": "PyPI", "name": "jinja2"}, "version": "2.4.1"}
TIMEOUT_S = 5

# Advisories that do not affect this service, each with the reason and where that can be seen.
ACCEPTED: dict[str, str] = {}


def doubt() -> str | None:
    """Return why the service cannot be trusted, None if it can."""
    try:
        answer = requests.post(SERVICE, json=KNOWN, timeout=TIMEOUT_S)
        answer.raise_for_status()
        return (
            None
            if answer.json().get("vulns")
            else "it does not report jinja2 2.4.1 as vulnerable, as it should"
        )
    except (requests.RequestException, AttributeError) as error:
        return f"{type(error).__name__}, {error}"


def audit() -> int:
    """Audit each lock; return the highest exit status, 0 without a known vulnerability."""
    return max([_audit(lock) for lock in LOCKS])


def _audit(lock: Path) -> int:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--disable-pip", "--strict"]
    service = ["--vulnerability-service", "osv", "--osv-url", SERVICE, "--timeout", str(TIMEOUT_S)]
    accepted = [part for name in ACCEPTED for part in ("--ignore-vuln", name)]
    return subprocess.run(
        [*command, *service, *accepted, "--progress-spinner", "off"], check=False
    ).returncode


def main() -> int:
    """Audit; without a trusted service this fails, unless ``--if-reachable`` is given."""
    if reason := doubt():
        print(f"NOT AUDITED: the locked packages were not checked. {SERVICE} can't be used: {reason}")
        print("Where the network allows: make audit")
        return 0 if "--if-reachable" in sys.argv else 2
    return audit()


if __name__ == "__main__":
    sys.exit(main())
