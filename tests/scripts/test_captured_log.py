"""A loop without a cluster: what a log captured is watched and joined with its outcomes, at a time that is named."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from ci import task
from ci.data.reference import describe, describe_predictions
from ci.releases.machine import MachineLedger
from ci.results.evaluation import REFERENCE
from scripts import configure, labels, metrics, monitor, retrain
from tests import builds, repositories, tasks

NOW = "2024-03-04T01:00:00+00:00"  # a Monday
LOG = Path("build/captured.jsonl")
SETTINGS = (
    "monitoring: {log: build/captured.jsonl, min_rows: 20}\n"
    "labels: {outcomes: inbox, maturity_days: 3, into: labelled}\n"
)


def entries():
    """Four rows a day in a request, of the fortnight before `NOW`."""
    rows = tasks.table()[["x", "k", "c"]].head(56)
    for day in range(14):
        inputs = {name: rows[name].iloc[4 * day : 4 * day + 4].tolist() for name in rows}
        time = datetime.fromisoformat("2024-02-19T12:00:00+00:00") + timedelta(days=day)
        yield {
            "number": day,
            "id": f"day-{day}",
            "time": time.isoformat(),
            "version": "1",
            "path": "/v1/models/tiny:predict",
            "status": 200,
            "request": json.dumps({"inputs": inputs}),
            "response": json.dumps({"outputs": [0.2, 0.4, 0.6, 0.8]}),
        }


@pytest.fixture
def served(tmp_path, monkeypatch, capsys):
    """A release of the tiny task serves, and a log has what it was asked."""
    tasks.make(tmp_path, monkeypatch, capsys)
    Path("pipeline.yaml").write_text(tasks.SETTINGS + SETTINGS)
    Path("table.pickle").touch()
    monkeypatch.setenv("PIPELINE_NOW", NOW)
    repositories.git("init", "-q")
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    analytics = false\n")
    assert configure.main([]) == 0
    release = builds.release(model="tiny", as_of="2024-02-19")
    MachineLedger().add(release)
    known = {"features": describe(tasks.table(), task.load().features)}
    known["predictions"] = {"prediction": describe_predictions(pd.Series([0.2, 0.4, 0.6, 0.8] * 50))}
    REFERENCE.write(known, MachineLedger().evidence(release["digest"]))
    builds.write("overrides.json", [])
    LOG.write_text("".join(json.dumps(entry) + "\n" for entry in entries()))
    return release


def test_the_last_week_of_the_log_is_judged_and_its_days_become_data_once_their_outcomes_came(served, capsys):
    assert monitor.main([]) == 0, capsys.readouterr().err
    seen = json.loads(Path("build/monitoring/monitoring.json").read_text())
    assert (seen["source"], seen["rows"]) == ("captured", 28)
    assert seen["window"] == {"first": "2024-02-26", "end": "2024-03-04"}
    Path("inbox").mkdir()
    known = [f"2024-02-{26 + day // 4:02}T18:00:00Z" for day in range(16)]
    told = pd.DataFrame({"request_id": [f"day-{7 + n // 4}/{n % 4}" for n in range(16)], "y": 1, "known_at": known})
    told.to_csv("inbox/one.csv", index=False)
    assert labels.main([]) == 0, capsys.readouterr().err
    assert "16 joined, 0 never, 40 waiting" in capsys.readouterr().out
    assert sorted(path.name for path in Path("labelled").iterdir())[0] == "2024-02-19.parquet"
    assert retrain.main([]) == 0
    decision = json.loads(Path("build/retraining/decision.json").read_text())
    assert decision["as_of"] == "2024-03-01"


def test_many_outcomes_that_cannot_be_used_are_broken_at_the_next_look_and_nothing_is_trained(served, capsys):
    assert monitor.main([]) == 0
    Path("inbox").mkdir()
    told = [f"day-{7 + n // 4}/{n % 4},{'soon' if n % 4 == 3 else n % 2},2024-03-01T18:00:00Z" for n in range(16)]
    Path("inbox/one.csv").write_text("\n".join(["request_id,y,known_at", *told]) + "\n")
    assert labels.main([]) == 0, capsys.readouterr().err
    assert monitor.main([]) == 0
    seen = json.loads(Path("build/monitoring/monitoring.json").read_text())
    assert seen["verdict"] == "broken"
    assert "25.00% of 16 outcomes cannot be used; inbox/one.csv: row 4: y: 'soon' is no target" in seen["reason"]
    assert retrain.main([]) == 0
    assert json.loads(Path("build/retraining/decision.json").read_text())["brake"] == "broken"


def outcomes(name, known, labels_of_a_day):
    """Outcomes of the four rows of each day in the last mature week."""
    days = range(4, 11)
    rows = [f"day-{day}/{n},{label},{known}" for day in days for n, label in enumerate(labels_of_a_day)]
    Path("inbox", name).write_text("\n".join(["request_id,y,known_at", *rows]) + "\n")


def test_a_label_that_is_corrected_later_replaces_the_earlier_one_and_its_week_is_judged_anew(served, capsys):
    path = MachineLedger().evidence(served["digest"]) / "reference.json"
    known = {**json.loads(path.read_text()), "days": 14}
    known["expected"] = [{"metric": "auc", "value": 0.9, "low": 0.85, "high": 0.95}]
    REFERENCE.write(known, path.parent)
    assert configure.main(["--set=gates.primary=auc"]) == 0
    assert monitor.main([]) == 0
    Path("inbox").mkdir()

    def judged():
        assert labels.main([]) == 0, capsys.readouterr().err
        said = capsys.readouterr().out
        assert monitor.main([]) == 0
        checks = json.loads(Path("build/monitoring/monitoring.json").read_text())["checks"]
        learned = [pd.read_parquet(path) for path in sorted(Path("labelled").iterdir())]
        told = pd.concat(learned).set_index("request id")["y"].dropna()
        return said, [each["number"] for each in checks if each["name"] == "auc"], told[told.index < "day-5"].tolist()

    outcomes("one.csv", "2024-02-29T18:00:00Z", [0, 0, 1, 1])
    said, auc, learned = judged()
    assert "28 joined, 0 never, 28 waiting, 0 duplicates, 0 contradictions" in said
    assert (auc, learned[-4:]) == ([1.0], [0, 0, 1, 1])
    Path("inbox/one.csv").unlink()  # what was joined is remembered
    outcomes("two.csv", "2024-03-03T18:00:00Z", [1, 1, 0, 0])
    said, auc, learned = judged()
    assert "28 joined, 0 never, 28 waiting, 0 duplicates, 28 contradictions" in said
    assert (auc, learned[-4:]) == ([0.0], [1, 1, 0, 0])
    outcomes(
        "three.csv", "2024-03-01T18:00:00Z", [0, 0, 1, 1]
    )  # it became known before the correction, and comes after
    said, auc, learned = judged()
    assert (auc, learned[-4:]) == ([0.0], [1, 1, 0, 0])
    assert "28 contradictions" in said


def test_all_rows_so_far_are_one_window_however_often_they_are_judged(served, capsys, monkeypatch):
    """No whole week has enough rows: the window grows by a day, and is nearly the same each day."""
    moved = {"x": [9.0] * 4, "k": [4] * 4, "c": ["a"] * 4}
    every = [{**each, "request": json.dumps({"inputs": moved})} for each in entries()]
    settings = ["monitoring.min_rows=40", "monitoring.period_days=366", "monitoring.measured=false"]
    assert configure.main([f"--set={each}" for each in [*settings, "retraining.windows=2"]]) == 0
    for count in (12, 13, 14):
        LOG.write_text("".join(json.dumps(entry) + "\n" for entry in every[:count]))
        monkeypatch.setenv("PIPELINE_NOW", f"2024-03-{count - 10:02}T01:00:00+00:00")
        assert monitor.main([]) == 0, capsys.readouterr().err
        seen = json.loads(Path("build/monitoring/monitoring.json").read_text())
        assert seen["window"] == {"first": "2024-02-19", "end": f"2024-03-{count - 10:02}"}
        assert seen["shown"]["x distribution"] == "drift"
        assert seen["overall"] == "watch"
        assert retrain.main([]) == 0
        decision = json.loads(Path("build/retraining/decision.json").read_text())
        assert decision["brake"] == "windows"
        assert decision["reason"].startswith("1 window in a row")


def test_a_field_that_is_dropped_is_neither_kept_nor_watched_nor_broken(served, capsys):
    assert configure.main(["--set=monitoring.drop=[x]"]) == 0
    assert monitor.main([]) == 0, capsys.readouterr().err
    seen = json.loads(Path("build/monitoring/monitoring.json").read_text())
    assert seen["rows"] == 28
    assert [each["name"] for each in seen["features"]] == ["k", "c"]
    assert not [each for each in seen["checks"] if each["name"].startswith("x ")]
    for kept in ("build/monitoring/requests.parquet", "build/state/history/requests/2024-02-26.parquet"):
        assert "x" not in pd.read_parquet(kept)


def test_no_log_yet_is_no_request_and_a_line_that_is_being_written_is_left_out(served, capsys):
    text = LOG.read_text()
    LOG.unlink()
    assert monitor.main([]) == 2
    assert "0 rows of users' requests were captured" in capsys.readouterr().out
    LOG.write_text(text + '{"number": 14, "id"')
    assert monitor.main([]) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "build/captured.jsonl:15: not JSON"),
        ("[]", "build/captured.jsonl:15: number: a captured request has number, of type int"),
        ('{"number": 1, "time": "now"}', "build/captured.jsonl:15: path: a captured request has path, of type str"),
        (json.dumps({**next(entries()), "id": 5}), "build/captured.jsonl:15: id: it is a text, or absent"),
        (json.dumps({**next(entries()), "version": 1}), "build/captured.jsonl:15: version: it is a text, or absent"),
    ],
)
def test_a_line_that_is_no_captured_request_is_named_and_watched_and_the_rest_is_judged(served, capsys, line, message):
    LOG.write_text(LOG.read_text() + f"{line}\n")
    assert monitor.main([]) == 0
    said = capsys.readouterr().out
    assert f"monitor: {message}" in said
    assert "captured requests: 14 read, 1 unreadable" in said
    assert metrics.main([]) == 0
    seen = json.loads(Path("build/monitoring/monitoring.json").read_text())
    assert (seen["rows"], seen["verdict"], seen["overall"]) == (28, "stable", "watch")
    assert seen["why"].startswith("6.67% of 15 captured requests are not as the model's fields say")
    assert f"; {message}" in seen["why"]


def test_a_log_of_which_much_cannot_be_read_is_broken_and_nothing_is_trained(served, capsys):
    LOG.write_text("".join(f"{line}\nnoise\n" for line in LOG.read_text().splitlines()))
    assert monitor.main([]) == 0
    said = capsys.readouterr().out
    assert "monitor: build/captured.jsonl:6: not JSON" in said
    assert "and 11 more lines" in said
    seen = json.loads(Path("build/monitoring/monitoring.json").read_text())
    assert (seen["rows"], seen["verdict"]) == (28, "broken")
    assert "50.00% of 28 captured requests" in seen["reason"]
    assert retrain.main([]) == 0
    assert json.loads(Path("build/retraining/decision.json").read_text())["brake"] == "broken"


@pytest.mark.parametrize("content", ["", "noise\n", None])
def test_a_day_of_requests_that_is_damaged_is_told_and_how_it_comes_back(served, capsys, content):
    assert monitor.main([]) == 0
    path = Path("build/state/history/requests/2024-02-26.parquet")
    path.unlink()
    path.mkdir() if content is None else path.write_text(content)
    assert monitor.main([]) == 2
    said = capsys.readouterr().err
    assert f"{path}: " in said
    assert "restore it" in said


@pytest.mark.parametrize("content", ["noise\n" * 3, "\x1f\x8b\x08\0\n"])
def test_a_file_that_is_no_log_at_all_is_refused(served, capsys, content):
    LOG.write_text(content)
    assert monitor.main([]) == 2
    said = capsys.readouterr().err
    assert "build/captured.jsonl: no line is a captured request: build/captured.jsonl:1: not JSON" in said
    assert not Path("build/monitoring").exists()


@pytest.mark.parametrize("time", ["yesterday", "2024-03-04T01:00:00"])
def test_a_time_that_is_none_is_named(served, capsys, monkeypatch, time):
    monkeypatch.setenv("PIPELINE_NOW", time)
    assert monitor.main([]) == 2
    assert f"PIPELINE_NOW: {time} is no time with a zone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("drop=[c, y]", "pipeline.yaml: monitoring.drop: y is what the model predicts: without it no answer can be"),
        (
            "season=[x, nope]",
            "pipeline.yaml: monitoring.season: nope is no feature of the task in model/: name one of x, k",
        ),
    ],
)
def test_a_name_that_cannot_be_dropped_or_has_no_season_is_refused(served, capsys, setting, message):
    before = Path("build/settings.yaml").read_text()
    assert configure.main([f"--set=monitoring.{setting}"]) == 2
    assert message in capsys.readouterr().err
    assert Path("build/settings.yaml").read_text() == before
    assert configure.main(["--set=monitoring.drop=[c]", "--set=monitoring.season=[x, c (words)]"]) == 0
