"""What a search begins with where `tuning.warm_start` is set: what the champion's search found, by its digest."""

import json
import shutil
from pathlib import Path

import pytest

from ci import workspace
from ci.packaging.prior import MOST, known
from ci.releases.machine import MachineLedger
from ci.results.training import KNOWN, TRIALS, Trial
from scripts import champion, configure
from tests import builds
from tests.ci.rollout import journals

LEDGER = MachineLedger()
A, B = (f"sha256:{letter * 64}" for letter in "ab")


@pytest.fixture
def released(tmp_path, monkeypatch):
    """A folder in which two versions were released, the second compared with the first; each with its trials."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIPELINE_SET", raising=False)
    shutil.copy(builds.REPOSITORY / "tests/pipeline.yaml", "pipeline.yaml")
    shutil.copy(builds.REPOSITORY / "dvc.yaml", "dvc.yaml")
    monkeypatch.setattr("ci.lineage.inputs_digest", lambda: "now")
    first = LEDGER.add({**journals.release("a"), "inputs": "before"})
    was = {key: first[key] for key in ("digest", "version", "as_of", "release")}
    LEDGER.add({**journals.release("b"), "inputs": "then", "champion": was})
    for digest, width in ((A, 8), (B, 16)):
        KNOWN.write([{"hyperparameters": {"width": width}, "objective": 0.5}], LEDGER.evidence(digest))


def prior(warm: str = "true") -> object:
    """Return what the command leaves with this setting."""
    assert configure.main([f"--set=tuning.warm_start={warm}"]) == 0
    assert champion.main([]) == 0
    return json.loads(workspace.PRIOR.read_text())


@pytest.mark.usefixtures("released")
def test_it_is_the_champions_and_of_inputs_that_were_released_the_one_that_they_had(monkeypatch, capsys):
    trials = [{"hyperparameters": {"width": 16}, "objective": 0.5}]
    assert prior() == {"digest": B, "trials": trials}
    assert "tuning begins with the 1 best trials of its search -> build/prior.json" in capsys.readouterr().out
    monkeypatch.setattr("ci.lineage.inputs_digest", lambda: "then")
    found = prior()
    assert isinstance(found, dict)
    assert found["digest"] == A
    before = workspace.PRIOR.read_bytes()
    prior()
    assert workspace.PRIOR.read_bytes() == before


@pytest.mark.usefixtures("released")
def test_there_is_none_without_the_setting_or_of_a_champion_that_was_built_without_it(capsys):
    assert prior("false") is None
    (LEDGER.evidence(B) / "prior.json").unlink()
    capsys.readouterr()
    assert prior() is None
    assert "tuning begins with nothing" in capsys.readouterr().out


@pytest.mark.usefixtures("released")
def test_a_damaged_one_is_named_and_nothing_is_written(capsys):
    path = LEDGER.evidence(B) / "prior.json"
    path.write_text('[{"hyperparameters": {"width": []}}]')
    assert configure.main(["--set=tuning.warm_start=true"]) == 0
    assert champion.main([]) == 2
    assert f"bad input: {path}" in capsys.readouterr().err
    assert not workspace.CHAMPION.exists()
    assert not workspace.PRIOR.exists()


@pytest.mark.parametrize(("direction", "best"), [("min", 0), ("max", 39)])
def test_a_package_keeps_the_best_trials_that_ended_and_not_more_than_a_ledger_has_room_for(
    tmp_path, monkeypatch, direction, best
):
    monkeypatch.chdir(tmp_path)
    trials = [builds.trial(f"{n:04}", {"n": n}, float(n)) for n in range(40)]
    stopped = {**builds.trial("0040", {"n": 40}, -1.0), "stopped": True}
    failed = builds.trial("0041", {"n": 41}, None)
    TRIALS.write([*trials, stopped, failed])
    found = known([Trial.model_validate(each) for each in TRIALS.plain()], direction)
    assert [each["hyperparameters"]["n"] for each in found] == sorted(range(40), reverse=bool(best))[:MOST]
    KNOWN.write(found, Path("package"))
    assert json.loads(Path("package/prior.json").read_text()) == found
