"""A stand-in for the API of Kubernetes: it keeps objects, lists them, and reports changes to who watches.

It has what Traefik, kubectl and helm ask for, over HTTPS with a token. It checks no object and runs no pod.
"""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml  # type: ignore[import-untyped]

from devkit import kubernetes_wire
from devkit.certificate import Certificate
from devkit.kubernetes_kinds import (
    Object,
    Place,
    description,
    merged,
    place_of,
    selects,
)
from devkit.kubernetes_store import Store
from devkit.server import Server, read_body


class KubernetesAPI(Store, Server):
    """The API on a loopback port, with the objects that were put into it."""

    token = "token of Traefik"

    def __init__(self, certificate: Certificate) -> None:
        Store.__init__(self)
        Server.__init__(self, _Handler)
        self.certificate = certificate
        self.url = f"https://127.0.0.1:{self.port}"
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate.file, certificate.key)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; its thread then does the handshake."""
        connection, address = super().get_request()
        return self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def __exit__(self, *_: object) -> None:
        self.close_store()
        super().__exit__()


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
            self._reply(description(url.path))
        elif query.get("watch") in {"1", "true"}:
            self._watch(place, query)
        elif place.name:
            self._reply(self.server.objects.get(place))
        else:
            self._list(place, query.get("labelSelector", ""))

    def _is_known(self) -> bool:
        return self.headers["Authorization"] == f"Bearer {self.server.token}"

    def _list(self, place: Place, selector: str) -> None:
        with self.server.changed:
            version, items = len(self.server.changes), self.server.listed(place)
        items = [found for found in items if selects(selector, found)]
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

    def do_PUT(self) -> None:
        """Replace an object."""
        self._keep(200)

    def do_DELETE(self) -> None:
        """Delete an object."""
        place = place_of(urlsplit(self.path).path)
        read_body(self.rfile, {name.lower(): value for name, value in self.headers.items()})
        if not place or not self._is_known():
            self._fail(403, "Forbidden")
        elif place not in self.server.objects:
            self._fail(404, "NotFound")
        else:
            self.server.delete(place.resource.kind, place.name, place.namespace)
            self._send({"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def _keep(self, status: int) -> None:
        fields = {name.lower(): value for name, value in self.headers.items()}
        body, place = read_body(self.rfile, fields), place_of(urlsplit(self.path).path)
        if not place or not self._is_known():
            self._fail(403, "Forbidden")
            return
        binary = "protobuf" in fields["content-type"]
        sent = kubernetes_wire.secret(body) if binary else yaml.load(body, yaml.CSafeLoader)
        name = place.name or sent["metadata"]["name"]
        known = self.server.objects.get(place, {}) if self.command == "PATCH" else {}
        self._send(self.server.store(place._replace(name=name), merged(known, sent)), status)

    def _reply(self, found: Object | None) -> None:
        if found:
            self._send(found)
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
