import itertools
import json
import math
import re
import time
import zlib

import keras_tuner
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras_tuner.engine.trial import Trial

from ci.errors import InputError
from ci.tuning.bayes import acquisition
from ci.tuning.bayes.halving import Halving
from ci.tuning.distributed import Tuner
from ci.tuning.oracle import BayesianOracle, GridOracle, RandomOracle
from tests.ci.tuning.light import score
from tests.ci.tuning.light import space as light_space

ORACLES = [BayesianOracle, RandomOracle, GridOracle]


def make(kind, max_trials, declare=None, folder=None, clock=time.monotonic, **options):
    hp = keras_tuner.HyperParameters()
    if declare:
        declare(hp)
    direction = options.pop("direction", "min")
    oracle = kind(
        objective=options.pop("objective", keras_tuner.Objective("score", direction)),
        max_trials=max_trials,
        hyperparameters=hp if declare else light_space(),
        **options,
    )
    oracle.verbose = 0
    oracle.clock = clock
    if folder:
        oracle._set_project_dir(str(folder), "search")
    return oracle


def run(oracle, objective=score, tuner="tuner0"):
    """Run the search to its end and return the values of its trials in order."""
    while (trial := oracle.create_trial(tuner)).status == "RUNNING":
        finish(oracle, trial, objective(trial.hyperparameters.values))
    assert trial.status == "STOPPED"
    return [oracle.trials[trial_id].hyperparameters.values for trial_id in oracle.start_order]


def finish(oracle, trial, value, step=0):
    oracle.update_trial(trial.trial_id, {"score": value}, step=step)
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


@st.composite
def spaces(draw):
    """A function that declares a random space: every type, step, sampling and condition."""
    specifications = []
    for number in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["float", "int", "choice", "boolean", "fixed"]))
        parent = draw(st.sampled_from([None, *[s["name"] for s in specifications if s["kind"] == "boolean"]]))
        entry = {"kind": kind, "name": f"h{number}", "parent": parent}
        sampling = draw(st.sampled_from(["linear", "log", "reverse_log"]))
        if kind == "float":
            low = draw(st.sampled_from([0.001, 0.1, 1.0] if sampling != "linear" else [-3.0, 0.0, 0.1]))
            step = draw(st.sampled_from([None, 0.1, 0.25] if sampling == "linear" else [None, 2.0, 10.0]))
            entry |= {"low": low, "high": low + draw(st.sampled_from([0.5, 1.0, 7.0])), "step": step}
        elif kind == "int":
            low = draw(st.integers(1, 5))
            step = draw(st.sampled_from([1, 3] if sampling == "linear" else [None, 2]))
            entry |= {"low": low, "high": low + draw(st.integers(0, 40)), "step": step}
        elif kind == "choice":
            entry["values"] = draw(st.sampled_from([["a", "b", "c"], [8, 16, 64], [0.5, 0.1, 0.9], ["x"]]))
        specifications.append(entry | {"sampling": sampling})
    return specifications


def declarer(specifications):
    def declare(hp):
        for s in specifications:
            condition = {"parent_name": s["parent"], "parent_values": [True]} if s["parent"] else {}
            if s["kind"] == "float":
                hp.Float(s["name"], s["low"], s["high"], step=s["step"], sampling=s["sampling"], **condition)
            elif s["kind"] == "int":
                hp.Int(s["name"], s["low"], s["high"], step=s["step"], sampling=s["sampling"], **condition)
            elif s["kind"] == "choice":
                hp.Choice(s["name"], s["values"], **condition)
            elif s["kind"] == "boolean":
                hp.Boolean(s["name"], **condition)
            else:
                hp.Fixed(s["name"], 7, **condition)

    return declare


