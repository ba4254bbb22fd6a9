"""The task's contract, tried on a few rows before a search spends hours: encode, one step, save, load, serve.

What fails here would fail in a later stage: a layer that cannot be saved, an output of another shape, a model that
answers otherwise once it is loaded, a request that the server refuses.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ci import task
from ci.errors import InputError
from ci.rows import Rows
from ci.serving import offline
from ci.serving.model import Version
from ci.settings import Settings
from ci.task import values
from ci.training import export
from ci.training.fit import build, encode, fit, make_variables
from ci.training.inputs import raw_inputs

ROWS = 64
"""Rows that are tried."""
_ROUNDING = 0.02
"""By how much probabilities may be off, as they are in half precision."""
TOLERANCE = 1e-4
"""Largest difference between what the network says and what it says once it is saved; the prediction's unit."""


def check(settings: Settings, wanted: task.Task, rows: pd.DataFrame, encoder: Any) -> Any:
    """Try the task on some rows, and return the function that asks the saved model.

    Args:
        settings: batch size, seed and objective.
        wanted: the task.
        rows: labelled rows; the first ones are tried.
        encoder: the task's, made from the training rows.

    Raises:
        InputError: something of `model/` does not fit; names the file and the fix.
    """
    import keras_tuner

    rows = rows.head(ROWS)
    space = keras_tuner.HyperParameters()
    with task.told("build fails"):
        network = build(space, encoder, settings)
    if not hasattr(network, "fit") or getattr(network, "optimizer", None) is None:
        raise InputError("model/network.py: build returned no compiled Keras model: call network.compile(…), return it")
    if not space.space:
        raise InputError("model/network.py: build declares no hyperparameters: call hp.Int, hp.Float, … in it")
    export.require(network, wanted)
    with task.told("the encoder in model/features.py fails"):
        examples = encode(encoder, Rows.of(rows), wanted)
    with task.told("the network of model/network.py cannot be fitted"):
        make_variables(network)
        history = fit(network, examples, examples, settings, 1).history
    objective = settings.tuning.objective.name
    if objective not in history:
        raise InputError(f"tuning.objective.name: {objective} is not logged: name one of {', '.join(sorted(history))}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "saved_model"
        with task.told("encoder and network cannot be saved as one model"):
            export.save(encoder, network, wanted, folder)
        said = export.named(network(encoder(raw_inputs(rows, wanted.features)), training=False), wanted)
        ask = export.predictor(folder)
        found = ask(raw_inputs(rows, wanted.features))
        _probabilities(wanted, found)
        _same(wanted, {name: np.asarray(each, dtype="float64") for name, each in said.items()}, found)
        _served(wanted, rows, found, folder)
    return ask


def _probabilities(wanted: task.Task, found: dict[str, Any]) -> None:
    """Check that classes and labels are answered with probabilities, which metrics, gates and clients take them for.

    Raises:
        InputError: they are others, as the logits are that a loss with `from_logits=True` wants.
    """
    for output in wanted.outputs:
        made = found[output.name].astype("float64")
        last = "softmax" if output.kind == "multiclass" else "sigmoid"
        total = made.sum(axis=1) if output.kind == "multiclass" else np.zeros(0)
        apart = np.concatenate([-made.reshape(-1), made.reshape(-1) - 1, np.abs(total - 1)])
        if output.kind != "regression" and (apart > _ROUNDING).any():
            raise InputError(
                f"model/network.py: {output.name} is no probability, such as {made[0].tolist()}: end a {output.kind} "
                f"output with activation={last!r}"
            )


def _same(wanted: task.Task, network: dict[str, Any], saved: dict[str, Any]) -> None:
    for output in wanted.outputs:
        here, there = network[output.name].reshape(-1), saved[output.name].astype("float64").reshape(-1)
        if not np.allclose(here, there, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            apart = float(np.nanmax(np.abs(here - there)))
            raise InputError(
                f"model/network.py: {output.name} differs by {apart:.2g} once the model is saved and loaded: a layer "
                "computes otherwise there, such as one that draws random numbers outside of training"
            )


def _served(wanted: task.Task, rows: pd.DataFrame, found: dict[str, Any], folder: Path) -> None:
    """Ask the stand-in for the first rows as a client would, and compare the answer."""
    version = Version(model="", number=0)
    version.load(folder)
    few = rows.head(3)
    asked = json.dumps({"instances": values.instances(few, wanted.features)})
    answer = offline.answer(version, asked)
    if answer["response"] is None:
        raise InputError(f"a request with the fields of model/__init__.py is refused: {answer['error']}")
    for place, row in enumerate(json.loads(answer["response"])["predictions"]):
        for output in wanted.outputs:
            said = row if len(wanted.outputs) == 1 else row[output.name]
            expected = found[output.name][place].astype("float64")
            if not np.allclose(np.array(said, dtype="float64"), expected, TOLERANCE, TOLERANCE, equal_nan=True):
                raise InputError(
                    f"model/features.py: row {place} alone among few is answered with {said}, among {len(rows)} with "
                    f"{expected.tolist()}: an answer must not depend on the rows beside it"
                )
