"""The manifests: the names that others rely on, and no right that is not needed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from app.settings import Settings
from app.version import VERSION
from devkit.process import ROOT

FILES = sorted((ROOT / "k8s").glob("*.yaml"))
OBJECTS: dict[tuple[str, str], Any] = {
    (found["kind"], found["metadata"]["name"]): found
    for file in FILES
    for found in yaml.safe_load_all(file.read_text("utf-8"))
}
WORKLOADS = [("Deployment", "auth-service"), ("StatefulSet", "redis")]
AUTH = OBJECTS["Deployment", "auth-service"]["spec"]["template"]["spec"]
REDIS = OBJECTS["StatefulSet", "redis"]["spec"]["template"]["spec"]
OWN = dict.fromkeys(("app.kubernetes.io/instance", "app.kubernetes.io/part-of"), "acl-auth-service")
SETTINGS = {name.upper() for name in Settings.__dataclass_fields__}
SECRETS = {name.upper() for name, f in Settings.__dataclass_fields__.items() if f.metadata["secret"]}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_schema(file: Path) -> None:
    """Kubernetes accepts every object; of Traefik's own kind the validator knows nothing."""
    validate = Path(sys.executable).with_name("kubernetes-validate")

    done = subprocess.run([validate, "--strict", file], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert all("traefik.io/v1alpha1" in line for line in done.stderr.splitlines() if line.startswith("WARN"))


def test_names() -> None:
    """Every object has the name that others rely on, in the namespace default."""
    assert set(OBJECTS) == {
        ("ConfigMap", "auth-service-config"),
        ("Service", "auth-service"),
        ("Deployment", "auth-service"),
        ("PodDisruptionBudget", "auth-service"),
        ("NetworkPolicy", "auth-service"),
        ("Service", "redis"),
        ("StatefulSet", "redis"),
        ("NetworkPolicy", "redis"),
        ("Middleware", "auth-middleware"),
        ("Ingress", "firecrawl"),
    }
    assert {found["metadata"]["namespace"] for found in OBJECTS.values()} == {"default"}


def test_labels() -> None:
    """Every object can be found by the recommended label, and selectors select what they are meant for."""
    for found in OBJECTS.values():
        assert "app.kubernetes.io/name" in found["metadata"]["labels"]
    for workload in WORKLOADS:
        spec = OBJECTS[workload]["spec"]
        assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def selectors(node: Any) -> Iterator[dict[str, str]]:
    """Yield the labels of every selector of pods below *node*."""
    for name, child in node.items() if isinstance(node, dict) else enumerate(node):
        if name in {"selector", "podSelector", "labelSelector"}:
            yield child.get("matchLabels", child)
        elif isinstance(child, dict | list):
            yield from selectors(child)


def test_selectors() -> None:
    """No pod of another application is selected because it is named redis too."""
    found = [labels for each in OBJECTS.values() for labels in selectors(each.get("spec", {}))]
    own = [labels for labels in found if labels.get("app.kubernetes.io/name") in {"auth-service", "redis"}]

    assert len(own) == 10
    for labels in own:
        assert (
            labels["app.kubernetes.io/instance"] == labels["app.kubernetes.io/part-of"] == "acl-auth-service"
        )
    assert [labels for labels in found if labels not in own] == [
        {"app.kubernetes.io/name": "traefik"},
        {"k8s-app": "kube-dns"},
    ]


def test_service() -> None:
    """The service answers on port 8000, where the middleware asks."""
    assert OBJECTS["Service", "auth-service"]["spec"]["ports"][0]["port"] == 8000
    assert AUTH["containers"][0]["ports"][0]["containerPort"] == 8000


def test_forward_auth() -> None:
    """The middleware asks /auth, trusts no header of a client, and takes the raw token from the request."""
    middleware = OBJECTS["Middleware", "auth-middleware"]

    assert middleware["apiVersion"] == "traefik.io/v1alpha1"
    assert middleware["spec"]["forwardAuth"] == {
        "address": "http://auth-service.default.svc.cluster.local:8000/auth",
        "trustForwardHeader": False,
        "authRequestHeaders": ["Authorization"],
        "authResponseHeaders": ["Authorization", "X-Auth-Token-Id", "X-Auth-Email", "X-Auth-Comment"],
        "maxResponseBodySize": 4096,
    }


def test_ingress() -> None:
    """The example protects firecrawl.example.com with one annotation."""
    ingress = OBJECTS["Ingress", "firecrawl"]
    rule = ingress["spec"]["rules"][0]

    assert ingress["metadata"]["annotations"] == {
        "traefik.ingress.kubernetes.io/router.middlewares": "default-auth-middleware@kubernetescrd"
    }
    assert rule["host"] == "firecrawl.example.com"
    assert rule["http"]["paths"][0]["backend"]["service"] == {
        "name": "firecrawl-service",
        "port": {"number": 80},
    }


def test_no_secret() -> None:
    """No secret is in the files; the commands that make the two that are used are."""
    text = (ROOT / "k8s/auth-service.yaml").read_text("utf-8")

    assert not [kind for kind, _ in OBJECTS if kind == "Secret"]
    for name in ("auth-service-secrets", "redis-auth"):
        assert f"kubectl create secret generic {name} " in text
    for key in ("pepper", "admin_pass", "password"):
        assert f'--from-literal={key}="$(openssl rand -hex 32)"' in text


def test_secrets_in_the_documents() -> None:
    """docs/kubernetes.md makes the same secrets by the same commands as the head of the manifest."""
    page, manifest = (
        (ROOT / name).read_text("utf-8") for name in ("docs/kubernetes.md", "k8s/auth-service.yaml")
    )
    command = r"kubectl create secret generic [\w-]+|--from-literal=\S+(?: -hex 32\)\")?"

    assert len(re.findall(command, page)) > 5
    assert re.findall(command, page) == re.findall(command, manifest)


def test_secret_keys() -> None:
    """Secrets are read as files from the keys with the fixed names."""
    sources = AUTH["volumes"][0]["projected"]["sources"]
    keys = {s["secret"]["name"]: [item["key"] for item in s["secret"]["items"]] for s in sources}

    assert keys == {
        "auth-service-secrets": ["pepper", "pepper_previous", "admin_user", "admin_pass"],
        "redis-auth": ["password"],
    }


def test_environment() -> None:
    """Every variable is a setting or the file of a secret one, and no secret has its value in a manifest."""
    config = OBJECTS["ConfigMap", "auth-service-config"]["data"]
    plain = {entry["name"] for entry in AUTH["containers"][0]["env"] if "value" in entry}

    assert set(config) <= SETTINGS - SECRETS
    assert plain <= {f"{name}_FILE" for name in SECRETS}
    assert plain == {entry["name"] for entry in AUTH["containers"][0]["env"]}


def test_secret_files() -> None:
    """Every file that a setting names is one that the volume has."""
    sources = AUTH["volumes"][0]["projected"]["sources"]
    paths = {f"/secrets/{item['path']}" for source in sources for item in source["secret"]["items"]}

    assert {entry["value"] for entry in AUTH["containers"][0]["env"] if "value" in entry} == paths


def test_config_is_valid() -> None:
    """The service starts with what the ConfigMap says."""
    config = OBJECTS["ConfigMap", "auth-service-config"]["data"]
    secrets = {"PEPPER": "a pepper", "ADMIN_USER": "operator", "ADMIN_PASS": "correct horse"}

    assert Settings.from_environ(config | secrets).redis_host == "redis"


@pytest.mark.parametrize("pod", [AUTH, REDIS], ids=["auth-service", "redis"])
def test_restricted(pod: dict[str, Any]) -> None:
    """Every pod fits the restricted Pod Security Standard, and can write to nothing but its volumes."""
    whole, container = pod["securityContext"], pod["containers"][0]["securityContext"]

    assert whole["runAsNonRoot"]
    assert whole["runAsUser"] > 0
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert container["readOnlyRootFilesystem"]
    assert not container["allowPrivilegeEscalation"]
    assert not pod["automountServiceAccountToken"]


@pytest.mark.parametrize("pod", [AUTH, REDIS], ids=["auth-service", "redis"])
def test_own_environment(pod: dict[str, Any]) -> None:
    """No Service named redis sets REDIS_PORT to tcp://…, and memory and processor have their bounds."""
    resources = pod["containers"][0]["resources"]

    assert not pod["enableServiceLinks"]
    assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory"}


def test_user_is_the_images() -> None:
    """The pod runs as the user that the image was made for."""
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")

    assert f"USER {AUTH['securityContext']['runAsUser']}:" in dockerfile


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_probes(probe: str) -> None:
    """No probe asks Redis: were all pods unready at once, clients would get 500 instead of 503."""
    assert AUTH["containers"][0][probe]["httpGet"] == {"path": "/livez", "port": "http"}


def test_rollout() -> None:
    """A rollout or a drain takes no pod away before another one serves."""
    spec = OBJECTS["Deployment", "auth-service"]["spec"]

    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert OBJECTS["PodDisruptionBudget", "auth-service"]["spec"]["maxUnavailable"] < spec["replicas"]
    assert AUTH["topologySpreadConstraints"]


def test_grace() -> None:
    """A pod is killed only after it has waited for Traefik and finished what it had begun."""
    config = (ROOT / "gunicorn.conf.py").read_text("utf-8")
    graceful = re.search(r"^graceful_timeout = (\d+)", config, re.MULTILINE)
    pause = AUTH["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]

    assert graceful
    assert pause[0] == "sleep"
    assert int(pause[1]) + int(graceful[1]) < AUTH["terminationGracePeriodSeconds"]


def test_who_may_ask() -> None:
    """Only Traefik reaches the service, and it reaches nothing but Redis and DNS."""
    policy = OBJECTS["NetworkPolicy", "auth-service"]["spec"]
    (ingress,), (redis, dns) = policy["ingress"], policy["egress"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert ingress["ports"] == [{"protocol": "TCP", "port": 8000}]
    assert [set(peer) for peer in ingress["from"]] == [{"namespaceSelector", "podSelector"}]
    assert redis["to"] == [{"podSelector": {"matchLabels": OWN | {"app.kubernetes.io/name": "redis"}}}]
    assert [set(peer) for peer in dns["to"]] == [{"namespaceSelector", "podSelector"}]
    assert {port["port"] for port in dns["ports"]} == {53}


def test_who_may_store() -> None:
    """Only the service reaches Redis, and Redis reaches nobody."""
    policy = OBJECTS["NetworkPolicy", "redis"]["spec"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [
        {
            "from": [{"podSelector": {"matchLabels": OWN | {"app.kubernetes.io/name": "auth-service"}}}],
            "ports": [{"protocol": "TCP", "port": 6379}],
        }
    ]
    assert "egress" not in policy


@pytest.mark.parametrize(
    "option", ["--appendonly yes", "--appendfsync everysec", "--maxmemory-policy noeviction"]
)
def test_redis_remembers(option: str) -> None:
    """A crash brings no deleted token back, and full memory evicts none."""
    assert option in REDIS["containers"][0]["command"][2]


def test_redis_password() -> None:
    """The password of redis-auth is asked for, and is on no command line."""
    options, _, config = REDIS["containers"][0]["command"][2].partition("<<CONFIG")

    assert REDIS["volumes"][0]["secret"]["secretName"] == "redis-auth"
    assert "/secrets" not in options
    assert '">$(cat /secrets/password)"' in config


def test_version() -> None:
    """The image that is deployed is of this version."""
    assert AUTH["containers"][0]["image"] == f"acl-auth-service:{VERSION}"
