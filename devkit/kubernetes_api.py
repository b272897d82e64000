"""A stand-in for the API of Kubernetes: it keeps objects, lists them, and reports changes to who watches.

It has what Traefik, kubectl and helm ask for, over HTTPS with a token. It checks no object and runs no pod.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from threading import Condition
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import yaml  # type: ignore[import-untyped]

from devkit.certificate import Certificate
from devkit.server import Server, read_body

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
_BY_KIND = {(each.version, each.kind): each for each in RESOURCES}


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


class Change(NamedTuple):
    """What happened to an object."""

    kind: str
    place: Place
    found: Object


class KubernetesAPI(Server):
    """The API on a loopback port, with the objects that were put into it."""

    token = "token of Traefik"

    def __init__(self, certificate: Certificate) -> None:
        super().__init__(_Handler)
        self.certificate = certificate
        self.url = f"https://127.0.0.1:{self.port}"
        self.objects: dict[Place, Object] = {}
        self.changes: list[Change] = []
        self.changed, self.is_closing = Condition(), False
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate.file, certificate.key)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; its thread then does the handshake."""
        connection, address = super().get_request()
        return self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.is_closing = True
            self.changed.notify_all()
        super().__exit__()

    def put(self, *objects: Object) -> None:
        """Create objects, or replace those of the same names."""
        for found in objects:
            resource = _BY_KIND[found["apiVersion"], found["kind"]]
            meta = found["metadata"]
            namespace = "" if resource.kind in CLUSTER_WIDE else meta.get("namespace", "default")
            self.store(Place(resource, namespace, meta["name"]), found)

    def store(self, place: Place, found: Object) -> Object:
        """Keep an object at its place with a new version of it, which is returned."""
        with self.changed:
            meta = {"uid": f"{hash(place)}", "creationTimestamp": "2026-01-01T00:00:00Z"} | found["metadata"]
            meta |= {"resourceVersion": f"{len(self.changes) + 1}", "namespace": place.namespace}
            kept = found | {"metadata": meta}
            self._note("MODIFIED" if place in self.objects else "ADDED", place, kept)
            self.objects[place] = kept
        return kept

    def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        """Delete an object."""
        with self.changed:
            (place,) = [
                each for each in self.objects if (each.resource.kind, *each[1:]) == (kind, namespace, name)
            ]
            self._note("DELETED", place, self.objects.pop(place))

    def _note(self, kind: str, place: Place, found: Object) -> None:
        self.changes.append(Change(kind, place, found))
        self.changed.notify_all()

    def listed(self, wanted: Place) -> list[Object]:
        """Return the objects at a place."""
        return [found for place, found in self.objects.items() if wanted.holds(place)]

    def since(self, wanted: Place, version: int) -> Iterator[Change]:
        """Yield each change at a place after *version*, until the server closes."""
        while new := self._new(version):
            version += len(new)
            yield from (change for change in new if wanted.holds(change.place))

    def _new(self, version: int) -> list[Change]:
        """Wait for changes after *version* and return them; none if the server closes."""
        with self.changed:
            self.changed.wait_for(lambda: self.is_closing or len(self.changes) > version)
            return [] if self.is_closing else self.changes[version:]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: KubernetesAPI

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def handle(self) -> None:
        """Serve a connection until its client is gone."""
        with suppress(OSError):
            super().handle()

    def do_GET(self) -> None:
        """Answer a list, a watch, one object or a part of the discovery."""
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        place = place_of(url.path)
        if not self._is_known():
            self._fail(401, "Unauthorized")
        elif not place:
            self._discover(url.path)
        elif query.get("watch") in {"1", "true"}:
            self._watch(place, query)
        elif place.name:
            found = self.server.objects.get(place)
            self._send(found) if found else self._fail(404, "NotFound")
        else:
            self._list(place)

    def _is_known(self) -> bool:
        return self.headers["Authorization"] == f"Bearer {self.server.token}"

    def _list(self, place: Place) -> None:
        with self.server.changed:
            version, items = len(self.server.changes), self.server.listed(place)
        kind = {"kind": f"{place.resource.kind}List", "apiVersion": place.resource.version}
        self._send(kind | {"metadata": {"resourceVersion": f"{version}"}, "items": items})

    def _watch(self, place: Place, query: dict[str, str]) -> None:
        version = int(query.get("resourceVersion") or 0)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if query.get("sendInitialEvents") == "true":
            version = self._send_initial(place)
        for change in self.server.since(place, version):
            self._event(change.kind, change.found)

    def _send_initial(self, place: Place) -> int:
        """Send what there is, and the mark after it; return its version."""
        with self.server.changed:
            version, items = len(self.server.changes), self.server.listed(place)
        for found in items:
            self._event("ADDED", found)
        meta = {"resourceVersion": f"{version}", "annotations": {"k8s.io/initial-events-end": "true"}}
        kind = {"kind": place.resource.kind, "apiVersion": place.resource.version}
        self._event("BOOKMARK", kind | {"metadata": meta})
        return version

    def _event(self, kind: str, found: Object) -> None:
        line = json.dumps({"type": kind, "object": found}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))

    def do_PATCH(self) -> None:
        """Change an object by the parts that are sent; a server-side apply sends all of it."""
        self._keep(200)

    def do_POST(self) -> None:
        """Create an object."""
        self._keep(201)

    do_PUT = do_PATCH  # noqa: N815

    def _keep(self, status: int) -> None:
        fields = {name.lower(): value for name, value in self.headers.items()}
        body, place = read_body(self.rfile, fields), place_of(urlsplit(self.path).path)
        if not place or not self._is_known():
            self._fail(403, "Forbidden")
            return
        if "protobuf" in fields["content-type"]:
            self._fail(415, "UnsupportedMediaType")
            return
        sent = yaml.safe_load(body)
        name = place.name or sent["metadata"]["name"]
        known = self.server.objects.get(place, {}) if self.command == "PATCH" else {}
        self._send(self.server.store(place._replace(name=name), _merged(known, sent)), status)

    def _discover(self, path: str) -> None:
        groups = [version.split("/") for version in KINDS if "/" in version]
        known = {each.prefix for each in RESOURCES}
        if path == "/version":
            self._send({"major": "1", "minor": "35", "gitVersion": "v1.35.0"})
        elif path == "/api":
            self._send({"kind": "APIVersions", "versions": ["v1"]})
        elif path == "/apis":
            self._send(
                {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*each) for each in groups]}
            )
        elif path in known:
            self._send(_resources(path))
        elif path == "/openapi/v3":
            self._send({"paths": {prefix[1:]: {"serverRelativeURL": f"{path}{prefix}"} for prefix in known}})
        elif path.removeprefix("/openapi/v3") in known:
            self._send(_openapi(path.removeprefix("/openapi/v3")))
        else:
            self._fail(404, "NotFound")

    def _fail(self, status: int, reason: str) -> None:
        about = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        self._send(about | {"reason": reason, "message": f"{reason}: {self.path}", "code": status}, status)

    def _send(self, found: Object, status: int = 200) -> None:
        body = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _merged(known: Object, sent: Object) -> Object:
    """Return an object with the parts of a patch; a list is replaced."""
    return known | {
        name: _merged(known[name], value)
        if isinstance(value, dict) and isinstance(known.get(name), dict)
        else value
        for name, value in sent.items()
    }


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
