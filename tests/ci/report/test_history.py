"""The history: one line for each finished build, kept apart from the stages' results, and the same in MLflow."""

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ci.errors import InputError, StageError
from ci.report import build as builder
from ci.report import history, mlflow
from ci.settings import History
from scripts import report
from tests import builds

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STORE = Path("build/state/history/builds.jsonl")


@pytest.fixture(autouse=True)
def _start(build, monkeypatch):
    monkeypatch.delenv(mlflow.URI, raising=False)


def record(time=NOON, commit="c0ffee"):
    found = history.record(builder.read(), time, commit)
    assert found is not None
    return found


def test_a_record_survives_writing_and_reading():
    first = record()
    history.append(first, [], History())
    assert history.read(History()) == [first]
    assert first.release == 2
    assert first.gain == 0.02


@pytest.mark.parametrize(
    ("path", "values", "new"),
    [
        ("retraining/decision.json", {"retrain": False}, False),
        ("evaluation/evaluation.json", {"verdict": "keep"}, True),
        ("package/manifest.json", {"digests": {"model": "sha256:00"}}, True),
    ],
)
def test_a_build_is_new_if_its_digests_or_its_verdict_are(path, values, new):
    first = record()
    builds.change(path, **values)
    assert history.is_new(record(NOON + timedelta(hours=1)), [first]) is new


def test_another_commit_is_another_build():
    assert history.is_new(record(commit="beef"), [record()])


def test_a_build_without_a_package_is_not_finished():
    Path("build/package/manifest.json").unlink()
    assert history.record(builder.read(), NOON, None) is None


def test_the_oldest_records_go_when_there_are_more_than_are_kept(tmp_path):
    settings = History(folder=str(tmp_path / "elsewhere"), keep=3)
    records = []
    for hour in range(5):
        records = history.append(record(NOON + timedelta(hours=hour)), records, settings)
    assert [entry.time.hour for entry in history.read(settings)] == [14, 15, 16]


def test_the_command_records_once_and_a_rerun_that_changed_nothing_records_nothing(capsys):
    assert report.main([]) == 0
    assert not STORE.exists()
    assert report.main(["--record"]) == 0
    before = STORE.read_bytes()
    assert report.main(["--record"]) == 0
    assert STORE.read_bytes() == before
    assert "nothing to record: same commit, digests and verdict" in capsys.readouterr().out
    builds.change("evaluation/evaluation.json", verdict="keep")
    assert report.main(["--record"]) == 0
    assert len(STORE.read_text().splitlines()) == 2
    assert Path("build/report/index.html").read_text().count("<td>2") >= 2


class Tracking(HTTPServer):
    """A server that keeps runs as MLflow's REST API does."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict] = {}
        self.broken = ""
        self.authorization: str | None = None


class Handler(BaseHTTPRequestHandler):
    server: Tracking

    def log_message(self, *_):
        pass

    def do_GET(self):
        name = parse_qs(urlsplit(self.path).query)["experiment_name"][0]
        known = self.server.experiments.get(name)
        self.reply({"experiment": {"experiment_id": known}} if known else {"message": "absent"}, 200 if known else 404)

    def do_POST(self):
        self.server.authorization = self.headers["Authorization"]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method = self.path.removeprefix("/api/2.0/mlflow/")
        if method == self.server.broken:
            return self.reply({"message": "out of disk"}, 500)
        return self.reply(getattr(self, method.replace("/", "_").replace("-", "_"))(body))

    def experiments_create(self, body):
        self.server.experiments[body["name"]] = "1"
        return {"experiment_id": "1"}

    def runs_create(self, body):
        identifier = f"run{len(self.server.runs)}"
        self.server.runs[identifier] = {**body, "tags": {}}
        return {"run": {"info": {"run_id": identifier}}}

    def runs_log_batch(self, body):
        run = self.server.runs[body["run_id"]]
        for kind in ("metrics", "params", "tags"):
            run[kind] = {entry["key"]: entry["value"] for entry in body[kind]}
        return {}

    def runs_update(self, body):
        self.server.runs[body["run_id"]]["status"] = body["status"]
        return {}

    def runs_search(self, body):
        wanted = body["filter"].removeprefix("tags.build = '").removesuffix("'")
        return {"runs": [run for run in self.server.runs.values() if run["tags"].get("build") == wanted]}

    def reply(self, value, status=200):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def tracking():
    server = Tracking()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_same_record_goes_to_mlflow_once(tracking, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t")
    uri = f"http://127.0.0.1:{tracking.server_port}/"
    assert mlflow.send(record(), uri)
    assert not mlflow.send(record(), uri)
    (run,) = tracking.runs.values()
    assert run["status"] == "FINISHED"
    assert run["metrics"]["auc"] == 0.7
    assert run["params"]["model"] == f"sha256:{'02' * 32}"
    assert run["tags"]["verdict"] == "promote"
    assert run["start_time"] == NOON.timestamp() * 1000
    assert list(tracking.experiments) == ["flights"]
    assert tracking.authorization == "Bearer t"


def test_when_mlflow_fails_the_report_is_written_and_the_next_run_records(tracking, monkeypatch, capsys):
    monkeypatch.setenv(mlflow.URI, f"http://127.0.0.1:{tracking.server_port}")
    tracking.broken = "runs/log-batch"
    assert report.main(["--record"]) == 1
    assert "was not recorded in MLflow: out of disk" in capsys.readouterr().err
    assert Path("build/report/index.html").exists()
    assert not STORE.exists()
    tracking.broken = ""
    assert report.main(["--record"]) == 0
    assert STORE.exists()
    assert [run.get("status") for run in tracking.runs.values()] == [None, "FINISHED"]


def test_an_address_that_is_no_tracking_server_is_refused():
    with pytest.raises(InputError, match="MLFLOW_TRACKING_URI: 'mlruns' is not the address"):
        mlflow.send(record(), "mlruns")
    with pytest.raises(StageError, match="run the same again"):
        mlflow.send(record(), "http://127.0.0.1:9")
