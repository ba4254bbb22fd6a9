"""What a worker does while it trains: it shows that it lives, reports each epoch once, and ends what need not go on."""

import threading
from types import SimpleNamespace

import pytest

from ci.errors import InputError
from ci.tuning import state
from tests.ci.tuning import light


def begun(**options):
    """Return an oracle with one trial under way, and that trial."""
    oracle = light.oracle(3, **options)
    return oracle, oracle.create_trial("worker")


def test_an_epoch_that_is_reported_twice_counts_once():
    """A report whose answer was lost is sent again; keras-tuner would take the mean of both."""
    oracle, trial = begun()
    for value, step in ((1.0, 0), (3.0, 0), (0.5, 1), (0.7, 1)):
        oracle.update_trial(trial.trial_id, {"score": value}, step=step)
    assert oracle.curve(oracle.trials[trial.trial_id]) == [1.0, 0.5]


class Patient(light.Light):
    """Trials that last until the oracle has heard of them twice."""

    def run_trial(self, *_, **__):
        return {"score": 1.0 if self.heard.acquire(timeout=20) and self.heard.acquire(timeout=20) else float("nan")}


def test_a_worker_shows_that_it_lives_while_a_trial_runs(tmp_path):
    oracle = light.oracle(1, heartbeat_timeout=0.3)
    tuner = Patient(oracle, directory=str(tmp_path), project_name="search")
    tuner.heard = threading.Semaphore(0)
    report = oracle.update_trial

    def heard(trial_id, metrics, *more, **named):
        if not metrics:
            tuner.heard.release()
        return report(trial_id, metrics, *more, **named)

    oracle.update_trial = heard
    tuner.search()
    assert [trial.status for trial in oracle.trials.values()] == ["COMPLETED"]


def test_a_sign_of_life_keeps_a_trial_with_its_worker():
    now = [0.0]
    oracle, trial = begun()
    oracle.clock = lambda: now[0]
    for _ in range(5):
        now[0] += 0.9 * oracle.heartbeat_timeout
        oracle.update_trial(trial.trial_id, {})
        assert not oracle.is_complete  # which looks for those that are silent
        assert oracle.ongoing_trials["worker"].trial_id == trial.trial_id
    now[0] += 1.1 * oracle.heartbeat_timeout
    assert not oracle.is_complete
    assert oracle.ongoing_trials == {}


def test_the_training_of_a_trial_that_need_not_go_on_ends(tmp_path):
    oracle, trial = begun()
    tuner = light.Light(oracle, directory=str(tmp_path), project_name="search")
    network = SimpleNamespace(stop_training=False)
    tuner.on_epoch_end(trial, network, 0, {"score": 1.0})
    assert not network.stop_training
    oracle.failure = InputError("the search has ended")
    tuner.on_epoch_end(trial, network, 1, {"score": 1.0})
    assert network.stop_training


def test_a_folder_is_of_one_search_at_a_time(tmp_path):
    held = state.lock(tmp_path)
    with pytest.raises(InputError, match=r"another search \(process \d+\) works here: wait for it, or end it"):
        state.lock(tmp_path)
    held.close()
    state.lock(tmp_path).close()
