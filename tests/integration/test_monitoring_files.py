"""Dashboard and alert rules: every metric and label that they ask for is one that the code has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from api import run_metrics
from api.metrics import DatabaseFigures, RequestFigures
from repick.jobs import Stage
from repick.metrics import SweepFigures, WorkerFigures
from repick.store.database import Database
from repick.store.run_figures import RunFigures
from tests.integration.pipeline import Pipeline

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
NAME = re.compile(r"\brepick_[a-z_]+\b")
SELECTOR = re.compile(r"(repick_[a-z_]+)\{([^}]*)\}")
GROUPED = re.compile(r"\bby \(([^)]*)\)")
OF_PROMETHEUS = {"instance", "job", "le"}


SETTLED = RunFigures(lag_s=1.0, latest_age_s=1.0, reuse_share=0.5, states={})
"""What there is to say of runs once there was one."""


@pytest.fixture
def known(pipeline: Pipeline) -> Mapping[str, set[str]]:
    """Labels of every sample by its name; a job waits, so that the queues have samples."""
    pipeline.put({"a": "a circle"})
    pipeline.submit(["a query"])
    registry = CollectorRegistry()
    requests = RequestFigures(registry)
    requests.record("GET", "/livez", 200, 0.1)
    worker = WorkerFigures(registry)
    worker.slice(Stage.SCORE, "done", 0.1)
    worker.pairs(scored=1)
    worker.items(embedded=1, failed=0)
    worker.batch(0.1, 0.1)
    SweepFigures(registry).tick(1)
    registry.register(DatabaseFigures(pipeline.database))
    samples: dict[str, set[str]] = {}
    for family in (*registry.collect(), *run_metrics.gauges(SETTLED)):
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    return samples


def dashboard() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((DEPLOY / "grafana" / "repick.json").read_text())
    return value


def alerts() -> list[dict[str, Any]]:
    value = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    return [rule for group in value["groups"] for rule in group["rules"]]


def expressions() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))
    yield from (rule["expr"] for rule in alerts())


def test_every_metric_and_label_that_is_asked_for_exists(known: Mapping[str, set[str]]) -> None:
    asked = 0
    for expression in expressions():
        names = NAME.findall(expression)
        assert set(names) <= set(known), expression
        labels = set().union(*(known[name] for name in names)) | OF_PROMETHEUS
        for name, matchers in SELECTOR.findall(expression):
            given = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
            assert given <= known[name] | OF_PROMETHEUS, expression
        for group in GROUPED.findall(expression):
            assert {label.strip() for label in group.split(",")} <= labels, expression
        asked += len(names)
    assert asked > 20


def test_every_metric_of_the_code_is_shown(known: Mapping[str, set[str]]) -> None:
    shown = {name for one in expressions() for name in NAME.findall(one)}
    stems = {re.sub(r"_(bucket|count|sum|created|total)$", "", name) for name in known}
    assert stems <= {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in shown}


def test_brackets_of_every_expression_are_closed() -> None:
    for expression in expressions():
        for pair in ("()", "[]", "{}"):
            assert expression.count(pair[0]) == expression.count(pair[1]), expression


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({one["id"] for one in panels}) == len(panels)
    cells = [
        (x, y)
        for one in panels
        for x in range(one["gridPos"]["x"], one["gridPos"]["x"] + one["gridPos"]["w"])
        for y in range(one["gridPos"]["y"], one["gridPos"]["y"] + one["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)


def test_every_alert_says_how_bad_it_is_and_is_explained_for_operators() -> None:
    text = (DEPLOY.parent / "docs" / "operations.md").read_text()
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert f"`{rule['alert']}`" in text, rule["alert"]


def test_a_database_that_is_away_is_a_figure_too(known: Mapping[str, set[str]]) -> None:
    gone = Database("postgresql+psycopg://u:p@127.0.0.1:1/none")
    (only,) = DatabaseFigures(gone).collect()
    assert [(one.name, one.value) for one in only.samples] == [("repick_database_up", 0.0)]
    assert only.name in known
    gone.close()
