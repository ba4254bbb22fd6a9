"""One way to fit a network, for trials and for the final training alike.

The raw fields are encoded once, outside the training loop: the network alone is fitted, on arrays in memory. What would
not fit there is read and encoded anew in each epoch, some rows at a time.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci import task
from ci.errors import InputError
from ci.rows import Rows, together
from ci.settings import Settings
from ci.task import columns
from ci.training.inputs import raw_inputs

Arrays = dict[str, npt.NDArray[Any]]
FILES = 1024
"""Rows with files that are encoded at a time."""
MOST = 2**31
"""Bytes of encoded inputs that are kept; of more, each batch is encoded anew when it is needed."""
POOL = 8
"""Tables whose rows are shuffled together where not all are in memory."""
AHEAD = 64
"""Batches that are encoded at a time there, if rows name no files."""


@dataclass(frozen=True)
class Examples:
    """A part as the network reads it; the rows lie along the first axis of everything.

    Attributes:
        count: rows.
        kept: inputs, targets and, where rows differ in weight, weights (see `_examples`); None if they are made anew
            in each pass.
        rows: what they are made from.
        made: returns the same for some rows.
        ahead: batches that are made at a time where they are made anew.
    """

    count: int
    kept: tuple[Any, ...] | None
    rows: Rows
    made: Callable[[pd.DataFrame], tuple[Any, ...]]
    ahead: int

    @property
    def inputs(self) -> Arrays | None:
        """The encoded fields, if they are kept."""
        return None if self.kept is None else self.kept[0]

    def batches(self, size: int, random: np.random.Generator | None) -> Iterator[tuple[Any, ...]]:
        """Yield batches of so many rows, the last one of those that are left; shuffled if there is a generator."""
        if self.kept is not None:
            order = np.arange(self.count)
            if random is not None:
                random.shuffle(order)
            for start in range(0, self.count, size):
                yield _rows(self.kept, order[start : start + size])
            return
        for table in _pools(self.rows, size, random):
            for start in range(0, len(table), size * self.ahead):
                made = self.made(table.iloc[start : start + size * self.ahead])
                count = min(size * self.ahead, len(table) - start)
                for at in range(0, count, size):
                    yield _rows(made, np.arange(at, min(at + size, count)))


def _rows(values: Any, rows: npt.NDArray[np.int64]) -> Any:
    """Return some rows of arrays in tuples and dicts."""
    if isinstance(values, tuple):
        return tuple(_rows(each, rows) for each in values)
    return {name: each[rows] for name, each in values.items()} if isinstance(values, dict) else values[rows]


def _pools(rows: Rows, size: int, random: np.random.Generator | None) -> Iterator[pd.DataFrame]:
    """Yield all rows in tables of whole batches, only the last one may end in a smaller batch.

    Tables come in an order by chance, and the rows of `POOL` of them are shuffled together.
    """
    order, pool = np.arange(len(rows.groups)), 1
    if random is not None:
        random.shuffle(order)
        pool = POOL
    left: list[pd.DataFrame] = []
    for start in range(0, len(order), pool):
        table = together([*left, *(rows.groups[group]() for group in order[start : start + pool])])
        if random is not None:
            table = table.iloc[random.permutation(len(table))]
        whole = len(table) if start + pool >= len(order) else len(table) // size * size
        yield table.iloc[:whole]
        left = [table.iloc[whole:]]


def encode(encoder: Any, rows: Rows, wanted: task.Task) -> Examples:
    """Return the examples of some rows as the network reads them.

    Raises:
        InputError: the encoder fails; names the file that it fails on, if rows name files.
    """
    files = [name for name, field in wanted.features.items() if field.dtype == "bytes"]

    def plain(table: pd.DataFrame) -> Arrays:
        return {name: np.asarray(value) for name, value in encoder(raw_inputs(table, wanted.features)).items()}

    def some(table: pd.DataFrame) -> Arrays:
        try:
            with task.told("the encoder of model/features.py fails", but=(MemoryError, OSError)):
                return plain(table)
        except InputError:
            for place in range(len(table)) if files else ():
                with task.told(f"{', '.join(table.iloc[place][files])}: the encoder of model/features.py fails"):
                    plain(table.iloc[[place]])
            raise

    def made(table: pd.DataFrame) -> tuple[Any, ...]:
        return (some(table), *_answers(table, wanted))

    def everything() -> tuple[Any, ...] | None:
        inputs: list[Arrays] = []
        answers: list[tuple[Any, ...]] = []
        for table in rows:
            step = FILES if files else max(1, len(table))
            for start in range(0, len(table), step):
                inputs.append(some(table.iloc[start : start + step]))
                if len(inputs) == 1 and _bytes(inputs[0]) / min(step, len(table)) * rows.count > MOST:
                    return None
            answers.append(_answers(table, wanted))
        return (_joined(inputs), *(_joined(each) for each in zip(*answers, strict=True)))

    return Examples(rows.count, everything(), rows, made, 1 if files else AHEAD)


def _bytes(inputs: Arrays) -> int:
    return sum(array.nbytes for array in inputs.values())


def _joined(parts: Any) -> Any:
    """Return arrays, or dicts of arrays, one after the other."""
    if isinstance(parts[0], dict):
        return {name: _joined([part[name] for part in parts]) for name in parts[0]}
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _answers(table: pd.DataFrame, wanted: task.Task) -> tuple[Any, ...]:
    """Return targets and, where rows differ in weight, weights.

    For one output targets are an array of shape (rows, values), and weights of shape (rows,); for several both are
    dicts of them.
    """
    targets = {output.name: _targets(table, output) for output in wanted.outputs}
    weights = {output.name: _weights(table, output, wanted) for output in wanted.outputs}
    alike = all(weight is None for weight in weights.values())
    filled = {name: np.ones(len(table), "float32") if each is None else each for name, each in weights.items()}
    if len(wanted.outputs) == 1:
        (name,) = targets
        return (targets[name],) if alike else (targets[name], filled[name])
    return (targets,) if alike else (targets, filled)


def build(space: Any, encoder: Any, settings: Settings) -> Any:
    """Return the task's network for some hyperparameters; pretrained weights are passed on if there are any.

    Args:
        space: keras-tuner's hyperparameters.
        encoder: the task's.
        settings: where the weights are.

    Raises:
        InputError: weights are named and not taken, or taken and not named.
    """
    make = task.part("model.network", "build")
    taken = callable(make) and "weights" in inspect.signature(make).parameters
    if taken and settings.weights is None:
        raise InputError("data.weights: none are named, and model/network.py: build takes `weights`: name a file")
    if not taken and settings.weights is not None:
        raise InputError(
            f"data.weights: {settings.weights} is not used: model/network.py: take it, as build(hp, encoder, weights)"
        )
    return make(space, encoder, weights=settings.weights) if taken else make(space, encoder)


def _targets(table: pd.DataFrame, output: task.Output) -> npt.NDArray[np.float32]:
    found = columns.outcomes(table, output).astype("float32")
    return found.reshape(len(table), -1)


def _weights(table: pd.DataFrame, output: task.Output, wanted: task.Task) -> npt.NDArray[np.float32] | None:
    """Return how much each row counts for an output: its own weight times that of its class; None: all alike."""
    found = None if wanted.weight is None else table[wanted.weight].to_numpy(dtype="float32")
    if output.class_weight:
        names = output.classes or ("0", "1")
        each = np.array([output.class_weight.get(name, 1.0) for name in names], dtype="float32")
        by_class = each[columns.outcomes(table, output).astype(int)]
        found = by_class if found is None else found * by_class
    return found


def make_variables(network: Any) -> None:
    """Make the variables of a network's optimizer before it is fitted; results are the same.

    TensorFlow traces a step that makes variables twice, which is nearly half of what a short trial costs. The train
    stage traces once in minutes, and its saved model counts the traces: there it would only change bytes.
    """
    if network.built and not network.optimizer.built:
        network.optimizer.build(network.trainable_variables)


def fit(network: Any, train: Examples, validation: Examples, settings: Settings, epochs: int, **options: Any) -> Any:
    """Fit a compiled network and return Keras' history; by the task's own `fit` where it has one.

    Args:
        network: compiled Keras model on encoded inputs.
        train: what it learns from, shuffled anew in each epoch.
        validation: what is measured after each epoch.
        settings: batch size and seed.
        epochs: at most so many passes.
        options: passed on to Keras' `fit`, such as `callbacks`.

    Raises:
        InputError: the task's own `fit` fails, calls no callback, or returns no history.
    """
    own = task.optional("model.training", "fit")
    if own is not None or train.kept is None or validation.kept is None:
        parts = _dataset(train, settings, shuffled=True), _dataset(validation, settings)
        if own is not None:
            return _own(own, network, *parts, epochs, options)
        return network.fit(parts[0], validation_data=parts[1], epochs=epochs, shuffle=False, verbose=0, **options)
    weighted = {} if len(train.kept) == 2 else {"sample_weight": train.kept[2]}
    return network.fit(
        train.kept[0],
        train.kept[1],
        validation_data=validation.kept,
        epochs=epochs,
        batch_size=settings.training.batch_size,
        verbose=0,
        **weighted,
        **options,
    )


def _dataset(examples: Examples, settings: Settings, *, shuffled: bool = False) -> Any:
    """Return examples as a data set of TensorFlow's, in batches."""
    import tensorflow as tf

    size, random = settings.training.batch_size, np.random.default_rng(settings.seed)
    first = _rows(examples.kept, np.arange(1)) if examples.kept else examples.made(examples.rows.groups[0]().head(1))
    kinds = tf.nest.map_structure(lambda array: tf.TensorSpec([None, *array.shape[1:]], array.dtype), first)
    found = tf.data.Dataset.from_generator(
        lambda: examples.batches(size, random if shuffled else None), output_signature=kinds
    )
    return found.apply(tf.data.experimental.assert_cardinality(-(-examples.count // size))).prefetch(1)


def _own(own: Any, network: Any, train: Any, validation: Any, epochs: int, options: Mapping[str, Any]) -> Any:
    import keras

    called = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: called.append(epoch))
    with task.told("fit of model/training.py fails"):
        history = own(network, train, validation, epochs=epochs, callbacks=[*options.get("callbacks", ()), watch])
    where = "model/training.py: fit"
    if not called:
        raise InputError(f"{where} called no callback: pass `callbacks` on; early stopping and the search live in them")
    if not isinstance(getattr(history, "history", None), Mapping) or "loss" not in history.history:
        raise InputError(
            f"{where} returned {type(history).__name__}: expected Keras' History, as network.fit returns it"
        )
    return history
