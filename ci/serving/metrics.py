"""The stand-in's metrics in Prometheus' text format, with TensorFlow Serving's names and labels.

prometheus_client cannot write them: it ends the name of every counter with `_total`, which the server's have not.
"""

import threading
from collections import Counter
from dataclasses import dataclass, field

UNKNOWN = "(unknown)"
"""The label for every model that is not served: clients choose names, and each label would be kept for ever."""
_BUCKETS = [10 * 1.8**power for power in range(33)]
"""Upper bounds of the latency histograms; microseconds."""
_PREFIX = ":tensorflow:serving:"
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


@dataclass
class Histogram:
    """Durations in microseconds, counted by bucket."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS) + 1))
    total: float = 0.0

    def add(self, microseconds: float) -> None:
        """Count one duration."""
        self.counts[next((i for i, bound in enumerate(_BUCKETS) if microseconds < bound), len(_BUCKETS))] += 1
        self.total += microseconds

    def lines(self, name: str, labels: str) -> list[str]:
        """Return the histogram in Prometheus' text format."""
        bounds = [*(f"{bound:g}" for bound in _BUCKETS), "+Inf"]
        reached = [sum(self.counts[: i + 1]) for i in range(len(bounds))]
        buckets = [f'{name}_bucket{{{labels},le="{b}"}} {n}' for b, n in zip(bounds, reached, strict=True)]
        return [*buckets, f"{name}_sum{{{labels}}} {self.total:g}", f"{name}_count{{{labels}}} {reached[-1]}"]


@dataclass
class Metrics:
    """Counters of one server, which several threads write.

    Their number is fixed: labels are the served model's name, or `UNKNOWN`, and words of ours.
    """

    model: str
    _requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Answered requests by model and status."""
    _latency: dict[tuple[str, str], Histogram] = field(default_factory=dict)
    """Histograms by metric and labels."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, model: str, status: str) -> None:
        """Count an answered request; a path that names no model has the model "", as the server counts it."""
        with self._lock:
            self._requests[model if model in ("", self.model) else UNKNOWN, status] += 1

    def time(self, what: str, seconds: float, **labels: str) -> None:
        """Count a duration of `request` or `runtime`, of the served model."""
        said = _labels(model_name=self.model, **labels)
        with self._lock:
            self._latency.setdefault((what, said), Histogram()).add(seconds * 1e6)

    def page(self) -> str:
        """Return all of it in Prometheus' text format."""
        lines = [f"# TYPE {_PREFIX}request_count counter"]
        with self._lock:
            for (model, status), count in sorted(self._requests.items()):
                lines.append(f"{_PREFIX}request_count{{{_labels(model_name=model, status=status)}}} {count}")
            for what in ("request", "runtime"):
                lines.append(f"# TYPE {_PREFIX}{what}_latency histogram")
                for (kind, labels), histogram in sorted(self._latency.items(), key=lambda item: item[0]):
                    lines += histogram.lines(f"{_PREFIX}{what}_latency", labels) if kind == what else []
        return "\n".join(lines) + "\n"


def _labels(**values: str) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in values.items())