def assert_inside(specifications, values):
    """The values are the active ones, in their bounds and on their grids."""
    expected = {s["name"] for s in specifications if s["parent"] is None or values.get(s["parent"]) is True}
    for s in specifications:
        if s["parent"] and s["parent"] not in expected:
            expected.discard(s["name"])
    assert set(values) == expected
    for s in specifications:
        if s["name"] not in values:
            continue
        value = values[s["name"]]
        if s["kind"] == "choice":
            assert value in s["values"]
        elif s["kind"] == "boolean":
            assert isinstance(value, bool)
        elif s["kind"] == "fixed":
            assert value == 7
        else:
            assert isinstance(value, int if s["kind"] == "int" else float)
            assert s["low"] <= value <= s["high"]
            if s["step"] is None or s["low"] == s["high"]:
                continue
            if s["sampling"] == "linear":
                steps = (value - s["low"]) / s["step"]
            elif s["sampling"] == "log":
                steps = math.log(value / s["low"], s["step"])
            else:
                steps = math.log((s["high"] + s["low"] - value) / s["low"], s["step"])
            assert steps == pytest.approx(round(steps), abs=1e-6)


def fake_score(values):
    """Some number that depends on all values."""
    return math.sin(zlib.crc32(json.dumps(values, sort_keys=True).encode()) % 1000)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(spaces(), st.sampled_from(ORACLES))
def test_no_value_is_outside_the_space_and_no_trial_is_repeated(specifications, kind):
    oracle = make(kind, 8, declarer(specifications))
    oracle.initial_trials = 4
    trials = run(oracle, fake_score)
    for values in trials:
        assert_inside(specifications, values)
    keys = [json.dumps(values, sort_keys=True) for values in trials]
    assert len(set(keys)) == len(keys)
    if kind is not GridOracle:
        size = oracle.space().size
        assert len(trials) == (8 if size == math.inf else len(list(itertools.islice(oracle.space().grid(), 8))))


@pytest.mark.parametrize("kind", ORACLES)
def test_a_finite_space_is_used_up_completely_and_then_the_search_stops(kind):
    def declare(hp):
        hp.Int("n", 1, 3)
        if hp.Boolean("deep"):
            pass
        hp.Int("depth", 2, 3, parent_name="deep", parent_values=[True])

    trials = run(make(kind, 100, declare), lambda values: values["n"])
    assert len({tuple(sorted(values.items())) for values in trials}) == len(trials) == 9


@pytest.mark.parametrize("kind", [BayesianOracle, RandomOracle])
def test_an_enormous_finite_space_is_no_harder_than_a_small_one(kind):
    def declare(hp):
        for axis in range(12):
            hp.Int(f"n{axis}", 1, 10**9)

    assert len(run(make(kind, 13, declare), lambda values: values["n0"])) == 13


def test_an_int_on_a_logarithmic_scale_stays_below_its_maximum():
    """keras-tuner 1.4.8 suggests max_value + 1 where the unit is 1."""

    def declare(hp):
        hp.Int("n", 1, 10, sampling="log")

    trials = run(make(BayesianOracle, 10, declare), lambda values: -values["n"])
    assert sorted(values["n"] for values in trials) == list(range(1, 11))


def test_keras_tuner_s_own_oracle_still_has_the_fault_that_ours_avoids():
    hp = keras_tuner.engine.hyperparameters.Int("n", 1, 10, sampling="log")
    assert hp.prob_to_value(1.0) == 11


def test_a_float_with_step_reaches_its_maximum():
    """keras-tuner 1.4.8 loses the last value where the division is inexact."""

    def declare(hp):
        hp.Float("p", 0.0, 1.0, step=0.1)

    assert max(values["p"] for values in run(make(GridOracle, 20, declare), lambda _: 1.0)) == 1.0


def test_a_grid_continues_where_it_was_killed(tmp_path):
    """keras-tuner 1.4.8 raises KeyError."""

    def declare(hp):
        hp.Int("a", 0, 3)
        hp.Choice("b", ["x", "y"])

    whole = run(make(GridOracle, 100, declare), fake_score)
    first = make(GridOracle, 100, declare, tmp_path)
    for _ in range(3):
        trial = first.create_trial("tuner0")
        finish(first, trial, 1.0)
    first.create_trial("tuner0")  # it is killed while this one runs
    first.close()
    assert run(make(GridOracle, 100, declare, tmp_path), fake_score) == whole


