"""Metrics, alert rules and dashboards fit each other: by Prometheus' grammar, and by Grafana's own types."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes_validate
import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from ci import configuration
from ci.monitoring import exposed
from ci.results.monitoring import Labels, Look, Monitoring, Retraining
from tests import pods
from tests.k8s.test_edge import rendered

RULES = yaml.safe_load((pods.REPOSITORY / "k8s/alerts/monitoring.yaml").read_text(encoding="utf-8"))
DASHBOARDS = sorted((pods.REPOSITORY / "k8s/dashboards").glob("*.json"))
NUMBERS = {"verdict": "drifted", "psi": 0.3, "change": "x"}


def written() -> dict[str, set[str]]:
    """Return the names of all metrics that are written, each with its labels."""
    check = {"number": 1.0, "threshold": None, "method": "m", "verdict": "drift", "sentence": "s"}
    found = exposed.Found(
        "demo",
        datetime(2026, 1, 1, tzinfo=UTC),
        Monitoring.model_validate_json(json.dumps({
            "window": {"first": "2026-01-01", "end": "2026-01-08"}, "rows": 9, "verdict": "drifted", "reason": "r",
            "prediction": {"name": "prediction", **NUMBERS}, "features": [{"name": "x", **NUMBERS}],
            "checks": [{"name": "auc", "kind": "performance", **check}],
        })),
        Retraining.model_validate_json('{"retrain": true, "reason": "r", "as_of": "2026-01-08", "command": "c"}'),
        Labels.model_validate_json(json.dumps({
            "counts": {"joined": 1}, "maturity_days": 1, "method": "m", "watermark": "2026-01-02", "labelled": {},
            "source": "s",
        })),
        Look.model_validate_json('{"time": "2026-01-01T00:00:00Z", "pods": {}, "requests": 1, "errors": 0}'),
    )  # fmt: skip
    made = [sample for family in exposed.registry(found).collect() for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in made}


WRITTEN = written()


def selectors(found: Any) -> Iterator[Any]:
    """Yield what a query reads."""
    if isinstance(found, promql_parser.VectorSelector):
        yield found
    for name in ("lhs", "rhs", "expr", "vector_selector"):
        if (inner := getattr(found, name, None)) is not None:
            yield from selectors(inner)
    for each in getattr(found, "args", ()):
        yield from selectors(each)


def read(query: str) -> list[Any]:
    """Return the selectors of a query, which must be PromQL; what Grafana puts in is put in."""
    text = query.replace("$__rate_interval", "5m").replace("$namespace", "models").replace("$model", "demo")
    found = list(selectors(promql_parser.parse(text)))
    assert found, query
    return found


RULED = [rule for group in RULES["spec"]["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", RULED, ids=lambda rule: rule["alert"])
def test_a_rule_is_what_prometheus_takes_and_reads_metrics_that_are_written(rule: dict[str, Any]) -> None:
    assert {*rule} <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"[A-Z]\w+", rule["alert"])
    if "for" in rule:
        assert promql_parser.parse_duration(rule["for"])
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    for selector in read(rule["expr"]):
        assert selector.name in WRITTEN
        used = {each.name for each in selector.matchers.matchers}
        assert used <= WRITTEN[selector.name]
    shown = {label for text in rule["annotations"].values() for label in re.findall(r"\{\{ \$labels\.(\w+) \}\}", text)}
    known = set.union(*(WRITTEN[selector.name] for selector in read(rule["expr"])))
    assert shown <= known
    for text in rule["annotations"].values():
        assert text.count("{{") == len(re.findall(r"\{\{ \$labels\.\w+ \}\}", text))
    assert set(rule["annotations"]) == {"summary", "description"}


def test_no_alert_is_there_twice_and_a_query_that_is_none_is_found() -> None:
    names = [rule["alert"] for rule in RULED]
    assert len(set(names)) == len(names) >= 8
    assert set(RULES) == {"apiVersion", "kind", "metadata", "spec"}
    for group in RULES["spec"]["groups"]:
        assert set(group) == {"name", "rules"}
    with pytest.raises(ValueError, match="invalid promql query"):
        promql_parser.parse("model_monitor_verdict{verdict=} == 1")


def leaves(value: Any, at: str = "") -> Iterator[str]:
    """Yield the place of each key."""
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield f"{at}.{key}"
        yield from leaves(each, f"{at}.{key}")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_has_nothing_that_grafana_does_not_know(path: Path) -> None:
    """Its types are generated from its schema: what goes in comes out again, and a key that it has not does not."""
    there = json.loads(path.read_text(encoding="utf-8"))

    def unknown(dashboard: dict[str, Any]) -> set[str]:
        out = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
        return set(leaves(dashboard)) - set(leaves(out))

    assert unknown(there) == set()
    assert unknown({**there, "shcemaVersion": 39}) == {".shcemaVersion"}


def test_the_dashboard_of_monitoring_reads_metrics_that_are_written() -> None:
    dashboard = json.loads((pods.REPOSITORY / "k8s/dashboards/monitoring.json").read_text(encoding="utf-8"))
    shown = set()
    for panel in dashboard["panels"]:
        assert panel["description"]
        for target in panel["targets"]:
            for selector in read(target["expr"]):
                assert {each.name for each in selector.matchers.matchers} <= WRITTEN[selector.name]
                shown.add(selector.name)
                assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= WRITTEN[selector.name]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    timestamps = {"model_monitor_window_end_timestamp_seconds", "model_labels_watermark_timestamp_seconds"}
    assert WRITTEN.keys() - shown == timestamps


def test_the_component_is_valid_and_as_shipped_nothing_of_it_is_there(tmp_path: Path) -> None:
    plain, found = rendered(tmp_path, "production"), rendered(tmp_path, "production", "monitoring")
    more = found.keys() - plain.keys()
    assert {kind for kind, _ in more} == {"CronJob", "Deployment", "NetworkPolicy", "ConfigMap"}
    for key in more:
        assert found[key]["metadata"]["namespace"] == "model-pipeline"
        for version in ("1.30", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(found[key], version, strict=True)
    job = found["CronJob", "monitor"]["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    pod = job["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "monitor"
    every, limit = 3600, job["jobTemplate"]["spec"]["activeDeadlineSeconds"]
    assert limit * (job["jobTemplate"]["spec"]["backoffLimit"] + 1) < every, "a look is over before the next one"
    assert found["Deployment", "monitor-metrics"]["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    lines = found["ConfigMap", "monitor"]["data"]["PIPELINE_SET"].splitlines()
    settings = configuration.read(pods.REPOSITORY / "tests/pipeline.yaml", lines)
    assert settings.serving.context == "-"
    [volume] = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "dvc-remote"}
    for folder in (settings.history.folder, settings.labels.into):
        assert Path(folder).is_relative_to(volume), "a pod starts empty"
