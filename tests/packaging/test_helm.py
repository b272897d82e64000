"""The Helm chart: k8s/ is what it prints, other values lead where they say, and bad ones are refused."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from app.core.credentials import IDENTITY_HEADERS, SOURCES, headers, parse_sources
from app.settings import InvalidSettingsError, Settings
from devkit import manifests
from devkit.helm import CHART, RELEASE, Object, Objects, RefusedError, helm, objects, printed
from devkit.kubernetes_schemas import VALIDATE
from devkit.process import ROOT

SECRETS = {
    "existingSecret": "",
    "secrets": {"pepper": "p", "adminUser": "operator", "adminPass": "pass word"},
}
EXTERNAL: Object = {"enabled": False, "existingSecret": "mine", "passwordKey": "pw"}
ROUTE: Object = {"name": "app", "host": "app.test", "service": "app", "port": 80}
# Values that a platform team sets, by what they are for.
SETS: dict[str, Object] = {
    "secrets of the chart": SECRETS | {"redis": {"existingSecret": "", "password": "secret"}},
    "own Redis": {"redis": EXTERNAL | {"usernameKey": "user"}, "settings": {"REDIS_HOST": "redis.db"}},
    "own Sentinel": {"redis": EXTERNAL | {"passwordKey": "", "urlKey": "url"}},
    "no password": {
        "redis": {"enabled": False, "existingSecret": ""},
        "settings": {"REDIS_HOST": "redis.db"},
    },
    "Ingress": {
        "routes": [ROUTE | {"entryPoints": ["web", "websecure"], "tlsSecret": "app-tls", "port": "http"}]
    },
    "IngressRoute": {
        "routes": [ROUTE | {"kind": "IngressRoute", "entryPoints": ["web"], "tlsSecret": "app-tls"}]
    },
    "admin": {"admin": {"host": "acl.test", "entryPoints": ["websecure"], "tlsSecret": "acl-tls"}},
    "no pages": SECRETS | {"secrets": {"pepper": "p"}, "settings": {"ADMIN_ENABLED": False}},
    "HPA": {"autoscaling": {"enabled": True, "maxReplicas": 9}},
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "networkPolicy": {"prometheus": {"namespaces": ["monitoring"]}},
    },
    "no policies": {"networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False}},
    "no Traefik": {"middleware": {"enabled": False}, "routes": []},
    "two of them": {"namePrefix": "b-", "middleware": {"namespaces": ["shop", "wiki"]}},
    "placement": {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "imagePullSecrets": [{"name": "registry"}],
        "image": {"tag": "0.2.0@sha256:" + "0" * 64, "pullPolicy": "Always"},
        "redis": {
            "storageClass": "fast",
            "nodeSelector": {"disk": "fast"},
            "image": {"pullPolicy": "Always"},
        },
        "extraVolumes": [{"name": "tokens", "configMap": {"name": "auth-service-tokens"}}],
        "extraVolumeMounts": [{"name": "tokens", "mountPath": "/tokens", "readOnly": True}],
    },
}
# What the validator does not know.
CUSTOM = ("traefik.io/v1alpha1", "monitoring.coreos.com/v1")


@cache
def of(name: str) -> Objects:
    """Return the objects that a set of values leads to."""
    return objects(**SETS[name])


def test_lint() -> None:
    """Helm has no complaint about the chart."""
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


def test_manifests() -> None:
    """k8s/ is what the chart prints without any values; `make manifests` updates it."""
    written = {path.name: path.read_text("utf-8") for path in manifests.MANIFESTS.glob("*.yaml")}

    assert manifests.files(helm("template", *RELEASE)) == written


def test_schema_of_the_settings() -> None:
    """The schema knows every setting that is no secret, with its type; `make manifests` updates it."""
    text = manifests.SCHEMA.read_text("utf-8")

    assert manifests.schema(text) == text
    assert json.loads(text)["properties"]["settings"]["properties"].keys() == {
        name.upper() for name, field in Settings.__dataclass_fields__.items() if not field.metadata["secret"]
    } - {"BIND"}


def test_schema_of_the_values() -> None:
    """The schema has every value of values.yaml, and no object in it takes others."""
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    schema = json.loads(manifests.SCHEMA.read_text("utf-8"))

    assert schema["properties"].keys() - {"global"} == values.keys()
    for name, value in values.items():
        known = schema["properties"][name]
        if isinstance(value, dict) and "properties" in known:
            assert known["additionalProperties"] is False
            assert name == "settings" or known["properties"].keys() >= value.keys()


def test_objects_are_valid(tmp_path: Path) -> None:
    """Kubernetes accepts what any set of values leads to, as far as its own kinds go."""
    texts = {json.dumps(found) for name in SETS for found in of(name).values()}
    (tmp_path / "all.yaml").write_text("\n---\n".join(texts))
    done = subprocess.run(
        [*VALIDATE, tmp_path / "all.yaml"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    warnings = [line for line in done.stderr.splitlines() if not any(kind in line for kind in CUSTOM)]

    assert done.returncode == 0, done.stdout + done.stderr
    assert (warnings, len(done.stdout.splitlines()) > len(SETS)) == ([], True)


def environ(found: Objects) -> dict[str, str]:
    """Return the environment of the service in *found*, with a value for each secret."""
    container = deployment(found)["containers"][0]
    names = [entry["name"].removesuffix("_FILE") for entry in container["env"]]
    values = {"REDIS_URL": "redis+sentinel://sentinel:26379/main", "PEPPER_PREVIOUS": ""}
    config: dict[str, str] = found["ConfigMap", config_map(found)]["data"]
    return config | {name: values.get(name, "a secret") for name in names}


def config_map(found: Objects) -> str:
    """Return the name of the ConfigMap that the pods read."""
    name: str = deployment(found)["containers"][0]["envFrom"][0]["configMapRef"]["name"]
    return name


def deployment(found: Objects) -> Any:
    """Return what the pods of the service consist of."""
    (spec,) = [each["spec"] for (kind, _), each in found.items() if kind == "Deployment"]
    return spec["template"]["spec"]


@pytest.mark.parametrize("name", SETS)
def test_service_accepts_the_settings(name: str) -> None:
    """The service starts with what any set of values leads to, and has a file for each secret."""
    found = of(name)
    volumes = {volume["name"]: volume for volume in deployment(found)["volumes"]}
    sources = [source["secret"] for source in volumes["secrets"]["projected"]["sources"]]
    paths = {f"/secrets/{item['path']}" for source in sources for item in source["items"]}

    assert Settings.from_environ(environ(found)).pepper
    assert {entry["value"] for entry in deployment(found)["containers"][0]["env"]} == paths
    made = {name: each["stringData"] for (kind, name), each in found.items() if kind == "Secret"}
    for source in sources:
        assert {item["key"] for item in source["items"]} <= made.get(
            source["name"], {i["key"]: 0 for i in source["items"]}
        ).keys()


# Values that the schema refuses, all in one message, and what it says of each.
MISSPELT: Object = {
    "settings": {
        "RATE_LIMT_MAX": 5,
        "RATE_LIMIT_MAX": "many",
        "WEB_CONCURRENCY": 1.5,
        "REDIS_TLS": "maybe",
    },
    "replica": 3,
    "image": {"tag": 1.5},
    "redis": {"enable": False},
    "routes": [ROUTE | {"host": "*.test"}, {"name": "x"}, ROUTE | {"kind": "Route"}],
}
COMPLAINTS = """
- at '': additional properties 'replica' not allowed
- at '/image/tag': got number, want string
- at '/redis': additional properties 'enable' not allowed
- at '/routes/0/host': '*.test' does not match pattern
- at '/routes/1': missing properties 'host', 'service', 'port'
- at '/routes/2/kind': value must be one of 'Ingress', 'IngressRoute'
- at '/settings': additional properties 'RATE_LIMT_MAX' not allowed
- at '/settings/RATE_LIMIT_MAX': 'many' does not match pattern
- at '/settings/REDIS_TLS': value must be one of true, false
- at '/settings/WEB_CONCURRENCY': got number, want integer or string
"""


def test_misspelt_values() -> None:
    """A value that is unknown or of the wrong type is refused by its name."""
    with pytest.raises(RefusedError) as refused:
        objects(**MISSPELT)

    assert [line for line in COMPLAINTS.splitlines() if line not in str(refused.value)] == []


# Values that leave something out or contradict each other, and words of the answer, which says what to do.
OFF = {"settings": {"ADMIN_ENABLED": "false", "METRICS_ENABLED": False}}
MISTAKES: dict[str, tuple[Object, str]] = {
    "no pepper": ({"existingSecret": ""}, "Set existingSecret to the name of a Secret"),
    "no user": (SECRETS | {"secrets": {"pepper": "p"}}, "Set secrets.adminUser and secrets.adminPass"),
    "two sources": ({"secrets": {"pepper": "p"}}, 'Set existingSecret to ""'),
    "two passwords": ({"redis": {"password": "p"}}, 'Set redis.existingSecret to ""'),
    "no password": ({"redis": {"existingSecret": ""}}, "Redis has no password"),
    "no key": ({"redis": {"passwordKey": ""}}, "Redis has no password"),
    "two Redis": ({"settings": {"REDIS_HOST": "redis.db"}}, "Set redis.enabled to false"),
    "no Redis": ({"redis": {"enabled": False}}, "Set settings.REDIS_HOST to the host of yours"),
    "no Secret": ({"redis": EXTERNAL | {"existingSecret": "", "urlKey": "url"}}, "which is not set"),
    "no middleware": ({"middleware": {"enabled": False}}, "The routes need the middleware"),
    "no pages": (OFF | {"admin": {"host": "a.test"}}, "settings.ADMIN_ENABLED turns off"),
    "no metrics": (OFF | {"serviceMonitor": {"enabled": True}}, "settings.METRICS_ENABLED turns off"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake: str) -> None:
    """Values that leave a secret out or contradict each other are refused with what to do."""
    values, answer = MISTAKES[mistake]

    with pytest.raises(RefusedError, match=re.escape(answer)):
        objects(**values)


def test_numbers_are_text() -> None:
    """A large number reaches the service as digits, although Helm reads it as a float."""
    found = objects(settings={"TOKEN_TTL_SECONDS": 31_536_000, "AUDIT_MAX_ENTRIES": "1000000"})

    assert found["ConfigMap", "auth-service-config"]["data"]["TOKEN_TTL_SECONDS"] == "31536000"
    assert Settings.from_environ(environ(found)).token_ttl_seconds == 31_536_000


@pytest.mark.parametrize("names", ["x-api-key", ",".join(SOURCES), "header:api-key, basic, authorization"])
def test_credential_sources(names: str) -> None:
    """The middleware hands on and removes the headers in which the service accepts a token."""
    middleware = objects(settings={"CREDENTIAL_SOURCES": names})["Middleware", "auth-middleware"]
    credentials = [*headers(parse_sources(names))]

    assert middleware["spec"]["forwardAuth"]["authRequestHeaders"] == credentials
    assert middleware["spec"]["forwardAuth"]["authResponseHeaders"] == [*credentials, *IDENTITY_HEADERS]


def test_pods_roll() -> None:
    """A changed setting or secret changes the pods that read it, and no others."""
    given = SETS["secrets of the chart"]
    changed = [
        of("secrets of the chart"),
        objects(**given | {"settings": {"RATE_LIMIT_MAX": 7}}),
        objects(**given | {"secrets": given["secrets"] | {"pepperPrevious": "p"}}),
        objects(**given | {"redis": {"existingSecret": "", "password": "another"}}),
    ]
    services = [json.dumps(each["Deployment", "auth-service"]["spec"]["template"]) for each in changed]
    databases = [json.dumps(each["StatefulSet", "redis"]["spec"]["template"]) for each in changed]

    assert len(set(services)) == 4
    assert databases[0] == databases[1] == databases[2] != databases[3]


def test_no_secret_is_made_up() -> None:
    """Two runs print the same, so that an upgrade changes no secret."""
    assert objects(**SETS["secrets of the chart"]) == of("secrets of the chart")
    assert "randAlphaNum" not in "".join(path.read_text("utf-8") for path in Path(CHART).rglob("*.*l"))


def test_upgrade_keeps_the_database() -> None:
    """A new version changes nothing of Redis, neither what can't be changed nor what would restart it."""
    chart = (CHART / "Chart.yaml").read_text("utf-8")
    found = objects()["StatefulSet", "redis"]

    version = re.findall(r"^appVersion: (.*)$", chart, re.MULTILINE)[0]
    assert version not in json.dumps(found)