@pytest.mark.parametrize("kind", ORACLES)
def test_a_search_that_is_killed_after_any_trial_ends_as_if_it_had_not_been(kind, tmp_path):
    whole = run(make(kind, 9))
    for _ in range(4):
        oracle = make(kind, 9, folder=tmp_path)
        for _ in range(2):
            finish(oracle, trial := oracle.create_trial("tuner0"), score(trial.hyperparameters.values))
        oracle.create_trial("tuner0")
        oracle.close()
    assert run(make(kind, 9, folder=tmp_path)) == whole


def test_a_truncated_state_is_reported_and_the_last_good_one_used(tmp_path, capsys):
    """keras-tuner 1.4.8 writes its JSON in place and cannot read half of it."""
    oracle = make(RandomOracle, 6, folder=tmp_path)
    for _ in range(3):
        finish(oracle, oracle.create_trial("tuner0"), 1.0)
    oracle.close()
    path = tmp_path / "search" / "search.json"
    path.write_bytes(path.read_bytes()[:100])
    again = make(RandomOracle, 6, folder=tmp_path)
    assert len(run(again)) == 6
    assert "search.json is damaged" in capsys.readouterr().out
    again.close()
    for file in ("search.json", "search.previous.json"):
        (tmp_path / "search" / file).write_text("{")
    with pytest.raises(InputError, match="to start afresh"):
        make(RandomOracle, 6, folder=tmp_path).create_trial("tuner0")


def test_a_space_that_changed_under_a_search_is_an_error_that_says_what_changed(tmp_path):
    def declare(high):
        return lambda hp: (hp.Float("rate", 0.1, high), hp.Int("n", 1, 3) if high < 1 else hp.Int("m", 1, 3))

    oracle = make(RandomOracle, 6, declare(0.5), tmp_path)
    finish(oracle, oracle.create_trial("tuner0"), 1.0)
    oracle.close()
    with pytest.raises(InputError) as error:
        make(RandomOracle, 6, declare(1.5), tmp_path).create_trial("tuner0")
    for part in ("gone: ", '"max_value": 0.5', "; new: ", '"max_value": 1.5', '"name": "m"', "to start afresh"):
        assert part in str(error.value)


def test_an_empty_space_is_an_error_and_a_space_of_fixed_values_is_one_trial():
    with pytest.raises(InputError, match="declares no hyperparameters"):
        make(BayesianOracle, 3, lambda _: None).create_trial("tuner0")
    assert run(make(BayesianOracle, 3, lambda hp: hp.Fixed("n", 4)), lambda _: 1.0) == [{"n": 4}]


@pytest.mark.parametrize(
    "objective", [lambda _: 0.25, lambda v: 1e30 if v["n"] > 50 else v["x"], lambda v: -1.7e308 * (v["x"] - 0.5)]
)
def test_constant_and_enormous_objectives_do_no_harm(objective):
    assert len(run(make(BayesianOracle, 14), objective)) == 14


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_trial_without_a_finite_objective_is_retried_then_recorded_as_failed(bad):
    oracle = make(BayesianOracle, 8, max_retries_per_trial=2)
    run_of_first = []

    def objective(values):
        if not run_of_first or values == run_of_first[0]:
            run_of_first.append(dict(values))
            return bad
        return score(values)

    run(oracle, objective)
    assert len(run_of_first) == 3
    failed = [trial for trial in oracle.trials.values() if trial.status == "FAILED"]
    assert [trial.message for trial in failed] == [f"its score was {bad}"]
    assert oracle.get_best_trials(1)[0].status == "COMPLETED"


def test_three_failures_in_a_row_end_the_search_with_their_reasons():
    oracle = make(RandomOracle, 20, max_retries_per_trial=0)
    for number in range(3):
        trial = oracle.create_trial("tuner0")
        trial.status, trial.message = "INVALID", f"Traceback\nMemoryError: {number}"
        oracle.end_trial(trial)
    assert oracle.create_trial("tuner0").status == "STOPPED"
    assert "trial 0002: MemoryError: 2" in str(oracle.failure)


