"""The searches that the tuning benchmark compares, on one search space: ours, keras-tuner's and Optuna's."""

import heapq
import math
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict
from unittest import mock

from benchmarks import warm
from benchmarks.problems import Problem, Values


class Run(TypedDict):
    """One search, trial by trial in the order of their end."""

    values: list[float]
    """What each trial would give at its end."""
    epochs: list[int]
    """Epochs that were run of each trial."""
    stopped: list[bool]
    """Whether it was stopped before its end."""


def with_oracle(
    kind: str,
    problem: Problem,
    seed: int,
    workers: int = 1,
    known: Sequence[tuple[Values, float]] = (),
    **options: Any,
) -> Run:
    """Search with an oracle of `ci.tuning` or of keras-tuner, as so many workers of uneven speed would.

    Args:
        kind: name of the class.
        problem: what is minimised.
        seed: of the oracle, and of the workers' speed.
        workers: how many trials run at a time.
        known: trials of an earlier search with their objectives, the best first.
        options: of the oracle.
    """
    import keras_tuner

    from ci.tuning import oracle as ours

    space = keras_tuner.HyperParameters()
    problem.declare(space)
    run = Run(values=[], epochs=[], stopped=[])
    with tempfile.TemporaryDirectory() as folder:
        oracle = getattr(keras_tuner.oracles if kind.startswith("keras") else ours, kind.removeprefix("keras "))(
            objective=keras_tuner.Objective("score", "min"),
            max_trials=problem.trials,
            hyperparameters=space,
            # keras-tuner takes a seed of 0 for none, and draws trial n with its seed + n: near seeds share trials.
            seed=1 + seed * (1000 if kind.startswith("keras") else 1),
            **options,
        )
        oracle.verbose, oracle.known = 0, known
        oracle._set_project_dir(folder, "benchmark")

        def begin(worker: int) -> Any:
            trial = oracle.create_trial(f"worker-{worker}")
            return trial if trial.status == "RUNNING" else None

        def end(trial: Any) -> None:
            _end(oracle, trial, problem.curve(trial.hyperparameters.values), run)

        _work(workers, seed, begin, end)
    return run


def _work(workers: int, seed: int, begin: Callable[[int], Any], end: Callable[[Any], None]) -> None:
    """Let workers of uneven speed begin trials and end them, until none begins; the seed is of their speed."""
    speed = random.Random(seed)
    running: list[tuple[float, int, Any]] = [(0.0, worker, None) for worker in range(workers)]
    while running:
        now, worker, trial = heapq.heappop(running)
        if trial is not None:
            end(trial)
        trial = begin(worker)
        if trial is not None:
            heapq.heappush(running, (now + speed.uniform(0.5, 1.5), worker, trial))


def _end(oracle: Any, trial: Any, curve: list[float], run: Run) -> None:
    for epoch, value in enumerate(curve):
        if oracle.update_trial(trial.trial_id, {"score": value}, step=epoch).status == "STOPPED":
            break
    run["values"].append(min(curve))
    run["epochs"].append(epoch + 1)
    run["stopped"].append(epoch + 1 < len(curve))
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


def with_optuna(kind: str, problem: Problem, seed: int, workers: int = 1) -> Run:
    """Search with a sampler of Optuna, named without its ending; the rest as `with_oracle` has it."""
    import keras_tuner
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = keras_tuner.HyperParameters()
    problem.declare(space)
    study = optuna.create_study(sampler=getattr(optuna.samplers, f"{kind}Sampler")(seed=seed))
    values: list[float] = []
    left = iter(range(problem.trials))

    def begin(_: int) -> Any:
        if next(left, None) is None:
            return None
        trial = study.ask()
        return trial, _suggest(trial, space)

    def end(begun: Any) -> None:
        trial, picked = begun
        values.append(min(problem.curve(picked)))
        study.tell(trial, values[-1])

    _work(workers, seed, begin, end)
    epochs = len(problem.curve(_suggest(optuna.trial.FixedTrial(study.best_params), space)))
    return Run(values=values, epochs=[epochs] * len(values), stopped=[False] * len(values))


