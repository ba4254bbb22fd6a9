"""Backups: what was released and built comes back as it was, and nothing newer is ever overwritten."""

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci import configuration, workspace
from ci.capture import records
from ci.monitoring import cohorts, memory
from ci.releases.cluster import NAME, ClusterLedger
from ci.releases.machine import FOLDER, MachineLedger
from ci.results.monitoring import Attempt, Watched
from ci.rollout.backup import newer
from ci.settings import Settings
from ci.settings.building import Model
from ci.settings.jenkins import Environment
from ci.settings.watching import History
from scripts import backup, restore
from tests.ci import apiservers
from tests.ci.rollout import journals

STAGING, PRODUCTION = MachineLedger("staging"), MachineLedger("production")
HISTORY = Path("build/state/history/builds.jsonl")
BUILD = {
    "commit": None, "as_of": "2013-04-01", "model": "demo", "version": "1", "digests": {}, "primary": "auc",
    "metrics": {"auc": {"value": 0.7, "low": 0.6, "high": 0.8}}, "verdict": "promote", "reason": "first", "gain": None,
    "release": 1,
}  # fmt: skip


def release(letter: str, time: str) -> dict[str, Any]:
    return {**journals.release(letter), "time": f"2026-01-{time}T00:00:00+00:00"}


def write(environments: dict[str, Environment], model: str = "demo") -> None:
    settings = Settings(
        schema_version=1, as_of=date(2013, 4, 1), model=Model(name=model), environments=environments
    )  # fmt: skip
    workspace.write_text(workspace.SETTINGS, configuration.dump(settings))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two releases in staging, one in production, and two builds."""
    monkeypatch.chdir(tmp_path)
    write({"staging": Environment(port=8601), "production": Environment()})
    for letter, day in (("a", "01"), ("b", "03")):
        STAGING.add(release(letter, day))
        digest = release(letter, day)["digest"]
        STAGING.keep(digest, {"golden.json": f"[{day}]", "manifest.json": "{}"})
    PRODUCTION.add(release("a", "02"))
    lines = [json.dumps({"time": f"2026-01-0{n}T00:00:00Z", **BUILD}, sort_keys=True) + "\n" for n in (1, 3)]
    workspace.write_text(HISTORY, "".join(lines))
    return tmp_path


def whole(found: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out locks."""
    return {path: text for path, text in found.items() if not path.endswith("lock")}


def content() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path("build/state").rglob("*")) if path.is_file()}


def without_locks() -> dict[str, bytes]:
    return {name: found for name, found in content().items() if not name.endswith("/lock")}


