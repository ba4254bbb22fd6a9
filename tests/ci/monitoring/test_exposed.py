"""Metrics of what monitoring found, as Prometheus reads them."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ci.monitoring import memory
from ci.settings.watching import History
from scripts import configure, metrics
from tests import builds
from tests.pods import REPOSITORY

CHECK = {"name": "temp distribution", "kind": "feature", "number": 0.4, "threshold": 0.25, "method": "fixed",
         "verdict": "drift", "sentence": "x"}  # fmt: skip
PROM = Path("build/state/history/metrics.prom")


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in which monitoring has looked, and has decided."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIPELINE_SET", raising=False)
    Path("pipeline.yaml").write_text((REPOSITORY / "tests/pipeline.yaml").read_text())
    assert configure.main([]) == 0
    auc = {**CHECK, "name": "auc", "kind": "performance", "number": 0.61, "verdict": "watch"}
    builds.write("monitoring/monitoring.json", {**builds.monitoring("drifted"), "checks": [CHECK, auc]})
    for counted in ((70, 1), (90, 3)):
        memory.look(datetime(2013, 4, 15, tzinfo=UTC), {"a": counted}, History())


def told(text: str) -> dict[tuple[str, ...], float]:
    """Return the values by name and labels, without the model's."""
    return {
        (sample.name, *(value for key, value in sorted(sample.labels.items()) if key != "model")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_was_found_is_written_for_prometheus(watched):
    assert metrics.main([]) == 0
    found = told(PROM.read_text())
    assert found["model_monitor_verdict", "drifted"] == 1
    assert found["model_monitor_check", "temp distribution", "feature"] == 2
    assert found["model_monitor_performance", "auc"] == 0.61
    assert (found["model_monitor_requests",], found["model_monitor_errors",]) == (20, 2)
    assert not [name for name, *_ in found if name.startswith(("model_labels", "model_retraining"))]
    assert {name for name in PROM.parent.iterdir() if name.name.startswith("metrics")} == {PROM}, "nothing half-written"
    told_of = {"counts": {"joined": 7}, "maturity_days": 5, "method": "declared", "watermark": "2013-04-20",
               "labelled": {}, "source": "x"}  # fmt: skip
    memory.labels(History()).write(told_of)
    decision = {"retrain": True, "reason": "x", "as_of": "2013-04-15", "command": "y", "cause": "age"}
    builds.write("retraining/decision.json", decision)
    assert metrics.main([]) == 0
    found = told(PROM.read_text())
    assert found["model_labels", "joined"] == 7
    assert found["model_labels_watermark_timestamp_seconds",] == 1366416000
    assert [value for (name, *_), value in found.items() if name == "model_retraining_wanted"] == [1]


@pytest.fixture
def gateway() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """What answers as a Pushgateway; its address, and what was put there."""
    got: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()


def test_they_replace_what_a_pushgateway_has_of_the_model(watched, gateway, capsys):
    url, got = gateway
    assert configure.main([f"--set=monitoring.pushgateway={url}"]) == 0
    assert metrics.main([]) == 0
    [(path, content)] = got
    assert path == "/metrics/job/model-monitor/model/demo"
    assert told(content.decode()).keys() == told(PROM.read_text()).keys()
    assert configure.main(["--set=monitoring.pushgateway=http://127.0.0.1:9"]) == 0
    assert metrics.main([]) == 1
    assert "the Pushgateway at http://127.0.0.1:9 does not take the metrics" in capsys.readouterr().err
    assert configure.main(["--set=monitoring.pushgateway=ftp://x"]) == 2
