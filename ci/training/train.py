"""The train stage: one network with the best hyperparameters, kept at its best epoch."""

import math
from pathlib import Path
from typing import Any

from ci import task, workspace
from ci.errors import InputError, StageError
from ci.results.data import SUMMARY
from ci.results.training import BEST, SIGNATURE, TRAINING
from ci.saved_model import signature
from ci.settings import Settings
from ci.training import export
from ci.training.fit import build, encode, fit
from ci.training.inputs import made_encoder, make_deterministic, prepared


def train(settings: Settings) -> dict[str, Any]:
    """Write `build/model/` and return its summary.

    Raises:
        InputError: best.json is not what tuning writes, or the network does not log the objective.
        StageError: the loss became NaN or infinite.
    """
    import keras
    import keras_tuner

    wanted = task.load()
    chosen = BEST.read().hyperparameters
    rows = prepared("train")
    make_deterministic(settings.seed, settings.training.threads)
    encoder = made_encoder(rows)
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.values = dict(chosen)
    with task.told("build fails"):
        network = build(hyperparameters, encoder, settings)
    export.require(network, wanted)
    if lacking := hyperparameters.values.keys() - chosen.keys():
        raise InputError(
            f"{BEST.path}: hyperparameters.{min(lacking)} is missing, which model/network.py "
            "declares: run `python -m scripts.tune` again"
        )
    objective = settings.tuning.objective
    stop = keras.callbacks.EarlyStopping(
        objective.name, mode=objective.direction, patience=settings.training.patience, restore_best_weights=True
    )
    show = keras.callbacks.LambdaCallback(on_epoch_end=_show(settings.training.epochs))
    guard = keras.callbacks.TerminateOnNaN()
    examples = encode(encoder, rows, wanted), encode(encoder, prepared("validation"), wanted)
    with task.told("the network of model/network.py cannot be fitted", but=(MemoryError, OSError)):
        history = fit(network, *examples, settings, settings.training.epochs, callbacks=[stop, show, guard]).history
    epoch = len(history["loss"])
    if not math.isfinite(history["loss"][-1]):
        raise StageError(f"the loss became NaN in epoch {epoch}: lower the learning rates offered in model/network.py")
    if objective.name not in history:
        raise InputError(f"tuning.objective.name: Keras logs no {objective.name}, only {', '.join(sorted(history))}")
    if not math.isfinite(history[objective.name][stop.best_epoch]):
        raise StageError(f"{objective.name} is NaN or infinite in every epoch: look at the validation rows")
    result = {
        "hyperparameters": chosen,
        "parameters": int(network.count_params()),
        "best_epoch": stop.best_epoch + 1,
        "history": {name: [_logged(value) for value in values] for name, values in history.items()},
    }
    with workspace.replacing(workspace.MODEL) as folder:
        export.save(encoder, network, wanted, folder / "saved_model", SUMMARY.read().split)
        SIGNATURE.write(_signature(wanted, folder / "saved_model"), folder)
        TRAINING.write(result, folder)
    return result


def _signature(wanted: task.Task, saved_model: Path) -> dict[str, Any]:
    """Return the saved model's signature with what each output means: an answer can be read without the code."""
    found = signature(saved_model)
    outputs = {
        output.name: {"kind": output.kind, "classes": list(output.classes), **found["outputs"][output.name]}
        for output in wanted.outputs
    }
    return {**found, "outputs": outputs}


def _logged(value: float) -> float | None:
    return round(float(value), 7) if math.isfinite(value) else None


def _show(epochs: int) -> Any:
    """Return a callback that prints a line after each epoch."""

    def after(epoch: int, logs: dict[str, float]) -> None:
        values = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
        print(f"  epoch {epoch + 1:>2}/{epochs}  {values}", flush=True)

    return after