def test_what_was_lost_comes_back_byte_for_byte(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content()
    assert backup.main(["saved.json"]) == 0
    said = capsys.readouterr().out
    assert "backup: staging (port 8601): 2 releases, evidence of 2 of 2 images" in said
    assert "backup: production (port 8501): 1 releases, evidence of 0 of 1 images" in said
    assert "backup: history: 2 builds" in said
    assert restore.main(["saved.json"]) == 0
    assert "restore: staging (port 8601): as in the backup: 2 releases" in capsys.readouterr().out
    shutil.rmtree("build/state")
    assert restore.main(["saved.json", "--dry-run"]) == 0
    assert "would be: staging (port 8601): 2 releases in the place of 0" in capsys.readouterr().out
    assert without_locks() == {}
    assert restore.main(["saved.json"]) == 0
    assert without_locks() == before


def test_the_end_of_a_record_that_was_lost_comes_back_and_so_does_a_damaged_one(folder: Path) -> None:
    assert backup.main(["saved.json"]) == 0
    before = without_locks()
    lines = STAGING.records.read_text().splitlines(keepends=True)
    STAGING.records.write_text(lines[0])
    PRODUCTION.records.write_text("{")
    assert restore.main(["saved.json"]) == 0
    assert without_locks() == before


@pytest.mark.parametrize("what", ["release", "another release", "build", "another build"])
def test_nothing_newer_and_nothing_else_is_overwritten(
    folder: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    assert backup.main(["saved.json"]) == 0
    PRODUCTION.records.unlink()  # this could be restored, and is not
    if what == "release":
        STAGING.add(release("c", "04"))
    elif what == "another release":
        STAGING.restore([{"release": 1, **release("c", "01")}])
    else:
        day = "04" if what == "build" else "02"
        found = {"time": f"2026-01-{day}T00:00:00Z", **BUILD}
        HISTORY.write_text(json.dumps(found, sort_keys=True) + "\n")
    before = without_locks()
    assert restore.main(["saved.json"]) == 1
    said = capsys.readouterr().err
    assert "nothing was restored: " in said
    assert ("the backup does not have" if "another" in what else "goes on to 2026-01-04") in said
    assert without_locks() == before


def test_a_backup_of_something_else_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert backup.main(["saved.json"]) == 0
    before = without_locks()
    write({"staging": Environment(port=8601), "production": Environment()}, model="other")
    assert restore.main(["saved.json"]) == 2
    assert "it is a backup of demo, and this is other" in capsys.readouterr().err
    write({})
    assert restore.main(["saved.json"]) == 2
    assert "it has environment staging, which pipeline.yaml has not" in capsys.readouterr().err
    assert not FOLDER.exists()
    write({"staging": Environment(port=8601), "production": Environment()})
    for text in ("", "[]", "{", Path("saved.json").read_text().replace("sha256:", "sha:")):
        Path("broken.json").write_text(text)
        assert restore.main(["broken.json"]) == 2
        assert "broken.json" in capsys.readouterr().err
    assert restore.main(["nowhere.json"]) == 2
    assert without_locks() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda ledgers: ledgers.append(ledgers[0]),
            "ledgers: an environment is in it twice: staging, production, staging",
        ),
        (lambda ledgers: ledgers[0]["releases"].reverse(), "ledgers.0.releases: their numbers are not in order"),
        *(
            (lambda ledgers, name=name: next(iter(ledgers[0]["evidence"].values())).update({name: "x"}), "evidence")
            for name in ("../../../../code.py", "/etc/code.py", "..", "a/b", "")
        ),
    ],
)
def test_a_backup_that_was_changed_by_hand_writes_nothing_and_nowhere_else(
    folder: Path, capsys: pytest.CaptureFixture[str], change: Any, said: str
) -> None:
    assert backup.main(["saved.json"]) == 0
    saved = json.loads(Path("saved.json").read_text())
    change(saved["ledgers"])
    Path("saved.json").write_text(json.dumps(saved))
    shutil.rmtree(FOLDER.parent)
    before = without_locks()
    assert restore.main(["saved.json"]) == 2
    heard = capsys.readouterr().err
    assert "bad input: saved.json: " in heard
    assert said in heard
    assert without_locks() == before


