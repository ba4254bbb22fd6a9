"""The searches that the tuning benchmark compares: ours, keras-tuner's and Optuna's, on one search space."""

from collections.abc import Callable
from typing import Any

from benchmarks.problems import Problem


def keras_tuner_bayesian(problem: Problem, seed: int) -> list[float]:
    """Search with keras-tuner's `BayesianOptimizationOracle`."""
    import keras_tuner.oracles as oracles

    return _with_oracle(oracles.BayesianOptimizationOracle, problem, seed)


def keras_tuner_random(problem: Problem, seed: int) -> list[float]:
    """Search with keras-tuner's `RandomSearchOracle`."""
    import keras_tuner.oracles as oracles

    return _with_oracle(oracles.RandomSearchOracle, problem, seed)


def ours(problem: Problem, seed: int) -> list[float]:
    """Search with this repository's Bayesian oracle."""
    from ci.tuning.oracle import BayesianOracle

    return _with_oracle(BayesianOracle, problem, seed)


def optuna_tpe(problem: Problem, seed: int) -> list[float]:
    """Search with Optuna's tree-structured Parzen estimator."""
    import optuna

    return _with_optuna(optuna.samplers.TPESampler(seed=seed), problem)


def optuna_gp(problem: Problem, seed: int) -> list[float]:
    """Search with Optuna's Gaussian process."""
    import optuna

    return _with_optuna(optuna.samplers.GPSampler(seed=seed), problem)


SEARCHES: dict[str, Callable[[Problem, int], list[float]]] = {
    "ours": ours,
    "keras-tuner Bayesian": keras_tuner_bayesian,
    "keras-tuner random": keras_tuner_random,
    "Optuna TPE": optuna_tpe,
    "Optuna GP": optuna_gp,
}


def _with_oracle(oracle_class: Any, problem: Problem, seed: int) -> list[float]:
    """Return the value of every trial, in order, of a search by one worker."""
    import tempfile

    import keras_tuner

    space = keras_tuner.HyperParameters()
    problem.declare(space)
    with tempfile.TemporaryDirectory() as folder:
        oracle = oracle_class(
            objective=keras_tuner.Objective("score", "min"),
            max_trials=problem.trials,
            hyperparameters=space,
            seed=seed + 1,  # keras-tuner takes a seed of 0 for none
        )
        oracle.verbose = 0
        oracle._set_project_dir(folder, "benchmark")
        results: list[float] = []
        while (trial := oracle.create_trial("worker")).status == "RUNNING":
            # An oracle may name a value outside the space; the problem sees the nearest inside.
            results.append(problem.evaluate(trial.hyperparameters.values))
            oracle.update_trial(trial.trial_id, {"score": results[-1]})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
        return results


def _with_optuna(sampler: Any, problem: Problem) -> list[float]:
    import keras_tuner
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = keras_tuner.HyperParameters()
    problem.declare(space)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: problem.evaluate(_suggest(trial, space)), n_trials=problem.trials)
    return [trial.value for trial in study.trials]


def _suggest(trial: Any, space: Any) -> dict[str, Any]:
    """Ask Optuna for a value of every hyperparameter of a keras-tuner space without conditions."""
    values: dict[str, Any] = {}
    for hp in space.space:
        kind = type(hp).__name__
        log = getattr(hp, "sampling", None) == "log"
        if kind == "Float":
            values[hp.name] = trial.suggest_float(hp.name, hp.min_value, hp.max_value, log=log)
        elif kind == "Int" and log and hp.step:
            count = round(_log_steps(hp))
            values[hp.name] = hp.min_value * hp.step ** trial.suggest_int(hp.name, 0, count)
        elif kind == "Int":
            values[hp.name] = trial.suggest_int(hp.name, hp.min_value, hp.max_value, log=log)
        else:
            values[hp.name] = trial.suggest_categorical(hp.name, list(hp.values))
    return values


def _log_steps(hp: Any) -> float:
    import math

    return math.log(hp.max_value / hp.min_value, hp.step)
