"""The Kubernetes manifests: names that others rely on, least privilege, and safe rollouts."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from app.settings import Settings
from app.version import VERSION
from devkit.kubernetes_schemas import VALIDATE
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
    """Kubernetes accepts every object, except that the validator does not know Traefik's kinds."""
    done = subprocess.run([*VALIDATE, file], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert all("traefik.io/v1alpha1" in line for line in done.stderr.splitlines() if line.startswith("WARN"))


def test_names() -> None:
    """Every object has its documented name and is in the namespace default."""
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
    """Every object has the recommended label, and the selectors of workloads match their own pods."""
    for found in OBJECTS.values():
        assert "app.kubernetes.io/name" in found["metadata"]["labels"]
    for workload in WORKLOADS:
        spec = OBJECTS[workload]["spec"]
        assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def selectors(node: Any) -> Iterator[dict[str, str]]:
    """Yield the labels of every pod selector below *node*."""
    for name, child in node.items() if isinstance(node, dict) else enumerate(node):
        if name in {"selector", "podSelector", "labelSelector"}:
            yield child.get("matchLabels", child)
        elif isinstance(child, dict | list):
            yield from selectors(child)


def test_selectors() -> None:
    """No selector matches a pod of another application that is also named redis."""
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
    """The Service and the container use port 8000, as the middleware does."""
    assert OBJECTS["Service", "auth-service"]["spec"]["ports"][0]["port"] == 8000
    assert AUTH["containers"][0]["ports"][0]["containerPort"] == 8000


def test_forward_auth() -> None:
    """The middleware asks /auth, trusts no client header, and removes the raw token from the request."""
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
    """No manifest contains a secret, and the comments show how to create both of them."""
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
    """Secrets are read as files from their documented keys."""
    sources = AUTH["volumes"][0]["projected"]["sources"]
    keys = {s["secret"]["name"]: [item["key"] for item in s["secret"]["items"]] for s in sources}

    assert keys == {
        "auth-service-secrets": ["pepper", "pepper_previous", "admin_user", "admin_pass"],
        "redis-auth": ["password"],
    }


def test_environment() -> None:
    """Every variable is a setting or a secret's file, and no manifest contains the value of a secret."""
    config = OBJECTS["ConfigMap", "auth-service-config"]["data"]
    plain = {entry["name"] for entry in AUTH["containers"][0]["env"] if "value" in entry}

    assert set(config) <= SETTINGS - SECRETS
    assert plain <= {f"{name}_FILE" for name in SECRETS}
    assert plain == {entry["name"] for entry in AUTH["containers"][0]["env"]}


def test_secret_files() -> None:
    """Every secret file that a setting names exists in the volume."""
    sources = AUTH["volumes"][0]["projected"]["sources"]
    paths = {f"/secrets/{item['path']}" for source in sources for item in source["secret"]["items"]}

    assert {entry["value"] for entry in AUTH["containers"][0]["env"] if "value" in entry} == paths


def test_config_is_valid() -> None:
    """The service accepts the settings in the ConfigMap."""
    config = OBJECTS["ConfigMap", "auth-service-config"]["data"]
    secrets = {"PEPPER": "a pepper", "ADMIN_USER": "operator", "ADMIN_PASS": "correct horse"}

    assert Settings.from_environ(config | secrets).redis_host == "redis"


@pytest.mark.parametrize("pod", [AUTH, REDIS], ids=["auth-service", "redis"])
def test_pod_security_standard(pod: dict[str, Any]) -> None:
    """Every pod meets the restricted Pod Security Standard and can write to its volumes only."""
    pod_context, container_context = pod["securityContext"], pod["containers"][0]["securityContext"]

    assert pod_context["runAsNonRoot"]
    assert pod_context["runAsUser"] > 0
    assert pod_context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container_context["capabilities"] == {"drop": ["ALL"]}
    assert container_context["readOnlyRootFilesystem"]
    assert not container_context["allowPrivilegeEscalation"]
    assert not pod["automountServiceAccountToken"]


@pytest.mark.parametrize("pod", [AUTH, REDIS], ids=["auth-service", "redis"])
def test_service_links_and_resources(pod: dict[str, Any]) -> None:
    """Service links are off, as they would set REDIS_PORT to tcp://…, and resources are limited."""
    resources = pod["containers"][0]["resources"]

    assert not pod["enableServiceLinks"]
    assert set(resources["requests"]) == set(resources["limits"]) == {"cpu", "memory"}


def test_user_matches_the_image() -> None:
    """The pod runs as the user of the image."""
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")

    assert f"USER {AUTH['securityContext']['runAsUser']}:" in dockerfile


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_probes(probe: str) -> None:
    """No probe depends on Redis; otherwise an outage would turn the service's 503 into Traefik's 500."""
    assert AUTH["containers"][0][probe]["httpGet"] == {"path": "/livez", "port": "http"}


def test_rollout() -> None:
    """A rollout or a drain removes no pod before its replacement is ready."""
    spec = OBJECTS["Deployment", "auth-service"]["spec"]

    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert OBJECTS["PodDisruptionBudget", "auth-service"]["spec"]["maxUnavailable"] < spec["replicas"]
    assert AUTH["topologySpreadConstraints"]


def test_grace() -> None:
    """The termination grace period covers the preStop pause and gunicorn's graceful timeout."""
    config = (ROOT / "gunicorn.conf.py").read_text("utf-8")
    graceful = re.search(r"^graceful_timeout = (\d+)", config, re.MULTILINE)
    pause = AUTH["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]

    assert graceful
    assert pause[0] == "sleep"
    assert int(pause[1]) + int(graceful[1]) < AUTH["terminationGracePeriodSeconds"]


def test_service_network_policy() -> None:
    """Only Traefik can connect to the service, and the service only to Redis and DNS."""
    policy = OBJECTS["NetworkPolicy", "auth-service"]["spec"]
    (ingress,), (redis, dns) = policy["ingress"], policy["egress"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert ingress["ports"] == [{"protocol": "TCP", "port": 8000}]
    assert [set(peer) for peer in ingress["from"]] == [{"namespaceSelector", "podSelector"}]
    assert redis["to"] == [{"podSelector": {"matchLabels": OWN | {"app.kubernetes.io/name": "redis"}}}]
    assert [set(peer) for peer in dns["to"]] == [{"namespaceSelector", "podSelector"}]
    assert {port["port"] for port in dns["ports"]} == {53}


def test_redis_network_policy() -> None:
    """Only the service can connect to Redis, and Redis cannot connect to anything."""
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
def test_redis_persistence(option: str) -> None:
    """Redis persists every change and evicts nothing."""
    assert option in REDIS["containers"][0]["command"][2]


def test_redis_password() -> None:
    """Redis requires the password of redis-auth, which appears on no command line."""
    options, _, config = REDIS["containers"][0]["command"][2].partition("<<CONFIG")

    assert REDIS["volumes"][0]["secret"]["secretName"] == "redis-auth"
    assert "/secrets" not in options
    assert '">$(cat /secrets/password)"' in config


def test_version() -> None:
    """The manifest deploys the image of this version."""
    assert AUTH["containers"][0]["image"] == f"acl-auth-service:{VERSION}"