def test_a_damaged_ledger_is_no_backup(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    STAGING.records.write_text("{")
    assert backup.main(["saved.json"]) == 1
    assert "releases.jsonl:1" in capsys.readouterr().err
    assert not Path("saved.json").exists()
    assert backup.main(["build"]) == 2
    assert "build is a folder: name a file, such as build/backup.json" in capsys.readouterr().err


def test_only_an_older_backup_of_this_model_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert backup.main(["saved.json"]) == 0
    STAGING.add(release("c", "05"))
    assert backup.main(["saved.json"]) == 0
    assert "5 bytes" not in capsys.readouterr().err
    write({"staging": Environment(port=8601), "production": Environment()}, model="other")
    other = Path("saved.json").read_bytes()
    assert backup.main(["saved.json"]) == 2
    assert "saved.json is a backup of demo, and this is other: name another file" in capsys.readouterr().err
    assert Path("saved.json").read_bytes() == other
    for text in ("", "schema_version: 1\nas_of: 2013-04-01\n", "{}", '{"schema": 1, "model": "other"}'):
        Path("pipeline.yaml").write_text(text)
        assert backup.main(["pipeline.yaml"]) == 2
        said = capsys.readouterr().err
        assert "pipeline.yaml is there, and is no backup that could be replaced: name another file" in said
        assert Path("pipeline.yaml").read_text() == text
    Path("link.json").symlink_to("pipeline.yaml")
    assert backup.main(["link.json"]) == 2
    assert Path("link.json").is_symlink()


def test_a_list_of_a_cluster_is_put_back_whether_it_is_there_or_gone() -> None:
    path = "/api/v1/namespaces/models/configmaps"
    with apiservers.serving() as (store, api, _):
        api.ask("POST", path, {"metadata": {"name": NAME}})
        ledger = ClusterLedger(api, "models")
        for letter in "abc":
            ledger.add(journals.release(letter))
        found = ledger.read()[1:]  # of a list that was shortened
        for lose in (lambda: None, lambda: store.objects.pop(f"{path}/{NAME}")):
            lose()
            ledger.restore(found)
            assert ledger.read() == found
        assert ledger.add(journals.release("d"))["release"] == 4


RECORDS = st.lists(st.integers(0, 30), unique=True, max_size=8).map(
    lambda days: [{"time": f"{day:02}", "what": "x"} for day in sorted(days)]
)


@given(RECORDS, RECORDS)
def test_only_what_the_backup_has_or_what_came_before_it_is_ever_replaced(
    there: list[dict[str, str]], saved: list[dict[str, str]]
) -> None:
    if newer(there, saved) is None:
        lost = [each for each in there if each not in saved]
        assert all(each["time"] < saved[0]["time"] for each in lost)
    assert newer(saved, saved) is None
    assert newer([], saved) is None


def test_what_monitoring_remembers_comes_back_and_what_is_newer_stays(folder: Path) -> None:
    """With the windows, the retrainings, the labels, and the requests that a gateway has long forgotten."""
    where = History()
    window = {"release": "a", "verdict": "stable", "asks": False}
    window["window"] = {"first": "2026-01-05", "end": "2026-01-12"}
    tried = {"request": "r", "time": "2026-01-12T00:00:00Z", "as_of": "2026-01-12", "cause": "age", "done": True}
    came = {"counts": {"joined": 3}, "maturity_days": 2, "method": "declared", "watermark": "2026-01-09",
            "labelled": {"2026-01-05": 3}, "source": "x"}  # fmt: skip
    memory.watch(Watched.model_validate_json(json.dumps(window)), where)
    memory.attempt(Attempt.model_validate_json(json.dumps(tried)), where)
    memory.labels(where).write(came)
    asked = pd.DataFrame({records.ID: ["one"], records.TIME: pd.to_datetime(["2026-01-05T10:00:00Z"]), "x": [1.5]})
    cohorts.keep(HISTORY.parent / "requests", asked)
    remembered = sorted(path for path in HISTORY.parent.rglob("*") if path.is_file() and path.suffix != ".lock")
    assert len(remembered) == 5
    before = content()
    assert backup.main(["saved.json"]) == 0
    shutil.rmtree(HISTORY.parent)
    assert restore.main(["saved.json", "--dry-run"]) == 0
    assert not HISTORY.parent.exists()
    assert restore.main(["saved.json"]) == 0
    assert whole(before) == whole(content())

    (HISTORY.parent / "watched.jsonl").unlink()
    later = {**window, "window": {"first": "2026-01-12", "end": "2026-01-19"}}
    memory.watch(Watched.model_validate_json(json.dumps(later)), where)
    cohorts.keep(HISTORY.parent / "requests", asked.assign(x=2.5))
    assert restore.main(["saved.json"]) == 0
    assert [str(each.window.end) for each in memory.watched(where)] == ["2026-01-12", "2026-01-19"]
    assert cohorts.read(HISTORY.parent / "requests")["x"].tolist() == [2.5]


def test_a_backup_of_before_monitoring_is_still_read(folder: Path) -> None:
    assert backup.main(["saved.json"]) == 0
    old = {key: value for key, value in json.loads(Path("saved.json").read_text()).items() if key != "monitoring"}
    Path("saved.json").write_text(json.dumps(old))
    assert restore.main(["saved.json"]) == 0
    for name in ("../up.parquet", "2026-01-05.txt"):
        wrong = {"watched": [], "retrainings": [], "labels": None, "requests": {name: ""}}
        Path("saved.json").write_text(json.dumps({**old, "monitoring": wrong}))
        assert restore.main(["saved.json"]) == 2
