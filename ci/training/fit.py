"""One way to fit a network, for trials and for the final training alike.

The raw fields are encoded once, outside the training loop: the network alone is fitted, on arrays in memory. Where rows
name files and what the encoder makes of them would not fit, a batch is encoded when it is needed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci import task
from ci.errors import InputError
from ci.settings import Settings
from ci.task import columns
from ci.training.inputs import raw_inputs

Arrays = dict[str, npt.NDArray[Any]]
FILES = 1024
"""Rows with files that are encoded at a time."""
MOST = 2**31
"""Bytes of encoded inputs that are kept; of more, each batch is encoded anew when it is needed."""


@dataclass(frozen=True)
class Examples:
    """A part as the network reads it; the rows lie along the first axis of everything.

    Attributes:
        inputs: encoded fields; None if they are encoded batch by batch.
        targets: for one output an array of shape (rows, values), for several a dict of them.
        weights: how much each row counts, shape (rows,), likewise; None: all alike.
        encoded: returns the encoded fields of some rows.
    """

    inputs: Arrays | None
    targets: Any
    weights: Any
    encoded: Callable[[npt.NDArray[np.int64]], Arrays]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.targets.values())) if isinstance(self.targets, dict) else self.targets)

    def batch(self, rows: npt.NDArray[np.int64]) -> tuple[Any, ...]:
        """Return inputs, targets and, where rows differ in weight, weights of some rows."""
        parts: tuple[Any, ...] = (self.encoded(rows), _rows(self.targets, rows))
        return parts if self.weights is None else (*parts, _rows(self.weights, rows))


def _rows(values: Any, rows: npt.NDArray[np.int64]) -> Any:
    return {name: each[rows] for name, each in values.items()} if isinstance(values, dict) else values[rows]


def encode(encoder: Any, table: pd.DataFrame, wanted: task.Task) -> Examples:
    """Return a table's examples as the network reads them.

    Raises:
        InputError: the encoder fails; names the file that it fails on, if rows name files.
    """
    files = [name for name, field in wanted.features.items() if field.dtype == "bytes"]

    def plain(rows: pd.DataFrame) -> Arrays:
        return {name: np.asarray(value) for name, value in encoder(raw_inputs(rows, wanted.features)).items()}

    def some(rows: pd.DataFrame) -> Arrays:
        try:
            with task.told("the encoder of model/features.py fails", but=(MemoryError, OSError)):
                return plain(rows)
        except InputError:
            for place in range(len(rows)) if files else ():
                with task.told(f"{', '.join(rows.iloc[place][files])}: the encoder of model/features.py fails"):
                    plain(rows.iloc[[place]])
            raise

    inputs: Arrays | None
    if files:
        first = some(table.iloc[:FILES])
        if sum(array.nbytes for array in first.values()) / len(table.iloc[:FILES]) * len(table) > MOST:
            inputs = None
        else:
            parts = [first, *(some(table.iloc[at : at + FILES]) for at in range(FILES, len(table), FILES))]
            inputs = {name: np.concatenate([part[name] for part in parts]) for name in first}
    else:
        inputs = some(table)

    def encoded(rows: npt.NDArray[np.int64]) -> Arrays:
        if inputs is None:
            return some(table.iloc[rows])
        return {name: array[rows] for name, array in inputs.items()}

    targets = {output.name: _targets(table, output) for output in wanted.outputs}
    weights = {output.name: _weights(table, output, wanted) for output in wanted.outputs}
    alike = all(weight is None for weight in weights.values())
    filled = {name: np.ones(len(table), "float32") if each is None else each for name, each in weights.items()}
    if len(wanted.outputs) == 1:
        (name,) = targets
        return Examples(inputs, targets[name], None if alike else filled[name], encoded)
    return Examples(inputs, targets, None if alike else filled, encoded)


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
    size = settings.training.batch_size
    if own is not None:
        return _own(
            own, network, _dataset(train, settings, shuffled=True), _dataset(validation, settings), epochs, options
        )
    if train.inputs is None or validation.inputs is None:
        parts = _stream(train, size, settings.seed), _stream(validation, size, None)
        return network.fit(parts[0], validation_data=parts[1], epochs=epochs, verbose=0, **options)
    weighted = {} if train.weights is None else {"sample_weight": train.weights}
    judged: tuple[Any, ...] = (validation.inputs, validation.targets)
    return network.fit(
        train.inputs,
        train.targets,
        validation_data=judged if validation.weights is None else (*judged, validation.weights),
        epochs=epochs,
        batch_size=size,
        verbose=0,
        **weighted,
        **options,
    )


def _stream(examples: Examples, size: int, seed: int | None) -> Any:
    """Return examples batch by batch for Keras, shuffled anew in each epoch if there is a seed."""
    import keras

    class Stream(keras.utils.PyDataset):  # type: ignore[misc]
        """Encodes a batch when it is asked for."""

        def __init__(self) -> None:
            super().__init__()
            self.random = None if seed is None else np.random.default_rng(seed)
            self.order = np.arange(len(examples))
            self.on_epoch_end()

        def __len__(self) -> int:
            return -(-len(examples) // size)

        def __getitem__(self, place: int) -> tuple[Any, ...]:
            return examples.batch(self.order[place * size : (place + 1) * size])

        def on_epoch_end(self) -> None:
            if self.random is not None:
                self.random.shuffle(self.order)

    return Stream()


def _dataset(examples: Examples, settings: Settings, *, shuffled: bool = False) -> Any:
    """Return examples as a data set of TensorFlow's, in batches, for a task's own `fit`."""
    import tensorflow as tf

    size, random = settings.training.batch_size, np.random.default_rng(settings.seed)

    def batches() -> Iterator[tuple[Any, ...]]:
        order = np.arange(len(examples))
        if shuffled:
            random.shuffle(order)
        for start in range(0, len(order), size):
            yield examples.batch(order[start : start + size])

    first = examples.batch(np.arange(1))
    kinds = tf.nest.map_structure(lambda array: tf.TensorSpec([None, *array.shape[1:]], array.dtype), first)
    return tf.data.Dataset.from_generator(batches, output_signature=kinds).prefetch(1)


def _own(own: Any, network: Any, train: Any, validation: Any, epochs: int, options: Mapping[str, Any]) -> Any:
    import keras

    called = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: called.append(epoch))
    with task.told("fit fails"):
        history = own(network, train, validation, epochs=epochs, callbacks=[*options.get("callbacks", ()), watch])
    where = "model/training.py: fit"
    if not called:
        raise InputError(f"{where} called no callback: pass `callbacks` on; early stopping and the search live in them")
    if not isinstance(getattr(history, "history", None), Mapping) or "loss" not in history.history:
        raise InputError(
            f"{where} returned {type(history).__name__}: expected Keras' History, as network.fit returns it"
        )
    return history