def test_an_objective_that_is_not_logged_ends_the_search_and_names_what_is():
    oracle = make(RandomOracle, 5)
    trial = oracle.create_trial("tuner0")
    assert oracle.update_trial(trial.trial_id, {"val_auc": 0.7, "loss": 1.0}).status == "STOPPED"
    assert oracle.create_trial("tuner1").status == "STOPPED"
    assert isinstance(oracle.failure, InputError)
    assert "tuning.objective.name: score is not logged: name one of loss, val_auc" in str(oracle.failure)


def test_a_trial_that_ends_twice_is_counted_once_and_a_late_result_is_kept():
    now = [0.0]
    oracle = make(RandomOracle, 3, clock=lambda: now[0])
    late = oracle.create_trial("slow")
    now[0] = oracle.heartbeat_timeout + 1
    again = oracle.create_trial("quick")
    assert again.trial_id == late.trial_id
    finish(oracle, late, 1.0)
    finish(oracle, again, 5.0)
    assert (oracle.end_order, oracle.trials[late.trial_id].score) == ([late.trial_id], 1.0)


def test_a_worker_that_waits_while_the_last_trial_is_lost_is_told_to_ask_again():
    """Told that the search is over, it would leave the lost trial to nobody, and the chief waiting for ever."""
    oracle = make(RandomOracle, 1)
    lost = oracle.create_trial("doomed")

    def lose(_: float) -> None:
        oracle._requeue("doomed")

    oracle.changed.wait = lose
    assert oracle.create_trial("other").status == "IDLE"
    assert oracle.create_trial("other").trial_id == lost.trial_id


def test_running_trials_keep_the_others_from_their_places():
    oracle = make(BayesianOracle, 40, lambda hp: hp.Float("x", 0, 1))
    for _ in range(5):
        trial = oracle.create_trial("tuner0")
        finish(oracle, trial, (trial.hyperparameters.values["x"] - 0.3) ** 2)
    together = sorted(oracle.create_trial(f"worker-{n}").hyperparameters.values["x"] for n in range(4))
    assert min(np.diff(together)) > 1e-3


def test_the_process_learns_from_stopped_trials_and_avoids_failed_ones():
    """A stopped trial counts as what it would have reached, with a deviation; a failed one as the worst there is."""
    oracle = make(BayesianOracle, 9, halving=Halving(first=1, crowd=3), max_retries_per_trial=0)
    for curve in ([4.0, 2.0], [5.0, 2.0], [6.0], None):
        trial = oracle.create_trial("tuner0")
        for epoch, value in enumerate(curve or []):
            oracle.update_trial(trial.trial_id, {"score": value}, step=epoch)
        trial.status = "COMPLETED" if curve else "INVALID"
        oracle.end_trial(trial)
    assert "stopped" in oracle.notes["0002"]
    space = oracle.space()
    rows, outputs, deviations = oracle.observations(space)
    np.testing.assert_array_equal(
        rows, [space.locate(oracle.trials[t].hyperparameters.values) for t in oracle.start_order]
    )
    assert outputs.tolist() == [2.0, 2.0, 6.0 - 2.5, 6.0 - 2.5]
    assert deviations.tolist() == [0.0, 0.0, 0.5, 0.0]


def test_a_trial_that_kills_its_workers_counts_as_failed_in_the_end():
    now = [0.0]
    oracle = make(RandomOracle, 2, clock=lambda: now[0])
    oracle.max_losses = 2
    ran = []
    for number in range(4):
        ran.append(oracle.create_trial(f"worker-{number}").trial_id)
        now[0] += oracle.heartbeat_timeout + 1
    assert ran == ["0000", "0000", "0000", "0001"]
    assert oracle.trials["0000"].status == "FAILED"
    assert "3 processes died running it: it may need more memory" in oracle.trials["0000"].message


def test_a_trial_that_kills_a_search_alone_counts_as_failed_in_the_end(tmp_path):
    ran = []
    for _ in range(4):
        oracle = make(RandomOracle, 2, folder=tmp_path)
        oracle.max_losses = 2
        ran.append(oracle.create_trial("tuner0").trial_id)
        oracle.close()
    assert ran == ["0000", "0000", "0000", "0001"]
    assert oracle.trials["0000"].status == "FAILED"