def test_own_redis() -> None:
    """Without a Redis of the chart there is no object of it, and the policy lets the service out to yours."""
    peers = [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    found = objects(**SETS["own Sentinel"], networkPolicy={"redis": {"to": peers, "ports": [6379, 26379]}})
    egress = found["NetworkPolicy", "auth-service"]["spec"]["egress"][0]

    assert not [kind for kind, name in found if name == "redis"]
    assert (egress["to"], [port["port"] for port in egress["ports"]]) == (peers, [6379, 26379])
    assert environ(found)["REDIS_URL"]


def test_second_release() -> None:
    """With a prefix no object has the name of another release's, nor do selectors match its pods."""
    first, second = objects(), objects(**SETS["two of them"] | {"routes": []})
    copies = [each for each in printed(**SETS["two of them"]) if each["kind"] == "Middleware"]

    assert not first.keys() & second.keys()
    assert [copy["metadata"]["namespace"] for copy in copies] == ["default", "shop", "wiki"]
    assert {copy["spec"]["forwardAuth"]["address"] for copy in copies} == {
        "http://b-auth-service.default.svc.cluster.local:8000/auth"
    }


def test_release_and_namespace() -> None:
    """Names of release and namespace are where they have to be: selectors, addresses, annotations."""
    text = helm("template", "mine", str(CHART), "--namespace", "gate")

    assert "app.kubernetes.io/instance: acl-auth-service" not in text
    assert "namespace: default" not in text
    assert "http://auth-service.gate.svc.cluster.local:8000/auth" in text
    assert "router.middlewares: gate-auth-middleware@kubernetescrd" in text


def test_admin_pages() -> None:
    """The pages have a route if they have a host, without the middleware, and answer at no other host."""
    found = of("admin")
    spec = found["IngressRoute", "auth-service-admin"]["spec"]

    assert "middlewares" not in json.dumps(spec)
    assert (spec["tls"], spec["entryPoints"]) == ({"secretName": "acl-tls"}, ["websecure"])
    assert Settings.from_environ(environ(found)).admin_hosts == ("acl.test", "localhost", "127.0.0.1")


def test_monitoring() -> None:
    """Prometheus finds each pod under the job of the alerts, and the policy admits it."""
    found = of("monitoring")
    monitor, service = found["ServiceMonitor", "auth-service"], found["Service", "auth-service"]
    alerts = (ROOT / "deploy/monitoring/alerts.yml").read_text("utf-8")
    rules = found["NetworkPolicy", "auth-service"]["spec"]["ingress"]

    job = service["metadata"]["labels"][monitor["spec"]["jobLabel"]]
    assert f'job="{job}"' in alerts
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert "values: [monitoring]" in yaml.safe_dump(rules, default_flow_style=None)


def test_autoscaling() -> None:
    """With an autoscaler, an upgrade does not set the number of pods back."""
    assert "replicas" not in of("HPA")["Deployment", "auth-service"]["spec"]


def test_wrong_settings_are_found() -> None:
    """The check of all sets above sees a setting that the service refuses."""
    with pytest.raises(InvalidSettingsError):
        Settings.from_environ(environ(objects(settings={"LOG_LEVEL": "loud"})))


def test_notes() -> None:
    """What Helm says after an installation has the same commands as docs/kubernetes.md."""
    notes = helm("install", *RELEASE, "--dry-run=client")
    created = re.findall(r"--from-literal=\S+(?: -hex 32\)\")?", notes.partition("NOTES:")[2])
    page = (ROOT / "docs/kubernetes.md").read_text("utf-8")

    assert len(created) == 5
    assert all(each in page for each in created)
