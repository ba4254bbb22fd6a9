"""What monitoring found, as metrics for Prometheus: gauges that hold until the next look.

The names are those of `k8s/alerts/monitoring.yaml` and of `k8s/dashboards/monitoring.json`; a test holds all three
together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci.errors import StageError
from ci.results.monitoring import Labels, Look, Monitoring, Retraining, Word

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

JOB = "model-monitor"
"""What the Pushgateway groups by, with the model."""
_TIMEOUT = 10.0
"""Longest wait for the Pushgateway; seconds."""
_LEVELS: Mapping[Word, int] = {"ok": 0, "watch": 1, "drift": 2, "broken": 3}


@dataclass(frozen=True)
class Found:
    """What one look found.

    Attributes:
        model: its name.
        time: when.
        monitoring: the window that was judged.
        decision: whether to retrain, if that was decided.
        labels: what was joined, if outcomes arrive.
        look: the last at the gateways' counters, if there are gateways.
        attempts: the retrainings that were asked for.
    """

    model: str
    time: datetime
    monitoring: Monitoring
    decision: Retraining | None = None
    labels: Labels | None = None
    look: Look | None = None
    attempts: int = 0


def registry(found: Found) -> "CollectorRegistry":
    """Return the metrics of a look, each with the label `model`."""
    from prometheus_client import CollectorRegistry, Gauge

    made = CollectorRegistry()

    def tell(name: str, said: str, values: Mapping[Any, float], *labels: str) -> None:
        gauge = Gauge(f"model_{name}", said, ["model", *labels], registry=made)
        for named, value in values.items():
            gauge.labels(found.model, *named).set(value)

    seen = found.monitoring
    tell("monitor_last_look_timestamp_seconds", "When monitoring looked last", {(): found.time.timestamp()})
    tell("monitor_window_rows", "Requests in the window that was judged", {(): seen.rows})
    tell("monitor_window_end_timestamp_seconds", "End of the window (excluded)", {(): _seconds(seen.window.end)})
    tell("monitor_verdict", "The verdict on the window: 1 with its word", {(seen.verdict,): 1}, "verdict")
    checks = {(each.name, each.kind): float(_LEVELS[each.verdict]) for each in seen.checks}
    tell("monitor_check", "Verdict of a check: 0 ok, 1 watch, 2 drift, 3 broken", checks, "check", "kind")
    moved = {(each.name, "feature"): each.psi for each in seen.features}
    moved |= {(each.name, "prediction"): each.psi for each in seen.predictions or [seen.prediction]}
    tell("monitor_psi", "Population stability index of a column", moved, "column", "kind")
    measured = {(each.name,): each.number for each in seen.checks if each.kind == "performance"}
    tell("monitor_performance", "A metric on the last mature days", measured, "metric")
    if found.look:
        tell("monitor_requests", "Predictions that gateways counted, over all looks", {(): found.look.requests})
        tell("monitor_errors", "Those that were answered with an error", {(): found.look.errors})
    if found.labels:
        counts = {(what,): float(number) for what, number in found.labels.counts.items()}
        tell("labels", "Requests and outcomes by what became of them", counts, "what")
        if found.labels.watermark:
            mark = {(): _seconds(found.labels.watermark)}
            tell("labels_watermark_timestamp_seconds", "The first day that is not mature", mark)
    if found.decision:
        why = (found.decision.cause or "none", found.decision.brake or "none")
        tell(
            "retraining_wanted",
            "1 if the last look decided to retrain",
            {why: found.decision.retrain},
            "cause",
            "brake",
        )
        tell("retraining_attempts", "Retrainings that were asked for and are remembered", {(): found.attempts})
    return made


def write(found: Found, path: Path) -> None:
    """Write the metrics as Prometheus' text format, as its textfile collector and any file server take it."""
    from prometheus_client import write_to_textfile

    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry(found))


def push(found: Found, url: str) -> None:
    """Put the metrics in the place of those that the Pushgateway has of this model.

    Raises:
        StageError: it does not take them.
    """
    from prometheus_client import push_to_gateway

    try:
        push_to_gateway(url, JOB, registry(found), {"model": found.model}, _TIMEOUT)
    except OSError as error:
        raise StageError(f"the Pushgateway at {url} does not take the metrics: {error}") from None


def _seconds(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