@pytest.mark.parametrize("silent", [False, True])
def test_what_a_worker_reports_late_is_kept_while_nobody_else_has_its_trial(silent):
    """It was taken for dead after its first epoch, and its trial waits in the queue."""
    now = [0.0]
    oracle = make(RandomOracle, 3, clock=lambda: now[0])
    late = oracle.create_trial("slow")
    oracle.update_trial(late.trial_id, {"score": 3.0}, step=0)
    now[0] += oracle.heartbeat_timeout + 1
    assert not oracle.is_complete
    assert oracle._retry_queue == [late.trial_id]
    if silent:  # to the end: another one runs it, from the beginning
        assert oracle.create_trial("quick").trial_id == late.trial_id
        assert oracle.curve(oracle.trials[late.trial_id]) == []
        return
    oracle.update_trial(late.trial_id, {"score": 1.0}, step=1)
    late.status = "COMPLETED"
    oracle.end_trial(late)
    assert (oracle.trials[late.trial_id].status, oracle.trials[late.trial_id].score) == ("COMPLETED", 1.0)
    assert oracle.create_trial("quick").trial_id == "0001"


def test_a_space_that_is_used_up_stays_so_for_who_is_started_again(tmp_path):
    """A chief that is killed after its workers were told would wait for them."""
    oracle = make(RandomOracle, 20, lambda hp: hp.Choice("c", [1, 2, 3]), tmp_path)
    run(oracle, lambda values: values["c"])
    oracle.close()
    again = make(RandomOracle, 20, lambda hp: hp.Choice("c", [1, 2, 3]), tmp_path)
    assert not again.is_complete
    again.reload()
    assert again.is_complete


def test_hyperparameters_that_a_trial_finds_do_not_stop_a_search_from_being_continued(tmp_path):
    def objective(values):
        return values["x"]

    oracle = make(RandomOracle, 4, lambda hp: hp.Float("x", 0, 1), tmp_path)
    trial = oracle.create_trial("tuner0")
    trial.hyperparameters.Int("found", 1, 3)
    finish(oracle, trial, 1.0)
    oracle.close()
    assert [*oracle.hyperparameters.values] == ["x", "found"]
    assert len(run(make(RandomOracle, 4, lambda hp: hp.Float("x", 0, 1), tmp_path), objective)) == 4


def test_keras_tuner_s_own_tuner_runs_a_search(tmp_path):
    class Plain(keras_tuner.Tuner):
        def run_trial(self, trial, *_, **__):
            return trial.hyperparameters.Float("x", 0, 1)

    oracle = make(RandomOracle, 3, lambda hp: hp.Float("x", 0, 1))
    Plain(oracle, lambda hp: hp.Float("x", 0, 1), directory=str(tmp_path), project_name="search").search()
    assert [trial.status for trial in oracle.trials.values()] == ["COMPLETED"] * 3
    oracle.close()


@pytest.mark.parametrize("result", [lambda x: {"score": x, "other": 1}, lambda x: [x, x], np.float32, float])
def test_what_a_trial_returns_is_its_score(tmp_path, result):
    class Returning(Tuner):
        def run_trial(self, trial, *_, **__):
            return result(trial.hyperparameters.values["x"])

    oracle = make(RandomOracle, 3, lambda hp: hp.Float("x", 0, 1))
    Returning(oracle, directory=str(tmp_path), project_name="search").search()
    found = [(trial.score, trial.hyperparameters.values["x"]) for trial in oracle.trials.values()]
    assert all(score == pytest.approx(x) for score, x in found)
    oracle.close()


