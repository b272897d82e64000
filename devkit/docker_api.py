"""A stand-in for the API of Docker, from which a real Traefik reads the labels of containers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any

from devkit.server import Server

Labels = Mapping[str, Sequence[str]]  # by the name of a container

_COMPOSE = "com.docker.compose"


class DockerApi(Server):
    """Docker with running containers on the loopback address, all of which expose the port *exposed*."""

    def __init__(self, exposed: int) -> None:
        super().__init__(_Handler)
        self._ports = {f"{exposed}/tcp": None}
        self.labels: dict[str, dict[str, str]] = {}

    def publish(self, labels: Labels) -> None:
        """Replace the containers, which are those of the Compose project `home`."""
        for name, found in labels.items():
            compose = {f"{_COMPOSE}.project": "home", f"{_COMPOSE}.service": name}
            self.labels[name] = compose | dict(each.split("=", 1) for each in found)

    def container(self, name: str) -> dict[str, Any]:
        """Return what Docker tells of one container."""
        networks = {"bridge": {"NetworkID": "1", "IPAddress": "127.0.0.1"}}
        return {
            "Id": name,
            "Name": f"/{name}",
            "Names": [f"/{name}"],
            "Labels": self.labels[name],
            "State": {"Status": "running", "Running": True},
            "HostConfig": {"NetworkMode": "bridge"},
            "Config": {"Labels": self.labels[name]},
            "NetworkSettings": {"Networks": networks, "Ports": self._ports},
        }


class _Handler(BaseHTTPRequestHandler):
    server: DockerApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        match self.path.partition("?")[0].split("/")[2:]:
            case ["containers", "json"]:
                names = self.server.labels
                self._send([self.server.container(name) | {"State": "running"} for name in names])
            case ["containers", name, "json"]:
                self._send(self.server.container(name))
            case ["events"]:
                self._send(None)
                self.rfile.read(1)  # until Traefik hangs up, because nothing ever happens
            case _:  # /version, which says nothing that matters
                self._send({})

    def do_HEAD(self) -> None:
        self._send(None)

    def _send(self, found: object) -> None:
        """Answer with JSON, or with a head alone."""
        body = b"" if found is None else json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("API-Version", "1.47")
        if found is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Suppress the request log."""
