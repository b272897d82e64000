"""What helm installs, read by Traefik's providers for Kubernetes from an API, protects real backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from devkit import kubernetes
from devkit.backend import Backend
from devkit.certificate import Certificate
from devkit.helm import Object, objects, printed
from devkit.http import call
from devkit.kubernetes import INGRESS_CLASS, KubernetesTraefik, endpoints, local
from devkit.kubernetes_api import KubernetesAPI
from devkit.redis_server import RedisServer
from devkit.service import ADMIN_PASS, ADMIN_USER, PEPPER, Gunicorn
from devkit.waiting import until

pytestmark = pytest.mark.e2e

NEW_PEPPER = "another pepper"
INGRESS, ROUTE, ADMIN = "firecrawl.example.com", "wiki.example.com", "acl.example.com"
VALUES: Object = {
    "routes": [
        {"name": "firecrawl", "host": INGRESS, "service": "app", "port": 80},
        {"name": "wiki", "host": ROUTE, "service": "app", "port": 80, "kind": "IngressRoute"},
    ],
    "admin": {"host": ADMIN},
    "settings": {"WEB_CONCURRENCY": 1},
}


@pytest.fixture(scope="module", name="directory")
def _directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory with the keys of the Secrets, each as a file."""
    directory = tmp_path_factory.mktemp("secrets")
    keys = {
        "pepper": PEPPER,
        "pepper_previous": NEW_PEPPER,
        "admin_user": ADMIN_USER,
        "admin_pass": ADMIN_PASS,
    }
    for name, value in keys.items() | {"redis_password": ""}.items():
        (directory / name).write_text(value)
    return directory


@pytest.fixture(scope="module", name="database")
def _database() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module", name="pod")
def _pod(database: RedisServer, directory: Path) -> Callable[[], Gunicorn]:
    """Return what starts a pod: the settings of the ConfigMap and of the Deployment, and the files."""
    found = objects(**VALUES)
    config = {
        name.lower(): value for name, value in found["ConfigMap", "auth-service-config"]["data"].items()
    }
    files = kubernetes.mounted(found["Deployment", "auth-service"]["spec"]["template"]["spec"], directory)
    none = dict.fromkeys(("pepper", "admin_user", "admin_pass"))
    settings: dict[str, object] = config | files | none | {"redis_host": "127.0.0.1"}
    del settings["redis_port"]
    return lambda: Gunicorn(database.port, **settings)


@pytest.fixture(scope="module", name="service")
def _service(pod: Callable[[], Gunicorn]) -> Iterator[Gunicorn]:
    with pod() as service:
        yield service


@pytest.fixture(scope="module", name="api")
def _api(
    service: Gunicorn, echo: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubernetesAPI]:
    with KubernetesAPI(Certificate(tmp_path_factory.mktemp("api"))) as api:
        api.put(INGRESS_CLASS, endpoints("auth-service", service.port, "http"))
        for namespace in ("default", "shop"):
            api.put(kubernetes.service("app", namespace), endpoints("app", echo.port, namespace=namespace))
        api.put(*local(printed(**VALUES), service.port))
        yield api


@pytest.fixture(scope="module", name="traefik")
def _traefik(api: KubernetesAPI) -> Iterator[KubernetesTraefik]:
    with KubernetesTraefik(api) as traefik:
        until(lambda: all(traefik.status(host) != 404 for host in (INGRESS, ROUTE, ADMIN)))
        yield traefik


@pytest.fixture(scope="module", name="token")
def _token(service: Gunicorn) -> str:
    return service.issue(INGRESS, ROUTE, "shop.example.com", "new.example.com")


@pytest.mark.parametrize("host", [INGRESS, ROUTE])
def test_protected(
    traefik: KubernetesTraefik, service: Gunicorn, backend: Backend, token: str, host: str
) -> None:
    """Ingress and IngressRoute let in no request but one with a token for that host, and say whose it is."""
    assert [traefik.status(host, secret) for secret in (None, "wrong", token)] == [401, 401, 200]
    (seen,) = backend.seen
    assert seen.fields["x-auth-token-id"] == service.auth(token, host).headers["x-auth-token-id"]
    assert "authorization" not in seen.fields


def test_other_host(traefik: KubernetesTraefik, service: Gunicorn) -> None:
    """A token for another host is refused, and a host without a route leads nowhere."""
    assert traefik.status(INGRESS, service.issue("other.example.com")) == 403
    assert traefik.status("other.example.com", service.issue("other.example.com")) == 404


def test_admin_pages(traefik: KubernetesTraefik, service: Gunicorn, token: str) -> None:
    """The pages are at their host alone, with their password, and on no pod under another name."""
    assert traefik.call(ADMIN).headers["www-authenticate"].startswith("Basic")
    assert traefik.status(ADMIN, token) == 401
    for path in ("/auth", "/auth/x", "//metrics", "/healthz", "/livez"):
        assert traefik.call(ADMIN, target=path).status == 404
    assert traefik.status("auth-service") == 404
    assert call(service.port, "/", [("Host", "auth-service:8000")]).status == 421


def route(host: str, name: str, **where: str) -> Object:
    """Return a route in the namespace shop, behind a middleware."""
    rule = {
        "kind": "Rule",
        "match": f"Host(`{host}`)",
        "services": [{"name": "app", "port": 80}],
        "middlewares": [{"name": name, **where}],
    }
    metadata = {"name": host.partition(".")[0], "namespace": "shop"}
    kind = {"apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute"}
    return kind | {"metadata": metadata, "spec": {"routes": [rule]}}


def statuses(traefik: KubernetesTraefik, host: str, token: str) -> tuple[int, int]:
    """Return the statuses without a token and with one."""
    return traefik.status(host), traefik.status(host, token)