@pytest.mark.parametrize(
    ("declare", "count"),
    [
        (lambda hp: hp.Float("x", 1 / 3, 1.0, step=1 / 6), 5),
        (lambda hp: hp.Float("x", 1.7e9, 1.7e9 + 0.02001, step=0.001), 21),
        (lambda hp: hp.Float("x", 0.1, 0.7, step=0.1), 7),
        (lambda hp: hp.Float("x", 1e-7, 1e-1, step=10, sampling="log"), 7),
    ],
)
def test_steps_stay_within_their_bounds_and_apart_however_fine(declare, count):
    oracle = make(GridOracle, 50, declare)
    [entry] = oracle.hyperparameters.space
    values = [found["x"] for found in run(oracle, lambda v: v["x"])]
    assert len(set(values)) == count
    assert all(entry.min_value <= value <= entry.max_value for value in values)
    assert (0.3 in values) == (entry.min_value == 0.1)


def test_the_widest_int_stays_below_its_maximum():
    oracle = make(RandomOracle, 1, lambda hp: hp.Int("seed", 0, 2**63 - 1))
    [entry] = oracle.space().dimensions
    assert entry.value(1.0) == 2**63 - 1
    assert entry.value(0.0) == 0


def overheard(trial):
    """A trial as the chief gets it from a worker."""
    return Trial.from_proto(trial.to_proto())


@pytest.mark.parametrize("kind", ORACLES)
def test_what_trials_find_is_kept_and_never_makes_a_repeat_of_them(kind):
    oracle = make(kind, 12, lambda hp: hp.Float("a", 0.1, 0.3, step=0.1), tune_new_entries=False)
    while (trial := oracle.create_trial("worker-0")).status == "RUNNING":
        copy = overheard(trial)
        copy.hyperparameters.Int("found", 1, 4, default=3)
        finish(oracle, copy, copy.hyperparameters.values["a"])
    values = [trial.hyperparameters.values for trial in oracle.trials.values()]
    assert sorted(entry["a"] for entry in values) == [0.1, 0.2, 0.3]
    assert [entry["found"] for entry in values] == [3, 3, 3]


def test_a_trial_that_finds_what_is_not_allowed_ends_the_search_and_leaves_a_state_that_can_be_read(tmp_path):
    oracle = make(RandomOracle, 5, lambda hp: hp.Float("x", 0, 1), folder=tmp_path, allow_new_entries=False)
    finish(oracle, oracle.create_trial("tuner0"), 1.0)
    trial = oracle.create_trial("tuner0")
    trial.hyperparameters.Int("found", 1, 4)
    finish(oracle, trial, 0.5)
    assert oracle.create_trial("tuner0").status == "STOPPED"
    assert isinstance(oracle.failure, InputError)
    assert "found" in str(oracle.failure)
    oracle.close()
    again = make(RandomOracle, 5, lambda hp: hp.Float("x", 0, 1), folder=tmp_path, allow_new_entries=False)
    again.reload()
    assert [trial.trial_id for trial in again.get_best_trials(5)] == ["0000"]
    assert "found" in again.trials["0001"].message


def test_several_objectives_are_minimised_as_their_sum_and_a_missing_one_is_named():
    objectives = [keras_tuner.Objective("loss", "min"), keras_tuner.Objective("recall", "max")]
    oracle = make(RandomOracle, 3, objective=objectives)
    for loss, recall in ((1.0, 0.2), (0.9, 0.9), (0.5, 0.1)):
        trial = oracle.create_trial("tuner0")
        oracle.update_trial(trial.trial_id, {"loss": loss, "recall": recall})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert [trial.score for trial in oracle.get_best_trials(3)] == pytest.approx([0.0, 0.4, 0.8])
    oracle = make(RandomOracle, 3, objective=objectives)
    oracle.update_trial(oracle.create_trial("tuner0").trial_id, {"loss": 1.0})
    assert str(oracle.failure) == "tuning.objective.name: recall is not logged: name one of loss"


def test_guesses_beyond_all_bounds_do_not_end_a_search():
    oracle = make(
        BayesianOracle, 12, lambda hp: hp.Float("x", 0, 1), halving=Halving(first=1, crowd=2, last=4, hope=None)
    )
    while (trial := oracle.create_trial("tuner0")).status == "RUNNING":
        x = trial.hyperparameters.values["x"]
        for epoch, value in enumerate((1e200 * (1 + x), 3.0, 2.0, (x - 0.3) ** 2)):
            if oracle.update_trial(trial.trial_id, {"score": value}, step=epoch).status == "STOPPED":
                break
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert len(oracle.end_order) == 12
    assert sum("stopped" in note for note in oracle.notes.values()) > 2


