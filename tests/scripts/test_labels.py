"""`scripts.labels`: from requests that were captured to a data source that the next build reads."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from ci.capture import records
from ci.monitoring import memory
from ci.settings.watching import History
from scripts import configure, labels, prepare
from tests import repositories, tasks

SETTINGS = "labels: {outcomes: inbox, maturity_days: 3, into: labelled}\n"


@pytest.fixture
def task(tmp_path, monkeypatch, capsys):
    """A task with 40 days of captured requests, of which the first 30 have outcomes, in a repository with DVC."""
    made = tasks.make(tmp_path, monkeypatch, capsys)
    made.write("data.py", "import pandas as pd\n\n\ndef load(source):\n    return pd.read_parquet(source)\n")
    Path("pipeline.yaml").write_text(tasks.SETTINGS + SETTINGS)
    Path("table.pickle").touch()
    repositories.git("init", "-q")
    assert configure.main([]) == 0
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    analytics = false\n")
    first = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=40)
    rows = tasks.table().drop(columns=["day", "y"]).head(160)
    times = pd.Series([first + timedelta(days=n // 4) for n in range(160)])
    requests = rows.assign(**{records.ID: [f"r{n}" for n in range(160)], records.TIME: times, "prediction": 0.5})
    Path("build/monitoring").mkdir(parents=True)
    requests.to_parquet("build/monitoring/requests.parquet", index=False)
    Path("inbox").mkdir()
    told = pd.DataFrame({"request_id": requests[records.ID], "y": [n % 3 == 0 for n in range(160)]}).astype({"y": int})
    told = told.assign(known_at=(times + timedelta(days=1)).map(str))
    told.loc[told.index % 7 == 0, "y"] = None
    told.head(150).to_csv("inbox/one.csv", index=False)
    return made


def test_what_was_joined_is_tracked_and_read_by_the_next_build(task, capsys):
    watermark = str((datetime.now(UTC) - timedelta(days=3)).date())
    for _ in range(2):  # the second time changes nothing
        assert labels.main([]) == 0
        said = capsys.readouterr().out
        assert "150 joined, 22 never, 10 waiting, 0 duplicates, 0 contradictions, 0 unknown" in said
        assert f"a day is mature after 3 days (declared); as of {watermark}" in said
        tracked = Path("labelled.dvc").read_text()
    found = json.loads(Path("build/state/history/labels.json").read_text())
    assert (found["watermark"], found["source"]) == (watermark, "labelled")
    Path("inbox/one.csv").write_text("request_id,y,known_at\n")  # it was taken up: nothing is lost
    assert labels.main([]) == 0
    assert Path("labelled.dvc").read_text() == tracked
    settings = tasks.SETTINGS.replace("table.pickle", "labelled").replace(tasks.AS_OF, watermark)
    Path("pipeline.yaml").write_text(settings.replace("holdout_days: 10", "holdout_days: 5"))
    assert configure.main([]) == 0
    assert prepare.main([]) == 0, capsys.readouterr().err
    summary = json.loads(Path("build/data/summary.json").read_text())
    assert summary["as_of"] == watermark
    assert summary["source"]["rows"] == 37 * 4
    assert memory.labels(History()).read().labelled


def damage(name):
    """Put what is no table where a day of requests is kept."""
    Path(name).parent.mkdir(parents=True)
    Path(name).write_text("noise\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: configure.main(["--set=labels.outcomes=null"]), "labels.outcomes: name the table or folder"),
        (lambda: configure.main(["--set=labels.key=[x, nope]"]), "labels.key: nope is no field that the task"),
        (
            lambda: configure.main(["--set=labels.into=build/state/history/requests"]),
            "labels.into: build/state/history/requests holds the requests that are kept",
        ),
        (lambda: configure.main(["--set=labels.id=y"]), "labels: y is two columns of outcomes: see labels.id"),
        (lambda: configure.main(["--set=labels.known=request_id"]), "labels: request_id is two columns of outcomes"),
        (lambda: configure.main(["--set=labels.key=[x, k, x]"]), "labels: x is two columns of outcomes"),
        (
            lambda: Path("build/monitoring/requests.parquet").write_text("x"),
            "build/monitoring/requests.parquet: it cannot be read: ",
        ),
        (
            lambda: damage("build/state/history/requests/2024-02-26.parquet"),
            "build/state/history/requests/2024-02-26.parquet: it cannot be read: ",
        ),
        (lambda: Path("build/monitoring/requests.parquet").unlink(), "run `python -m scripts.monitor` first"),
        (
            lambda: pd.DataFrame({"x": [1.0]}).to_parquet("build/monitoring/requests.parquet"),
            "build/monitoring/ holds simulated requests",
        ),
    ],
)
def test_what_is_missing_is_told(task, capsys, change, message):
    change()
    assert labels.main([]) == 2
    assert message in capsys.readouterr().err


def test_an_outcome_that_cannot_be_used_is_named_and_counted_and_the_others_are_joined(task, capsys):
    rows = ["r150,1,2024-01-01", "r151,,2024-01-01", "r152,yes,2024-01-01", "r153,1", "r154,1,soon,5", "r155,9,soon"]
    Path("inbox/two.csv").write_text("\n".join(["request_id,y,known_at", *rows]) + "\n")
    assert labels.main([]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    first = (
        "inbox/two.csv: row 3: y: 'yes' is no target of a binary task: give 0 for no, 1 for yes, or missing where "
        "there is no label"
    )
    assert f"labels: {first}\nlabels: inbox/two.csv: row 4: known_at: '' is no time" in said
    assert "labels: and 1 more rows" in said
    assert "152 joined, 23 never, 8 waiting, 0 duplicates, 0 contradictions, 0 unknown, 4 unusable" in said
    found = memory.labels(History()).read()
    assert (found.counts["unusable"], found.outcomes, found.unusable) == (4, 156, first)


def test_days_become_mature_also_while_the_inbox_is_empty(task, capsys, monkeypatch):
    """What was taken up may be removed; and what could not be used is no more told once it is gone."""
    assert labels.main(["--if-any"]) == 0
    with Path("inbox/one.csv").open("a") as file:
        file.write("r151,yes,2024-01-01\n")
    assert labels.main(["--if-any"]) == 0, capsys.readouterr().err
    before = memory.labels(History()).read()
    Path("inbox/one.csv").unlink()
    monkeypatch.setenv("PIPELINE_NOW", (datetime.now(UTC) + timedelta(days=2)).isoformat())
    capsys.readouterr()
    assert labels.main(["--if-any"]) == 0
    assert "150 joined, 22 never, 10 waiting" in capsys.readouterr().out
    after = memory.labels(History()).read()
    assert after.watermark == before.watermark + timedelta(days=2)
    assert (before.counts["unusable"], after.counts["unusable"], after.unusable) == (1, 0, None)
    assert labels.main([]) == 2
    assert "inbox: there are no outcomes" in capsys.readouterr().err


def test_where_no_outcome_has_ever_come_there_is_nothing_to_do(task, capsys):
    Path("inbox/one.csv").unlink()
    assert labels.main(["--if-any"]) == 0
    assert "labels: no outcomes have come" in capsys.readouterr().out
    assert not memory.labels(History()).path.exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "one.csv",
            "request_id,y,known_at\nr1,2,2024-01-01\nr2,3,2024-01-01\n",
            "inbox/one.csv: row 1: y: '2' is no target",
        ),
        ("two.jsonl", "[]\n\n", "inbox/two.jsonl: it cannot be read: row 1: this is no JSON object"),
        ("two.csv", "\0\1", "inbox/two.csv: no column request_id, y, known_at"),
    ],
)
def test_a_file_that_holds_no_outcomes_is_refused_before_anything_is_written(task, capsys, name, text, message):
    Path("inbox", name).write_text(text)
    assert labels.main([]) == 2
    assert message in capsys.readouterr().err
    assert not Path("labelled").exists()
    assert not Path("build/state/history/requests").exists()
    assert not Path("build/state/history/labels.json").exists()


def test_a_class_that_the_task_does_not_have_is_no_outcome(task, capsys):
    task.write(
        "__init__.py", 'KIND, CLASSES = "multiclass", ("a", "b", "1")\n' + tasks.INIT.replace('KIND = "binary"\n', "")
    )
    task.forget()
    told = "request_id,y,known_at\nr1,a,2024-01-01\nr2,c,2024-01-01\nr3,1,2024-01-01\n"
    Path("inbox/one.csv").write_text(told)
    assert labels.main([]) == 0
    said = capsys.readouterr().out
    assert "inbox/one.csv: row 2: y: 'c' is no target of a multiclass task" in said
    assert "2 joined, 0 never" in said
    Path("inbox/one.csv").write_text(told.replace(",c,", ",b,"))
    assert labels.main([]) == 0
    assert "3 joined, 0 never" in capsys.readouterr().out
