"""The tune command on the small task of the end-to-end tests: spaces, objectives and states at the edge of a search."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ci import workspace
from ci.tuning import state
from tests import builds
from tests.commands import run_warm

pytestmark = pytest.mark.slow


def tune(**settings: object) -> subprocess.CompletedProcess[str]:
    """Run the command with these settings of tuning; no settings repeat it as it was."""
    if settings:
        done = run_warm("configure", *(f"--set=tuning.{key}={value}" for key, value in settings.items()))
        assert done.returncode == 0, done.stderr
    return run_warm("tune")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The small task with its data prepared."""
    folder = tmp_path_factory.mktemp("tune")
    shutil.copytree(builds.REPOSITORY / "tests/e2e/fork", folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("PIPELINE_SET", raising=False)
        for name in ("configure", "prepare"):
            assert run_warm(name).returncode == 0
    return folder


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch):
    """A copy of it to work in."""
    monkeypatch.delenv("PIPELINE_SET", raising=False)
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


FIXED = {
    'hp.Int("width", 8, 32, step=8, default=16)': 'hp.Fixed("width", 16)',
    'hp.Choice("activation", ["relu", "tanh"])': 'hp.Fixed("activation", "relu")',
    'hp.Float("learning_rate", 3e-3, 3e-2, sampling="log", default=1e-2)': 'hp.Fixed("learning_rate", 1e-2)',
}
ENORMOUS = {'"width", 8, 32, step=8': '"width", 8, 32 + 0 * hp.Int("n", 1, 10**9) * hp.Int("m", 1, 10**9)'}
CONSTANT = {'loss="mse"': "loss=lambda wanted, found: (wanted - found) * 0.0"}
INFINITE = {'loss="mse"': 'loss=lambda wanted, found: (wanted - found) ** 2 * float("inf")'}
BROKEN = {"    inputs = {": '    if activation == "tanh":\n        raise MemoryError("too large")\n    inputs = {'}


@pytest.mark.parametrize(
    ("network", "settings", "code", "said", "trials"),
    [
        (FIXED, {}, 0, "every combination of the search space has been tried: 1 of 3 trials", 1),
        (ENORMOUS, {"strategy": "bayesian", "max_trials": 8, "epochs": 1}, 0, "expected improvement", 8),
        ({}, {"strategy": "bayesian", "max_trials": 1, "epochs": 1}, 0, "1 of 1", 1),
        (
            CONSTANT,
            {"strategy": "bayesian", "objective.name": "val_loss", "max_trials": 7, "epochs": 1},
            0,
            "expected val_loss 0 ±",
            7,
        ),
        (INFINITE, {"objective.name": "val_loss", "epochs": 1, "retries": 0}, 1, "trial 0002: its val_loss was ", 0),
        (BROKEN, {"max_trials": 4, "retries": 0, "epochs": 1}, 0, "failed: MemoryError: too large", 4),
    ],
    ids=["all values fixed", "an enormous space", "one trial", "a constant objective", "infinite", "trials that fail"],
)
def test_a_search_at_the_edge_ends_as_it_should(folder, network, settings, code, said, trials):
    path = Path("model/network.py")
    text = path.read_text()
    for before, after in network.items():
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)
    done = tune(**settings)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert ("Traceback" in done.stdout + done.stderr) == (network is BROKEN)  # a failed trial shows its own
    written = workspace.TUNING / "trials.json"
    assert (len(json.loads(written.read_text())) if written.exists() else 0) == trials


def test_a_search_that_another_process_runs_or_whose_state_is_damaged_is_refused_by_its_folder(folder):
    assert tune(max_trials=1, epochs=1).returncode == 0
    before = workspace.TUNING / "best.json"
    best = before.read_bytes()
    (search,) = (workspace.STATE / "tuning").iterdir()
    with state.lock(search):
        done = tune()
    assert done.returncode == 2
    assert f"bad input: {search}: another search (process {os.getpid()}) works here" in done.stderr
    for name in (state.FILE, state.LAST_GOOD):
        (search / name).write_bytes((search / name).read_bytes()[:50])
    done = tune()
    assert done.returncode == 2
    assert f"to start afresh, delete {search}" in done.stderr
    assert before.read_bytes() == best
    shutil.rmtree(search)
    assert tune().returncode == 0
    assert before.read_bytes() == best


def test_a_warm_start_tries_the_champions_best_trials_first_and_needs_to_know_them(folder):
    done = tune(strategy="bayesian", max_trials=3, epochs=1, warm_start="true")
    assert done.returncode == 2
    assert "build/prior.json is missing: run `python -m scripts.champion` first" in done.stderr
    best = {"width": 24, "activation": "tanh", "learning_rate": 0.02}
    trials = [{"hyperparameters": {**best, "width": width}, "objective": 0.5} for width in (24, 8)]
    builds.write("prior.json", {"digest": builds.BEFORE, "trials": trials})
    done = tune()
    assert done.returncode == 0, done.stderr
    found = json.loads((workspace.TUNING / "trials.json").read_text())
    assert [trial["hyperparameters"]["width"] for trial in found[:2]] == [24, 8]
    assert found[0]["why"] == "one of the best of the search before"