def test_what_is_explored_decides_what_is_picked(monkeypatch):
    def picked(exploration):
        monkeypatch.setattr(acquisition, "exploration_after", lambda *_: exploration)
        oracle = make(BayesianOracle, 9, lambda hp: hp.Float("x", 0, 1))
        return run(oracle, lambda values: math.sin(9 * values["x"]))[4:]

    bold, timid = picked(1.0), picked(0.1)
    assert bold != timid
    assert picked(1.0) == bold


def test_where_nothing_better_is_found_every_second_trial_is_picked_from_objectives_as_they_are():
    oracle = make(BayesianOracle, 24, lambda hp: hp.Float("x", 0, 1))
    run(oracle, lambda values: math.floor(5 * abs(values["x"] - 0.4)) + 0.01 * math.sin(90 * values["x"]))
    scores = [trial.score for trial in oracle.trials.values()]
    idle = [number - 1 - int(np.argmin(scores[:number])) for number in range(4, 24)]
    plain = [oracle.notes[f"{number:04d}"]["why"].endswith(", from objectives as they are") for number in range(4, 24)]
    assert plain == [trials % 2 == 1 for trials in idle]
    assert 3 < sum(plain) < 17


def picked_as_they_are(oracle):
    """For each trial that a process picked, whether it was the one with the objectives as they are."""
    notes = [note["why"] for note in oracle.notes.values() if note["why"].startswith("expected")]
    return ["from objectives as they are" in why for why in notes]


@pytest.mark.parametrize("failed", [{0}, {1}, {0, 2}])
def test_where_each_trial_is_better_all_are_picked_from_warped_objectives_though_earlier_ones_failed(failed):
    oracle = make(BayesianOracle, 12, lambda hp: hp.Float("x", 0, 1), max_retries_per_trial=0)
    run(oracle, lambda _: math.inf if len(oracle.trials) - 1 in failed else 100.0 - len(oracle.trials))
    assert {number for number, trial in enumerate(oracle.trials.values()) if trial.status == "FAILED"} == failed
    assert picked_as_they_are(oracle) == [False] * 8


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_of_workers_whose_trials_end_together_every_second_one_asks_the_other_process(workers):
    oracle = make(BayesianOracle, 5 + 4 * workers, lambda hp: hp.Float("x", 0, 1))
    oracle.initial_trials = 5
    for _ in range(5):
        finish(oracle, oracle.create_trial("worker-0"), float(len(oracle.trials)))
    for _ in range(4):
        for trial in [oracle.create_trial(f"worker-{number}") for number in range(workers)]:
            finish(oracle, trial, 9.0)
    picked = picked_as_they_are(oracle)
    rounds = [picked[begin : begin + workers] for begin in range(workers, 4 * workers, workers)]
    assert all(before != after for each in rounds for before, after in itertools.pairwise(each))


def test_of_many_workers_none_asks_the_other_process_before_all_have_ended_a_trial_in_vain():
    oracle = make(BayesianOracle, 30, lambda hp: hp.Float("x", 0, 1))
    oracle.initial_trials = 5
    for _ in range(5):
        finish(oracle, oracle.create_trial("worker-0"), 9.0 - len(oracle.trials))
    running = [oracle.create_trial(f"worker-{number}") for number in range(4)]
    for number in (0, 1, 2, 3) * 2:
        finish(oracle, running[number], 9.0)
        running[number] = oracle.create_trial(f"worker-{number}")
    picked = picked_as_they_are(oracle)
    assert not any(picked[: 4 + 3])
    assert any(picked[4 + 3 :])


def test_a_search_of_one_trial_is_one_trial():
    assert len(run(make(BayesianOracle, 1))) == 1


