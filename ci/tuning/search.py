"""The tune stage: a search over the space that `model.network.build` declares, alone or with many workers."""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from ci import task, workspace
from ci.errors import InputError, StageError
from ci.settings import Settings
from ci.training.fit import encode, fit, make_deterministic, read_part
from ci.tuning import distributed

STATE = workspace.STATE / "tuning"


def tune(settings: Settings) -> dict[str, Any] | None:
    """Search, or continue an interrupted search, and return the best trial; a worker returns None.

    Writes `build/tuning/`: best.json, trials.json, trials.csv, importance.json and pictures. A process with
    keras-tuner's environment variables is the chief or a worker of a search that somebody else has started; without
    them this process searches alone, or starts a chief and `tuning.workers` workers on this machine.

    Raises:
        InputError: the network declares no hyperparameters, or does not log the objective.
        StageError: too many trials failed, or none ended with a finite objective.
    """
    if settings.tuning.workers > 1 and "KERASTUNER_TUNER_ID" not in os.environ:
        distributed.run([sys.executable, "-m", "scripts.tune"], settings.tuning.workers, os.environ)
        best: dict[str, Any] = workspace.read_json(workspace.TUNING / "best.json")
        return best
    oracle = _search(settings)
    return None if oracle is None else _results(oracle)


def _search(settings: Settings) -> Any:
    """Run this process's part of the search; return the oracle, None in a worker."""
    import keras
    import keras_tuner

    from ci.tuning import report
    from ci.tuning.tuner import Tuner

    wanted = task.load()
    make_deterministic(settings.seed, settings.training.threads)
    table = read_part("train")
    encoder = task.part("model.features", "encoder")(table)
    build = task.part("model.network", "build")
    space = keras_tuner.HyperParameters()
    build(space, encoder)
    if not space.space:
        raise InputError("model/network.py: build declares no hyperparameters: call hp.Int, hp.Float, … in it")

    class Search(Tuner):
        """Fits the task's network as the final training does."""

        train, validation = None, None

        def run_trial(self, trial: Any, **_: Any) -> None:
            if self.train is None:  # a chief never needs them
                self.train = encode(encoder, table, wanted)
                self.validation = encode(encoder, read_part("validation"), wanted)
            keras.backend.clear_session()
            keras.utils.set_random_seed(settings.seed)
            network = build(trial.hyperparameters, encoder)
            fit(
                network, self.train, self.validation, settings, settings.tuning.epochs, callbacks=[self.reporter(trial)]
            )

    oracle = _oracle(settings, space)
    report.progress(oracle, lambda line: print(f"  {line}", flush=True))
    search = Search(
        oracle,
        lambda hyperparameters: build(hyperparameters, encoder),
        directory=str(STATE),
        project_name=_fingerprint(settings, space),
    )
    search.search(verbose=0)
    return oracle if search.oracle is oracle else None


def _results(oracle: Any) -> dict[str, Any]:
    """Write `build/tuning/` and return the best trial."""
    from ci.tuning import report

    if isinstance(oracle.failure, InputError):
        raise oracle.failure
    if oracle.failure is not None:
        raise StageError(f"the search ended early: {oracle.failure}")
    if not oracle.get_best_trials(1):
        raise StageError("no trial ended with a finite objective; the reasons are above")
    if len(oracle.trials) < oracle.max_trials:
        print(f"  all {len(oracle.trials)} combinations of the search space have been tried")
    with workspace.replacing(workspace.TUNING) as folder:
        report.write(folder, oracle)
    best: dict[str, Any] = workspace.read_json(workspace.TUNING / "best.json")
    return best


def _oracle(settings: Settings, space: Any) -> Any:
    import keras_tuner

    from ci.tuning import oracle
    from ci.tuning.halving import Halving

    kind = {"bayesian": oracle.BayesianOracle, "random": oracle.RandomOracle, "grid": oracle.GridOracle}
    return kind[settings.tuning.strategy](
        objective=keras_tuner.Objective(settings.tuning.objective.name, settings.tuning.objective.direction),
        max_trials=settings.tuning.max_trials,
        hyperparameters=space,
        seed=settings.seed,
        max_retries_per_trial=settings.tuning.retries,
        halving=Halving(last=settings.tuning.epochs) if settings.tuning.stop_poor_trials else None,
    )


def _fingerprint(settings: Settings, space: Any) -> str:
    """Return what changes whenever trials of an earlier search no longer count: space, data, code or settings."""
    digest = hashlib.sha256(json.dumps(space.get_config(), sort_keys=True).encode())
    tuning = settings.tuning.model_dump(mode="json", exclude={"workers"})
    fitting = {"seed": settings.seed, "batch": settings.training.batch_size, "threads": settings.training.threads}
    digest.update(json.dumps([tuning, fitting], sort_keys=True).encode())
    files = [workspace.DATA / "train.parquet", workspace.DATA / "validation.parquet"]
    for package in ("model", "ci/tuning", "ci/training"):
        files += sorted(Path(package).glob("*.py"))
    for path in files:
        digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()[:16]
