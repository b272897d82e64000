"""``make manifests``: write the settings into the schema of the Helm chart, and k8s/ from the chart."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any

from app.settings import Settings
from devkit.helm import CHART, RELEASE
from devkit.process import ROOT
from devkit.programs import path_of

MANIFESTS, SCHEMA = ROOT / "k8s", CHART / "values.schema.json"
_FIXED = {"bind"}  # the probes and the Service know it
_TYPES: Mapping[str, Mapping[str, Any]] = {
    "int": {"type": ["integer", "string"], "pattern": "^[0-9]+$"},
    "bool": {"enum": [True, False, "true", "false"]},
}
_SOURCE = re.compile(r"^# Source: [^/]+/templates/([^/]+)/.*\n+", re.MULTILINE)

_ORIGIN = "#\n# `make manifests` writes this file, from the default values of deploy/helm."
# What stands above the objects of each file, for readers who do not use the chart.
HEADS = {
    "auth-service": """\
# Before the first `kubectl apply -f k8s/`, create the secrets, which are not part of these manifests:
#
#   kubectl create secret generic auth-service-secrets \\
#     --from-literal=pepper="$(openssl rand -hex 32)" --from-literal=pepper_previous= \\
#     --from-literal=admin_user=admin \\
#     --from-literal=admin_pass="$(openssl rand -hex 32)"
#   kubectl create secret generic redis-auth --from-literal=password="$(openssl rand -hex 32)"
#
# Keep a copy of the pepper: without it, every token is invalid. The admin pages have no Ingress. To open them
# at http://127.0.0.1:8000, run `kubectl port-forward service/auth-service 8000`. To read the password, run
#
#   kubectl get secret auth-service-secrets -o go-template='{{.data.admin_pass | base64decode}}{{"\\n"}}'
#
# After changing the ConfigMap or a Secret, run: kubectl rollout restart deployment/auth-service
""",
    "ingress-traefik": """\
# An example: requests to firecrawl.example.com need a token for that host. To protect another backend, change
# the names. The annotation is all that is required.
""",
    "redis": """\
# A single Redis with an append-only file. If you already have a Redis, skip this file and set its address in
# auth-service-config. auth-service.yaml explains how to create the Secret redis-auth.
""",
    "traefik-middleware": """\
# An Ingress or IngressRoute in this namespace is protected by naming this middleware; see the example in
# ingress-traefik.yaml. For a backend in another namespace, create a copy of this middleware there.
#
# Every entry point of Traefik (3.7.13 or newer) needs two settings that a middleware cannot provide. Without
# the first, a client could send X_Auth_Token_Id to a backend that cannot tell it from X-Auth-Token-Id;
# without the other, Traefik ends an upload that takes longer than a minute. With the Helm chart of Traefik:
#
#   additionalArguments:
#     - --entryPoints.web.http.aliasHeadersStrategy=delete
#     - --entryPoints.websecure.http.aliasHeadersStrategy=delete
#     - --entryPoints.web.transport.respondingTimeouts.readTimeout=1h
#     - --entryPoints.websecure.transport.respondingTimeouts.readTimeout=1h
""",
}


def schema(text: str) -> str:
    """Return the *text* of the chart's schema with the settings from the code."""
    known = json.loads(text)
    known["properties"]["settings"] = {
        "type": "object",
        "description": "Settings of docs/configuration.md; BIND is fixed, and secrets come from Secrets",
        "additionalProperties": False,
        "properties": {setting.name.upper(): _schema_of(setting) for setting in _settable()},
    }
    return json.dumps(known, indent=2) + "\n"


def _settable() -> list[Field[Any]]:
    return [each for each in fields(Settings) if not each.metadata["secret"] and each.name not in _FIXED]


def _schema_of(setting: Field[Any]) -> dict[str, Any]:
    return {"description": setting.metadata["help"], **_TYPES.get(str(setting.type), {"type": "string"})}


def files(printed: str) -> dict[str, str]:
    """Return the files of k8s/ that hold what Helm *printed*, each named by its directory in the chart."""
    documents = defaultdict[str, list[str]](list)
    for document in printed.split("\n---\n"):
        source = _SOURCE.search(document)
        assert source, document
        documents[source[1]].append(document[source.end() :].rstrip())
    return {
        f"{name}.yaml": "\n---\n".join([HEADS[name] + _ORIGIN, *each]) + "\n"
        for name, each in documents.items()
    }


def main() -> None:
    """Rewrite the schema and the manifests."""
    SCHEMA.write_text(schema(SCHEMA.read_text("utf-8")), "utf-8")
    program = path_of("helm") or sys.exit("There is no helm: make .venv/.kubernetes")
    printed = subprocess.check_output([program, "template", *RELEASE], text=True)
    for name, text in files(printed).items():
        (MANIFESTS / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