def test_more_is_better_where_the_objective_says_so():
    oracle = make(BayesianOracle, 12, lambda hp: hp.Float("x", 0, 1), direction="max")
    run(oracle, lambda values: -((values["x"] - 0.7) ** 2))
    assert oracle.get_best_trials(1)[0].hyperparameters.values["x"] == pytest.approx(0.7, abs=0.02)
    pattern = "expected score (.+) ± (.+), expected improvement (.+) σ, exploration ([^,]+)(, from .+)?"
    reasons = [re.fullmatch(pattern, oracle.notes[f"{number:04d}"]["why"]) for number in range(6, 12)]
    assert float(reasons[0][1]) == pytest.approx(0.0, abs=0.01)
    assert min(float(why[4]) for why in reasons) == 0.3  # a parabola is soon known


def test_poor_trials_are_stopped_and_never_taken_for_the_best():
    oracle = make(RandomOracle, 8, halving=Halving(first=1, crowd=2))
    for level in (1.0, 2.0, 0.5):
        trial = oracle.create_trial("tuner0")
        for epoch in range(4):
            value = level / (epoch + 1) if level < 2 else 0.0001 if epoch == 3 else level
            if oracle.update_trial(trial.trial_id, {"score": value}, step=epoch).status == "STOPPED":
                break
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert {t: note["stopped"] for t, note in oracle.notes.items() if "stopped" in note} == {"0001": 1}
    assert [trial.trial_id for trial in oracle.get_best_trials(3)] == ["0002", "0000", "0001"]


@pytest.mark.slow
def test_the_gaussian_process_beats_random_points_on_a_smooth_function():
    def regret(kind, seed):
        oracle = make(kind, 30, seed=seed)
        return min(score(values) for values in run(oracle))

    assert (
        np.median([regret(BayesianOracle, s) for s in range(3)])
        < np.median([regret(RandomOracle, s) for s in range(3)]) / 5
    )


def bowl(values):
    return (values["x"] - 0.3) ** 2 + (values["y"] - 0.6) ** 2


def square(hp):
    hp.Float("x", 0, 1)
    hp.Float("y", 0, 1)


def test_a_search_begins_with_the_best_of_an_earlier_one_and_the_rest_follows_from_the_seed():
    earlier = [({"x": 0.3, "y": 0.7}, 0.01), ({"x": 0.2, "y": 0.6}, 0.02), ({"x": 0.9, "y": 0.1}, 0.6)]

    def search(known):
        oracle = make(BayesianOracle, 9, square, seed=3)
        oracle.known = known
        return run(oracle, bowl), oracle

    values, oracle = search(earlier)
    assert values[:2] == [earlier[0][0], earlier[1][0]]
    assert oracle.notes["0000"]["why"] == oracle.notes["0001"]["why"] == "one of the best of the search before"
    assert search(earlier)[0] == values
    cold = search(())[0]
    assert cold[0] not in values[:2]
    assert min(map(bowl, values[:5])) < min(map(bowl, cold[:5]))


@pytest.mark.parametrize(
    "unusable",
    [{"x": 1.5, "y": 0.5}, {"x": "wide", "y": 0.5}, {"x": None, "y": 0.5}, {"x": -0.1, "y": 0.2}],
)
def test_what_an_earlier_search_found_outside_of_the_space_is_left_out(unusable):
    inside = [({"x": 0.25, "gone": "a"}, 0.3), ({"x": 0.75, "y": 0.5}, 0.4)]
    oracle = make(BayesianOracle, 7, square)
    oracle.known = [(unusable, 0.1), *inside]
    values = run(oracle, bowl)
    assert values[:2] == [{"x": 0.25, "y": 0.0}, {"x": 0.75, "y": 0.5}]
    alone, cold = make(BayesianOracle, 7, square), make(BayesianOracle, 7, square)
    alone.known = [(unusable, 0.1)]
    assert run(alone, bowl) == run(cold, bowl)


def stairs(values):
    return round(6 * abs(values["x"] - 0.23)) + round(6 * abs(values["y"] - 0.81))


@pytest.mark.parametrize("seed", range(3))
def test_a_search_finds_its_way_off_plateaus(seed):
    found = list(map(stairs, run(make(BayesianOracle, 30, square, seed=seed), stairs)))
    assert min(found) == 0
