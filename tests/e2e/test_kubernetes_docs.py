"""The commands and examples of docs/kubernetes.md, run by kubectl and helm on a stand-in for the API."""

from __future__ import annotations

import re
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from devkit.certificate import Certificate
from devkit.helm import CHART, Object, Objects, objects
from devkit.kubernetes import shell
from devkit.kubernetes_api import KubernetesAPI
from devkit.pages import blocks, script
from devkit.process import ROOT
from devkit.programs import program

pytestmark = pytest.mark.e2e

PAGE = "docs/kubernetes.md"
TEXT = (ROOT / PAGE).read_text("utf-8")
EXAMPLES: list[Object] = [*map(yaml.safe_load, blocks(PAGE, "yaml"))]
VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
OTHERS = {"additionalArguments", "resources"}  # of Traefik's own chart, and of kustomize
# What needs Docker or pods.
HERE = """
docker() { echo docker "$@"; }
kubectl() {
  case "$*" in
    port-forward*|"rollout status"*) echo kubectl "$@" ;;
    "rollout restart"*) until command kubectl "$@"; do sleep 0.2; done ;; # once a second at most
    *) command kubectl "$@" ;;
  esac
}
"""


@pytest.fixture(name="api")
def _api(tmp_path: Path) -> Iterator[KubernetesAPI]:
    with KubernetesAPI(Certificate(tmp_path)) as api:
        yield api


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    """Return a directory with the values of the page."""
    (tmp_path / "my-values.yaml").write_text(yaml.safe_dump(EXAMPLES[0]))
    return tmp_path


@cache
def default() -> Objects:
    """Return the objects of a release without values."""
    return objects()


def run(section: str, api: KubernetesAPI, directory: Path) -> str:
    """Run the commands below a heading, and return what they print."""
    commands = script(PAGE, section).replace("my-values.yaml", str(directory / "my-values.yaml"))
    return shell(HERE + commands, api, directory)


def found(api: KubernetesAPI, kind: str, name: str) -> Any:
    """Return an object of the API."""
    (one,) = [
        each for place, each in api.objects.items() if (place.resource.kind, place.name) == (kind, name)
    ]
    return one


def test_start(api: KubernetesAPI, directory: Path) -> None:
    """The commands of the page lead from nothing to a protected backend, which an upgrade leaves alone."""
    printed = run("Start", api, directory)
    password = found(api, "Secret", "auth-service-secrets")["data"]["admin_pass"]
    pods = found(api, "Deployment", "auth-service")["spec"]
    run("Upgrades", api, directory)

    assert b64encode(printed.splitlines()[-2].encode()).decode() == password
    assert found(api, "Ingress", "ollama")["spec"]["rules"][0]["host"] == "ollama.example.com"
    assert (
        found(api, "Secret", "sh.helm.release.v1.acl-auth-service.v2")["metadata"]["labels"]["version"] == "2"
    )
    assert found(api, "Deployment", "auth-service")["spec"] == pods


def test_new_secrets(api: KubernetesAPI, directory: Path) -> None:
    """The two steps end with the new pepper, with the old one as the previous one, and with new pods.

    A new password for Redis restarts it as well.
    """
    old = b64encode(b"the old pepper").decode()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "auth-service-secrets"}}
    api.put(secret | {"data": {"pepper": old}}, default()["Deployment", "auth-service"])
    api.put(secret | {"metadata": {"name": "redis-auth"}}, default()["StatefulSet", "redis"])
    run("Secrets", api, directory)
    changed = found(api, "Secret", "auth-service-secrets")["stringData"]
    password = found(api, "Secret", "redis-auth")["stringData"]["password"]
    templates = [
        found(api, *place)["spec"]["template"]
        for place in (("Deployment", "auth-service"), ("StatefulSet", "redis"))
    ]

    assert b64encode(changed["pepper_previous"].encode()).decode() == old
    assert re.fullmatch("[0-9a-f]{64}", changed["pepper"])
    assert changed["pepper"] != changed["pepper_previous"]
    assert re.fullmatch("[0-9a-f]{64}", password)
    for template in templates:
        assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]


def test_plain(api: KubernetesAPI, directory: Path) -> None:
    """Kubectl applies k8s/, and Helm then takes over the same objects."""
    run("Plain kubectl", api, directory)
    names = {(place.resource.kind, place.name) for place in api.objects}

    assert default().keys() <= names
    deployment = found(api, "Deployment", "auth-service")
    assert deployment["metadata"]["annotations"]["meta.helm.sh/release-name"] == "acl-auth-service"
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"].startswith(
        "registry.example.com/"
    )


def test_annotation(api: KubernetesAPI, directory: Path) -> None:
    """The annotated Ingress names the middleware as the one of the chart does."""
    name = "traefik.ingress.kubernetes.io/router.middlewares"
    own = objects(**EXAMPLES[0])["Ingress", "ollama"]
    wanted = own["metadata"].pop("annotations")[name]
    api.put(own)
    run("Protect a backend", api, directory)

    assert found(api, "Ingress", "ollama")["metadata"]["annotations"][name] == wanted


@pytest.mark.parametrize("example", [each for each in EXAMPLES if not OTHERS & each.keys()], ids=list)
def test_values(example: Object) -> None:
    """Every example of values is accepted, and changes what is installed."""
    assert objects(**example) != default()


def test_kustomize(tmp_path: Path) -> None:
    """The kustomization changes image and number of pods, and nothing else."""
    (example,) = [each for each in EXAMPLES if "resources" in each and "images" in each]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(example))
    (tmp_path / "k8s").symlink_to(ROOT / "k8s")
    argv = [program("kubectl"), "kustomize", "--load-restrictor=LoadRestrictionsNone", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    built = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(done.stdout)}
    spec = built["Deployment", "auth-service"]["spec"]

    assert spec["replicas"] == 3
    assert spec["template"]["spec"]["containers"][0]["image"].startswith("registry.example.com/")
    assert default().keys() - built.keys() == {("Ingress", "firecrawl")}


def test_names() -> None:
    """What the page calls a value is one, at the top of values.yaml or below what it names."""
    named = set(re.findall(r"`([a-z][A-Za-z]+(?:\.[A-Za-z]+)*)(?:: [^`]*)?`", TEXT))
    tops = {name for name in named if name.split(".")[0] in VALUES}

    assert {"routes", "settings", "replicas", "readinessPath", "existingSecret", "redis.password"} <= tops
    for name in tops:
        value: Any = VALUES
        for part in name.split("."):
            value = value[part]
