"""The tune stage: keras-tuner's search over the space that `model.network.build` declares."""

from typing import Any

from ci import task, workspace
from ci.errors import InputError, StageError
from ci.settings import Settings
from ci.training.fit import encode, fit, make_deterministic, read_part


def tune(settings: Settings) -> dict[str, Any]:
    """Write `build/tuning/` (best.json, trials.json) and return the best trial.

    Raises:
        InputError: the network declares no hyperparameters.
        StageError: no trial ended with a finite objective.
    """
    import keras
    import keras_tuner

    wanted = task.load()
    make_deterministic(settings.seed, settings.training.threads)
    table = read_part("train")
    encoder = task.part("model.features", "encoder")(table)
    build = task.part("model.network", "build")
    train, validation = encode(encoder, table, wanted), encode(encoder, read_part("validation"), wanted)

    class Search(keras_tuner.Tuner):  # type: ignore[misc]
        """Runs one trial after another; nothing is saved but its result."""

        def run_trial(self, trial: Any, **_: Any) -> dict[str, float]:
            keras.utils.set_random_seed(settings.seed)
            network = build(trial.hyperparameters, encoder)
            history = fit(network, train, validation, settings, settings.tuning.epochs).history
            pick = min if settings.tuning.objective.direction == "min" else max
            value = float(pick(history[settings.tuning.objective.name]))
            print(f"  trial {int(trial.trial_id) + 1:>2}/{settings.tuning.max_trials}  {value:.5f}", flush=True)
            return {settings.tuning.objective.name: value}

    search = Search(
        _oracle(settings),
        lambda hyperparameters: build(hyperparameters, encoder),
        directory=str(workspace.STATE),
        project_name="keras-tuner",
        overwrite=True,
    )
    if not search.oracle.get_space().space:
        raise InputError("model/network.py: build declares no hyperparameters: call hp.Int, hp.Float, … in it")
    search.search(verbose=0)
    trials = [_trial(trial) for trial in search.oracle.get_best_trials(settings.tuning.max_trials)]
    if not trials:
        raise StageError("no trial ended with a finite objective; the reasons are above")
    with workspace.replacing(workspace.TUNING) as folder:
        workspace.write_json(folder / "best.json", trials[0])
        workspace.write_json(folder / "trials.json", sorted(trials, key=lambda trial: int(trial["trial"])))
    return trials[0]


def _oracle(settings: Settings) -> Any:
    import keras_tuner
    from keras_tuner import oracles

    kind = {
        "bayesian": oracles.BayesianOptimizationOracle,
        "random": oracles.RandomSearchOracle,
        "grid": oracles.GridSearchOracle,
    }[settings.tuning.strategy]
    objective = keras_tuner.Objective(settings.tuning.objective.name, settings.tuning.objective.direction)
    return kind(objective=objective, max_trials=settings.tuning.max_trials, seed=settings.seed)


def _trial(trial: Any) -> dict[str, Any]:
    return {
        "trial": trial.trial_id,
        "hyperparameters": dict(trial.hyperparameters.values),
        "objective": round(float(trial.score), 7),
    }
