"""The names in docs/metrics.md and deploy/monitoring are those of /metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families as parse

from devkit.process import ROOT

MONITORING = ROOT / "deploy/monitoring"
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
ALERTS = yaml.safe_load((MONITORING / "alerts.yml").read_text("utf-8"))["groups"][0]["rules"]
PAGE = (ROOT / "docs/metrics.md").read_text("utf-8")
SELECTION = {"job", "instance"}


def expressions() -> Iterator[str]:
    """Yield every expression of the dashboard and of the alerts."""
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))
    yield from (alert["expr"] for alert in ALERTS)


@pytest.fixture(name="exposed")
def _exposed(client: FlaskClient) -> Mapping[str, set[str]]:
    """Return the name of every sample of /metrics with its labels."""
    samples = [sample for family in parse(client.get("/metrics").text) for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in samples}


def families(exposed: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the names as people write them: a histogram without the suffixes of its samples."""
    return {re.sub("_(bucket|count|sum)$", "", name): labels - {"le"} for name, labels in exposed.items()}


def test_documented_metrics(exposed: Mapping[str, set[str]]) -> None:
    """docs/metrics.md has a row for every metric with its labels, and no other row."""
    rows = re.findall(r"^\| `(acl_auth_\w+)(?:\{(\w+)\})?` \|", PAGE, re.MULTILINE)

    assert {name: {label} - {""} for name, label in rows} == families(exposed)


def test_names_in_all_documents(exposed: Mapping[str, set[str]]) -> None:
    """No document names a metric that does not exist."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"\bacl_auth_\w+", page.read_text("utf-8"))}

    assert named - exposed.keys() - families(exposed).keys() == set()


def test_names_in_expressions(exposed: Mapping[str, set[str]]) -> None:
    """Dashboard and alerts use metrics and labels that exist, and the dashboard shows every metric."""
    used: dict[str, set[str]] = {}
    for expression in expressions():
        for name, selector in re.findall(r"\b(acl_auth_\w+)(?:\{(.*?)\})?", expression):
            used.setdefault(name, set()).update(re.findall(r"(\w+)(?==|!)", selector))

    assert used.keys() <= exposed.keys()
    assert {name for name, labels in used.items() if labels - exposed[name] - SELECTION} == set()
    shown = {re.sub("_bucket$", "", name) for name in used}
    assert families(exposed).keys() <= shown


def test_documented_alerts() -> None:
    """docs/metrics.md explains every alert, and no other one."""
    rows = re.findall(r"^\| `(AclAuth\w+)` \|", PAGE, re.MULTILINE)

    assert rows == [alert["alert"] for alert in ALERTS]


def test_dashboard() -> None:
    """Every panel has an id of its own, a place that no other panel covers, and the chosen data source."""
    panels = DASHBOARD["panels"]
    places = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    sources: list[Any] = [
        each["datasource"]
        for panel in panels
        for each in [panel, *panel.get("targets", [])]
        if panel["type"] != "row"
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) == 23
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
