"""The tune stage: a search over the space that `model.network.build` declares, alone or with many workers."""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from ci import stages, task, workspace
from ci.errors import InputError, StageError
from ci.results.build import SOURCE
from ci.results.training import BEST, PRIOR, Best
from ci.settings import Settings
from ci.training.fit import build, encode, fit, make_variables
from ci.training.inputs import made_encoder, make_deterministic, prepared

STATE = workspace.STATE / "tuning"
SHARED = "TUNING_STATE"
"""Variable with a folder for the state of searches that outlives this pod, so that another one continues them."""
VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
CHIEF = "TUNING_CHIEF"
"""Variable with the address (IP:PORT) where workers on other machines reach the chief that is started here."""


def tune(settings: Settings) -> Best | None:
    """Search, or continue an interrupted search, and return the best trial; a worker returns None.

    Writes `build/tuning/`: see `ci.tuning.report.write`. A process with keras-tuner's environment variables is the
    chief or a worker of a search that somebody else has started; without them this process searches alone, or starts
    a chief and `tuning.workers` workers on this machine. With TUNING_CHIEF it starts the chief at that address and one
    worker: the others are on other machines.

    Raises:
        InputError: the network declares no hyperparameters, or does not log the objective; keras-tuner's environment
            variables are incomplete.
        StageError: too many trials failed, or none ended with a finite objective.
    """
    from ci.tuning import processes, report

    missing = [name for name in VARIABLES if name not in os.environ]
    if 0 < len(missing) < len(VARIABLES):
        raise InputError(f"{', '.join(missing)}: not set, though others of {', '.join(VARIABLES)} are: set all or none")
    if settings.tuning.workers > 1 and "KERASTUNER_TUNER_ID" not in os.environ:
        command, address = [sys.executable, "-m", "scripts.tune"], os.environ.get(CHIEF)
        # Where others bring workers of their own, this machine has the first one.
        processes.run(command, 1 if address else settings.tuning.workers, os.environ, address)
    else:
        oracle = _search(settings)
        if oracle is None:
            return None
        if oracle.failure:
            raise oracle.failure
        if not oracle.get_best_trials(1):
            raise StageError("no trial ended with a finite objective; the reasons are above")
        if len(oracle.trials) < oracle.max_trials:
            tried = f"{len(oracle.trials)} of {oracle.max_trials} trials"
            print(f"  every combination of the search space has been tried: {tried}")
        with workspace.replacing(workspace.TUNING) as folder:
            report.write(folder, oracle)
    return BEST.read()


def _search(settings: Settings) -> Any:
    """Run this process's part of the search; return the oracle, None in a worker."""
    import keras
    import keras_tuner
    from keras_tuner.src.engine.tuner_utils import TunerCallback

    from ci.tuning import contract
    from ci.tuning import oracle as oracles
    from ci.tuning.bayes.halving import Halving
    from ci.tuning.distributed import Tuner

    train = prepared("train")
    make_deterministic(settings.seed, settings.training.threads)
    encoder = made_encoder(train)
    wanted = task.load()
    encoded: dict[str, Any] = {}

    class Search(Tuner):
        """Fits the task's network as the final training does."""

        def run_trial(self, trial: Any, **_: Any) -> None:
            if not encoded:  # a chief never needs them
                encoded["train"] = encode(encoder, train, wanted)
                encoded["validation"] = encode(encoder, prepared("validation"), wanted)
            keras.backend.clear_session()
            keras.utils.set_random_seed(settings.seed)
            network = build(trial.hyperparameters, encoder, settings)
            make_variables(network)
            callbacks = [TunerCallback(self, trial)]
            fit(network, **encoded, settings=settings, epochs=settings.tuning.epochs, callbacks=callbacks)

    prior = PRIOR.read() if settings.tuning.warm_start else None
    strategies = {"bayesian": oracles.BayesianOracle, "random": oracles.RandomOracle, "grid": oracles.GridOracle}
    oracle = strategies[settings.tuning.strategy](
        objective=keras_tuner.Objective(settings.tuning.objective.name, settings.tuning.objective.direction),
        max_trials=settings.tuning.max_trials,
        seed=settings.seed,
        max_retries_per_trial=settings.tuning.retries,
        halving=Halving(last=settings.tuning.epochs) if settings.tuning.stop_poor_trials else None,
    )
    if prior and isinstance(oracle, oracles.BayesianOracle):
        oracle.known = [(trial.hyperparameters, oracle.sign * trial.objective) for trial in prior.trials]
    if "chief" in os.environ.get("KERASTUNER_TUNER_ID", "chief"):
        contract.check(settings, wanted, next(iter(train)), encoder)
    search = Search(oracle, lambda space: build(space, encoder, settings), directory=str(STATE))
    oracle.space()  # a chief that met an empty one while it serves would leave its workers waiting
    name = _fingerprint(settings, oracle.hyperparameters)
    folder = _folder(name) if search.oracle is oracle else STATE
    if search.oracle is oracle and folder == STATE and not (STATE / name).exists():
        _tell_of_others(settings, oracle.hyperparameters)
    oracle._set_project_dir(str(folder), name)
    search.search()
    return oracle if search.oracle is oracle else None


def _folder(name: str) -> Path:
    """Return where the state of the search of this name is kept: where others continue it, unless one just does.

    A pod that is gone may hold its lock for as long as it takes to end.
    """
    from ci.tuning import state

    shared = os.environ.get(SHARED)
    if not shared:
        return STATE
    if state.taken(Path(shared) / name, wait=30.0):
        print(f"  the same search is under way in {shared}: this one begins on its own", flush=True)
        return STATE
    return Path(shared)


def _tell_of_others(settings: Settings, space: Any) -> None:
    """Print why an unfinished previous search is not continued, if there is one."""
    from ci.tuning import state

    folder = max((path.parent for path in STATE.glob(f"*/{state.FILE}")), key=os.path.getmtime, default=None)
    found = state.peek(folder) if folder else None
    if found and len(found["end_order"]) < settings.tuning.max_trials and not found["used_up"]:
        changes = state.difference(found["declared"], space.get_config())
        why = f"the search space has changed ({changes})" if changes else "data, code or settings have changed"
        print(f"  a new search begins: {why} since {len(found['end_order'])} trials in {folder}", flush=True)


def _fingerprint(settings: Settings, space: Any) -> str:
    """Return a digest of space, data, code and settings: if it changes, earlier trials no longer count."""
    tuning = settings.tuning.model_dump(mode="json", exclude={"workers"})
    fitting = [settings.seed, settings.training.batch_size, settings.training.threads]
    digest = hashlib.sha256(json.dumps([space.get_config(), tuning, fitting], sort_keys=True).encode())
    if settings.tuning.warm_start:
        digest.update(stages.require(workspace.PRIOR).read_bytes())
    if settings.weights is not None:
        digest.update(str(SOURCE.read().weights).encode())
    code = [
        path for room in ("model", "ci/task", "ci/training", "ci/tuning") for path in sorted(Path(room).rglob("*.py"))
    ]
    for path in [workspace.DATA / "train.parquet", workspace.DATA / "validation.parquet", *code]:
        digest.update(str(path).encode())
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()[:16]
