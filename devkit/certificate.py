"""A self-signed TLS certificate, and Redis servers that use it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from devkit.programs import program


class Certificate:
    """A certificate for 127.0.0.1 and its key, as files in *directory*."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "cert.pem"
        self.key = directory / "key.pem"
        name = ("-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1")
        kind = ("-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
        files = ("-keyout", str(self.key), "-out", str(self.file))
        subprocess.run([program("openssl"), "req", *kind, *name, *files], check=True, capture_output=True)

    def options(self, port: int) -> dict[str, str]:
        """Return the options of a Redis server that expects TLS on *port*."""
        files = {"tls-cert-file": self.file, "tls-key-file": self.key, "tls-ca-cert-file": self.file}
        return {"tls-port": f"{port}", "tls-auth-clients": "no"} | {n: f"{path}" for n, path in files.items()}

    def argv(self, port: int) -> list[str]:
        """Return these options as command-line arguments."""
        return [word for name, value in self.options(port).items() for word in (f"--{name}", value)]

    @property
    def trusted(self) -> dict[str, object]:
        """Return the settings of a service that trusts this certificate."""
        return {"redis_tls_ca_file": self.file}

    @property
    def shown(self) -> dict[str, object]:
        """Return the settings of a service that trusts it and also presents it as its own."""
        return self.trusted | {"redis_tls_cert_file": self.file, "redis_tls_key_file": self.key}
