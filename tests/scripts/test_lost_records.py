"""A record of releases that was lost, in whole or its end, while a version serves: each command says so."""

import json
import shutil
from pathlib import Path

import pytest

from ci import workspace
from ci.lineage import file_digest
from ci.releases import machine
from ci.releases.machine import MachineLedger
from ci.results.rollout import RELEASES
from ci.rollout.decision import Phase
from ci.rollout.local import servers as local
from scripts import champion, configure, deploy, monitor, prune, retrain, rollback, serve, status
from tests import builds
from tests.ci.rollout import journals

LEDGER = MachineLedger()

A, B = (f"sha256:{letter * 64}" for letter in "ab")
FIRST = journals.release("a")
LINE = json.dumps({"release": 1, **FIRST}) + "\n"
LOST = f"failed: {B[:19]} serves on port 8501, but "


@pytest.fixture
def phases(tmp_path, monkeypatch):
    """A configured folder; what runs there can be set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIPELINE_SET", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    shutil.copy(builds.REPOSITORY / "tests/pipeline.yaml", "pipeline.yaml")
    shutil.copy(builds.REPOSITORY / "dvc.yaml", "dvc.yaml")
    assert configure.main([]) == 0
    monkeypatch.setattr("ci.lineage.inputs_digest", lambda: "now")
    found = {B: Phase.SERVING}
    monkeypatch.setattr(local.Local, "phases", lambda _: dict(found))
    return found


@pytest.mark.parametrize(
    ("record", "known"),
    [
        (None, "no release is recorded"),
        ("", "no release is recorded"),
        (LINE, "the last release recorded is 1, another"),
    ],
)
@pytest.mark.parametrize("command", [champion, serve, monitor, retrain, prune], ids=lambda module: module.__name__)
def test_a_command_ends_and_changes_nothing(phases, capsys, record, known, command):
    if record is not None:
        workspace.write_text(RELEASES.path, record)
    builds.write("monitoring/monitoring.json", builds.monitoring())
    workspace.write_text(LEDGER.evidence(A) / "manifest.json", "{}")
    before = {path: path.read_bytes() for path in Path("build").rglob("*") if path.is_file()}
    phases[B] = Phase.SERVING
    assert command.main([]) == 1
    said = capsys.readouterr().err
    assert LOST + known in said
    assert "restore build/state/serving/releases.jsonl from a backup" in said
    assert "`make stop`" in said
    after = {path: path.read_bytes() for path in Path("build").rglob("*") if path.is_file()}
    assert {path: after.get(path) for path in before} == before
    assert not workspace.CHAMPION.exists()


@pytest.mark.parametrize("arguments", [[], ["--to", "1"], ["--dry-run"]])
def test_there_is_no_release_to_go_back_to(phases, capsys, arguments):
    assert rollback.main(arguments) == 1
    assert LOST + "no release is recorded" in capsys.readouterr().err
    assert phases == {B: Phase.SERVING}


def test_status_says_so_and_is_not_well(phases, capsys):
    assert status.main([]) == 1
    assert f"{B[:19]} serves on port 8501, but no release is recorded" in capsys.readouterr().out
    assert phases == {B: Phase.SERVING}


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_another_version_is_not_deployed(phases, capsys, monkeypatch, arguments):
    builds.write("evaluation/evaluation.json", builds.evaluation())
    builds.write("champion.json", None)
    digests = {"evaluation": file_digest(workspace.EVALUATION / "evaluation.json")}
    manifest = {"image": {"digest": A}, "version": "2", "digests": digests}
    monkeypatch.setattr("ci.packaging.package.verify", lambda *_: manifest)
    assert deploy.main(arguments) == 1
    assert LOST + "no release is recorded" in capsys.readouterr().err
    assert phases == {B: Phase.SERVING}
    assert not RELEASES.path.exists()


@pytest.mark.parametrize("phase", [Phase.READY, Phase.LOADING, Phase.FAILED])
def test_what_runs_and_takes_no_requests_needs_no_record(phases, phase):
    phases[B] = phase
    assert champion.main([]) == 0
    assert json.loads(workspace.CHAMPION.read_text()) is None


def test_a_deployment_that_was_killed_before_the_record_is_no_lost_record(phases, tmp_path):
    """By its mark, where nothing was released before; by the release that waits beside it, where something was."""
    mark = tmp_path / machine.FOLDER / "unverified"
    workspace.write_text(mark, B)
    assert champion.main([]) == 0
    mark.unlink()
    workspace.write_text(RELEASES.path, LINE)
    phases[A] = Phase.PAUSED
    assert champion.main([]) == 0
    assert json.loads(workspace.CHAMPION.read_text())["digest"] == A
