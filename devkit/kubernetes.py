"""A cluster of one machine: Traefik reads Kubernetes' API, and the pods are processes on loopback ports."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from devkit.helm import Object
from devkit.http import Answer, bearer, call
from devkit.kubernetes_api import KubernetesAPI
from devkit.pages import bash
from devkit.ports import free_port
from devkit.process import ROOT, Process
from devkit.programs import program

PROVIDERS = ("kubernetesingress", "kubernetescrd")


class KubernetesTraefik(Process):
    """Traefik whose routes come from both of its providers for Kubernetes; *flags* change them."""

    name = "traefik"

    def __init__(self, api: KubernetesAPI, *flags: str) -> None:
        super().__init__()
        self.port = free_port()
        place = {"endpoint": api.url, "token": api.token, "certauthfilepath": api.certificate.file}
        providers = [
            f"--providers.{name}.{key}={value}" for name in PROVIDERS for key, value in place.items()
        ]
        self.argv = [
            program("traefik"),
            f"--entrypoints.web.address=127.0.0.1:{self.port}",
            "--entrypoints.web.http.aliasheadersstrategy=delete",
            "--providers.providersthrottleduration=50ms",
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
            *providers,
            *flags,
        ]

    def is_ready(self) -> bool:
        """Return whether it answers, even for an unknown host."""
        return self.status("nobody.test") > 0

    def call(self, host: str, token: str | None = None, target: str = "/") -> Answer:
        """Send a client's request."""
        return call(self.port, target, [("Host", host), *bearer(token)])

    def status(self, host: str, token: str | None = None) -> int:
        """Return the status of a client's request."""
        return self.call(host, token).status


def endpoints(service: str, port: int, name: str = "", namespace: str = "default") -> Object:
    """Return the EndpointSlice of a Service whose only pod listens on a loopback *port*."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service}-1",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"name": name, "port": port, "protocol": "TCP"}],
    }


def service(name: str, namespace: str = "default") -> Object:
    """Return the Service of a backend."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"ports": [{"port": 80}], "clusterIP": "10.0.0.1"},
    }


INGRESS_CLASS: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": "traefik"},
    "spec": {"controller": "traefik.io/ingress-controller"},
}


def local(found: Iterable[Object], port: int) -> list[Object]:
    """Return objects in which ForwardAuth asks a service on a loopback *port*, because there is no DNS."""
    return [_local(each, port) for each in found]


def _local(found: Object, port: int) -> Object:
    if found["kind"] != "Middleware":
        return found
    forward_auth = found["spec"]["forwardAuth"] | {"address": f"http://127.0.0.1:{port}/auth"}
    return found | {"spec": {"forwardAuth": forward_auth}}


def mounted(pod: Any, directory: Path) -> dict[str, object]:
    """Return the settings that name the files of a pod's secrets, as if these were below *directory*."""
    entries = pod["containers"][0]["env"]
    return {entry["name"].lower(): entry["value"].replace("/secrets", str(directory)) for entry in entries}


def shell(commands: str, api: KubernetesAPI, directory: Path) -> str:
    """Run documented commands in the checkout with kubectl and helm for *api*; return what they print."""
    config = directory / "config"
    config.write_text(_config(api))
    path = f"{Path(program('helm')).parent}:{Path(program('kubectl')).parent}:{os.environ['PATH']}"
    env = {"PATH": path, "HOME": str(directory), "KUBECONFIG": str(config)}
    return bash(commands, ROOT, env)


def _config(api: KubernetesAPI) -> str:
    return f"""
apiVersion: v1
kind: Config
current-context: here
contexts: [{{name: here, context: {{cluster: here, user: here}}}}]
clusters: [{{name: here, cluster: {{server: "{api.url}", certificate-authority: "{api.certificate.file}"}}}}]
users: [{{name: here, user: {{token: "{api.token}"}}}}]
"""