def test_watch(api: KubernetesAPI, traefik: KubernetesTraefik, token: str) -> None:
    """A route that is added protects its backend at once, and is gone as soon as it is deleted."""
    (ingress,) = [each for each in printed(**VALUES) if each["metadata"]["name"] == "firecrawl"]
    ingress["metadata"]["name"], ingress["spec"]["rules"][0]["host"] = "new", "new.example.com"
    api.put(ingress)
    until(lambda: traefik.status("new.example.com") != 404)

    assert statuses(traefik, "new.example.com", token) == (401, 200)
    api.delete("Ingress", "new")
    until(lambda: traefik.status("new.example.com") == 404)


def test_another_namespace(
    api: KubernetesAPI, traefik: KubernetesTraefik, service: Gunicorn, token: str
) -> None:
    """An IngressRoute of another namespace needs a copy of the middleware there; without it nothing opens."""
    api.put(route("cross.example.com", "auth-middleware", namespace="default"))
    api.put(route("shop.example.com", "auth-middleware"))
    copies = [each for each in printed(middleware={"namespaces": ["shop"]}) if each["kind"] == "Middleware"]
    api.put(*local(copies, service.port))
    until(lambda: traefik.status("shop.example.com") != 404)

    assert statuses(traefik, "shop.example.com", token) == (401, 200)
    assert statuses(traefik, "cross.example.com", service.issue("cross.example.com")) == (404, 404)


def test_ingress_of_another_namespace(
    api: KubernetesAPI, traefik: KubernetesTraefik, service: Gunicorn
) -> None:
    """An Ingress of another namespace may name the middleware of this one."""
    values = VALUES | {"routes": [{"name": "far", "host": "far.example.com", "service": "app", "port": 80}]}
    (ingress,) = [each for each in printed(**values) if each["metadata"]["name"] == "far"]
    ingress["metadata"]["namespace"] = "shop"
    api.put(ingress)
    until(lambda: traefik.status("far.example.com") != 404)

    assert statuses(traefik, "far.example.com", service.issue("far.example.com")) == (401, 200)


# Under Traefik's usual names, default-auth/middleware is default/auth-middleware.
FOREIGN = {
    "apiVersion": "traefik.io/v1alpha1",
    "kind": "Middleware",
    "metadata": {"name": "middleware", "namespace": "default-auth"},
    "spec": {"headers": {"customRequestHeaders": {"X-Foreign": "1"}}},
}


def test_names_that_collide(api: KubernetesAPI, traefik: KubernetesTraefik) -> None:
    """Naive: with Traefik's usual names, a middleware of another namespace can take the place of ours."""
    api.put(FOREIGN)

    def is_open() -> bool:
        api.put(FOREIGN)  # which of the two counts is chosen anew at each change
        return traefik.status(ROUTE) == 200

    until(is_open)
    api.delete("Middleware", "middleware", "default-auth")
    until(lambda: traefik.status(ROUTE) == 401)


def test_safe_names(api: KubernetesAPI, service: Gunicorn) -> None:
    """With safe names it can not; an Ingress then has to be made for them, and namespaces may be crossed."""
    safe = {"middleware": {"safeNaming": True}}
    values = safe | {"routes": [{"name": "safe", "host": "safe.example.com", "service": "app", "port": 80}]}
    api.put(*(each for each in printed(**values) if each["metadata"]["name"] == "safe"), FOREIGN)
    api.put(route("cross.example.com", "auth-middleware", namespace="default"))
    token = service.issue("*.example.com")
    flags = [f"--providers.kubernetescrd.{name}=true" for name in ("safenaming", "allowcrossnamespace")]
    with KubernetesTraefik(api, *flags) as traefik:
        hosts = ("safe.example.com", "cross.example.com", ROUTE)
        until(lambda: all(traefik.status(host) != 404 for host in hosts))
        api.put(FOREIGN)

        assert [statuses(traefik, host, token) for host in hosts] == [(401, 200)] * 3
        assert statuses(traefik, INGRESS, token) == (404, 404)
    api.delete("Middleware", "middleware", "default-auth")


def test_rolled_secret(
    api: KubernetesAPI,
    traefik: KubernetesTraefik,
    service: Gunicorn,
    pod: Callable[[], Gunicorn],
    directory: Path,
) -> None:
    """When pods roll to a Secret with the two peppers swapped, no token is refused by old and new pods."""
    middleware = [each for each in printed(**VALUES) if each["kind"] == "Middleware"]
    token = service.issue(ROUTE)
    (directory / "pepper").write_text(NEW_PEPPER)
    (directory / "pepper_previous").write_text(PEPPER)
    with pod() as rolled:
        new = rolled.issue(ROUTE)
        for each in (rolled, service, rolled):
            api.put(*local(middleware, each.port))
            assert [statuses(traefik, ROUTE, secret) for secret in (token, new)] == [(401, 200)] * 2
            until(partial(answers, each, traefik, new))
            assert [statuses(traefik, ROUTE, secret) for secret in (token, new)] == [(401, 200)] * 2
        api.put(*local(middleware, service.port))
        until(partial(answers, service, traefik, new))


def answers(pod: Gunicorn, traefik: KubernetesTraefik, token: str) -> bool:
    """Return whether this pod decides about the requests that Traefik has."""
    before = decisions(pod)
    traefik.status(ROUTE, token)
    return decisions(pod) > before


def decisions(pod: Gunicorn) -> float:
    """Return how many requests a pod has let in."""
    text = call(pod.port, "/metrics").text
    return float(text.partition('acl_auth_decisions_total{verdict="allowed"} ')[2].partition("\n")[0] or 0)
