"""The history: one line for each finished build, kept apart from the stages' results."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ci.report import build as builder
from ci.report import history
from ci.settings.watching import History
from scripts import report
from tests import builds

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STORE = Path("build/state/history/builds.jsonl")


pytestmark = pytest.mark.usefixtures("build")


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


def test_a_record_from_before_whose_gain_was_no_number_is_read():
    history.append(record(), [], History())
    STORE.write_text(STORE.read_text().replace('"gain": 0.02', '"gain": NaN'))
    assert [found.gain for found in history.read(History())] == [None]


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


def test_a_build_that_is_released_after_one_like_it_was_not_is_new_and_the_same_again_is_not():
    released = record()
    failed = released.model_copy(update={"release": None})
    assert history.is_new(released, [failed])
    assert not history.is_new(released, [failed, released])
    assert not history.is_new(failed, [released])


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


def test_a_history_outside_the_workspace_is_shown_by_the_next_build_which_starts_empty(tmp_path, monkeypatch, capsys):
    """As in pods: each build has a workspace of its own, and `history.folder` is on a volume."""
    for commit in ("one", "two"):
        workspace = tmp_path / commit
        workspace.mkdir()
        monkeypatch.chdir(workspace)
        builds.leave()
        settings = Path("build/settings.yaml")
        text = settings.read_text().replace("folder: build/state/history", f"folder: {tmp_path / 'volume/history'}")
        settings.write_text(text)
        builds.change("evaluation/evaluation.json", reason=f"build {commit}")
        builds.change("package/manifest.json", digests={"model": f"sha256:{'0' * 61}{commit}"})
        assert report.main(["--record"]) == 0
    assert not Path("build/state").exists()
    assert len((tmp_path / "volume/history/builds.jsonl").read_text().splitlines()) == 2
    assert "build one" in Path("build/report/index.html").read_text()
    capsys.readouterr()