def with_smac(problem: Problem, seed: int) -> Run:
    """Search with SMAC3's facade for hyperparameters: a random forest, on a space of numbers without conditions."""
    import keras_tuner
    from ConfigSpace import ConfigurationSpace, Float, Integer
    from smac import HyperparameterOptimizationFacade, Scenario
    from smac.runhistory.dataclasses import TrialValue

    space, listed = keras_tuner.HyperParameters(), ConfigurationSpace(seed=seed)
    problem.declare(space)
    for hp in space.space:
        listed.add((Integer if type(hp).__name__ == "Int" else Float)(hp.name, (hp.min_value, hp.max_value)))
    run = Run(values=[], epochs=[], stopped=[])
    with tempfile.TemporaryDirectory() as folder:
        options = {"output_directory": Path(folder), "n_trials": problem.trials, "seed": seed}
        scenario = Scenario(listed, deterministic=True, **options)

        def never(_: Any, seed: int) -> float:  # it is asked and told, and calls nothing
            raise NotImplementedError(seed)

        facade = HyperparameterOptimizationFacade(scenario, never, logging_level=40)
        for _ in range(problem.trials):
            asked = facade.ask()
            curve = problem.curve(dict(asked.config))
            facade.tell(asked, TrialValue(cost=min(curve), time=1.0))
            run["values"].append(min(curve))
            run["epochs"].append(len(curve))
            run["stopped"].append(False)
    return run


def _suggest(trial: Any, space: Any) -> Values:
    """Ask Optuna for a value of every active hyperparameter of a keras-tuner space, in its order."""
    values: Values = {}
    for hp in space.space:
        kind = type(hp).__name__
        if not all(condition.is_active(values) for condition in hp.conditions):
            continue
        log = getattr(hp, "sampling", None) == "log"
        if kind == "Float":
            values[hp.name] = trial.suggest_float(hp.name, hp.min_value, hp.max_value, step=hp.step, log=log)
        elif kind == "Int" and log and hp.step:
            count = round(math.log(hp.max_value / hp.min_value, hp.step))
            values[hp.name] = hp.min_value * hp.step ** trial.suggest_int(hp.name, 0, count)
        elif kind == "Int":
            values[hp.name] = trial.suggest_int(hp.name, hp.min_value, hp.max_value, step=hp.step or 1, log=log)
        else:
            values[hp.name] = trial.suggest_categorical(hp.name, list(hp.values))
    return values


def _stopping(kind: str, **options: Any) -> Callable[[Problem, int], Run]:
    def search(problem: Problem, seed: int) -> Run:
        from ci.tuning.bayes.halving import Halving

        return with_oracle(kind, problem, seed, halving=Halving(last=problem.epochs, **options))

    return search


def _plain(problem: Problem, seed: int) -> Run:
    """Search by plain expected improvement: the measure for the exploration of `ci.tuning.bayes.acquisition`."""
    with mock.patch("ci.tuning.bayes.acquisition.exploration_after", return_value=1.0):
        return with_oracle("BayesianOracle", problem, seed)


def _warm(problem: Problem, seed: int) -> Run:
    """Search from where an earlier search ended, of the same function at another place: see `benchmarks.warm`."""
    earlier = warm.Earlier(problem)
    found: list[tuple[Values, float]] = []

    def curve(values: Values) -> list[float]:
        losses = earlier.curve(values)
        found.append((dict(values), losses[-1]))
        return losses

    with_oracle("BayesianOracle", replace(problem, curve=curve, trials=warm.TRIALS), seed + 100)
    known = sorted(found, key=lambda trial: trial[1])[: warm.KNOWN]
    return with_oracle("BayesianOracle", problem, seed, known=known)


SEARCHES: dict[str, Callable[[Problem, int], Run]] = {
    "ours": lambda problem, seed: with_oracle("BayesianOracle", problem, seed),
    "ours, 8 workers": lambda problem, seed: with_oracle("BayesianOracle", problem, seed, workers=8),
    "ours, plain": _plain,
    "ours, warm start": _warm,
    "ours, stopping": _stopping("BayesianOracle"),
    "ours, random, stopping": _stopping("RandomOracle", hope=None),
    "Optuna GP, 8 workers": lambda problem, seed: with_optuna("GP", problem, seed, workers=8),
    "Optuna GP": lambda problem, seed: with_optuna("GP", problem, seed),
    "CMA-ES": lambda problem, seed: with_optuna("CmaEs", problem, seed),
    "SMAC3": lambda problem, seed: with_smac(problem, seed),
    "Optuna TPE": lambda problem, seed: with_optuna("TPE", problem, seed),
    "keras-tuner random": lambda problem, seed: with_oracle("keras RandomSearchOracle", problem, seed),
    "keras-tuner Bayesian": lambda problem, seed: with_oracle("keras BayesianOptimizationOracle", problem, seed),
}
