"""The kinds of objects in the stand-in for the API of Kubernetes, their addresses and their discovery."""

from __future__ import annotations

from typing import Any, NamedTuple

Object = dict[str, Any]

KINDS = {
    "v1": "ConfigMap Namespace Node Secret Service",
    "apps/v1": "Deployment StatefulSet",
    "autoscaling/v2": "HorizontalPodAutoscaler",
    "discovery.k8s.io/v1": "EndpointSlice",
    "monitoring.coreos.com/v1": "ServiceMonitor",
    "networking.k8s.io/v1": "Ingress IngressClass NetworkPolicy",
    "policy/v1": "PodDisruptionBudget",
    "traefik.io/v1alpha1": "IngressRoute IngressRouteTCP IngressRouteUDP Middleware MiddlewareTCP "
    "ServersTransport ServersTransportTCP TLSOption TLSStore TraefikService",
}
OPENAPI = "/openapi/v3"
CLUSTER_WIDE = {"Namespace", "Node", "IngressClass"}


class Resource(NamedTuple):
    """A kind of objects, as the discovery names it."""

    version: str
    kind: str

    @property
    def plural(self) -> str:
        """Return its name in addresses."""
        name = self.kind.lower()
        return f"{name}es" if name.endswith("s") else f"{name[:-1]}ies" if name.endswith("cy") else f"{name}s"

    @property
    def prefix(self) -> str:
        """Return the beginning of its addresses."""
        return f"/api/{self.version}" if "/" not in self.version else f"/apis/{self.version}"


RESOURCES = [Resource(version, kind) for version, kinds in KINDS.items() for kind in kinds.split()]
BY_KIND = {(each.version, each.kind): each for each in RESOURCES}


class Place(NamedTuple):
    """What an address of the API names: the objects of a kind, of a namespace of it, or one of them."""

    resource: Resource
    namespace: str
    name: str

    def holds(self, other: Place) -> bool:
        """Return whether the object at *other* is among these."""
        return self.resource == other.resource and self.namespace in {"", other.namespace}


def place_of(path: str) -> Place | None:
    """Return what *path* names, None if there is no such kind."""
    for resource in RESOURCES:
        if not path.startswith(f"{resource.prefix}/"):
            continue
        parts = path.removeprefix(f"{resource.prefix}/").split("/")
        namespace = parts[1] if parts[0] == "namespaces" and len(parts) > 2 else ""
        kind, *names = parts[2:] if namespace else parts
        if kind == resource.plural and not names[1:]:
            return Place(resource, namespace, "".join(names))
    return None


def merged(known: Object, sent: Object) -> Object:
    """Return an object with the parts of a patch; a list is replaced."""
    return known | {
        name: merged(known[name], value)
        if isinstance(value, dict) and isinstance(known.get(name), dict)
        else value
        for name, value in sent.items()
    }


def selects(selector: str, found: Object) -> bool:
    """Return whether a selector such as ``owner=helm,status!=failed`` selects an object by its labels."""
    labels = found["metadata"].get("labels") or {}
    terms = [term.replace("!=", "=!").partition("=") for term in selector.split(",") if term]
    return all(
        labels.get(name) != value[1:] if value.startswith("!") else labels.get(name) == value
        for name, _, value in terms
    )


def description(path: str) -> Object | None:
    """Return what the discovery says at *path*, None if it has no such part."""
    known = {each.prefix for each in RESOURCES}
    groups = [version.split("/") for version in KINDS if "/" in version]
    if path in known:
        return _resources(path)
    if path.removeprefix(OPENAPI) in known:
        return _openapi(path.removeprefix(OPENAPI))
    others: dict[str, Object] = {
        "/version": {"major": "1", "minor": "35", "gitVersion": "v1.35.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*each) for each in groups]},
        OPENAPI: {"paths": {prefix[1:]: {"serverRelativeURL": f"{OPENAPI}{prefix}"} for prefix in known}},
    }
    return others.get(path)


def _openapi(prefix: str) -> Object:
    """Return a description that leaves the check of fields to the API."""
    kinds = [
        {
            "group": each.version.rpartition("/")[0],
            "version": each.version.rpartition("/")[2],
            "kind": each.kind,
        }
        for each in RESOURCES
        if each.prefix == prefix
    ]
    check = [{"name": "fieldValidation", "in": "query"}]
    patches = [{"parameters": check, "x-kubernetes-group-version-kind": kind} for kind in kinds]
    return {
        "openapi": "3.0.0",
        "info": {},
        "paths": {f"{prefix}/{n}": {"patch": p} for n, p in enumerate(patches)},
    }


def _group(name: str, version: str) -> Object:
    served = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [served], "preferredVersion": served}


def _resources(prefix: str) -> Object:
    found = [each for each in RESOURCES if each.prefix == prefix]
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    return {
        "kind": "APIResourceList",
        "groupVersion": found[0].version,
        "resources": [
            {
                "name": each.plural,
                "kind": each.kind,
                "namespaced": each.kind not in CLUSTER_WIDE,
                "verbs": verbs,
            }
            for each in found
        ],
    }
