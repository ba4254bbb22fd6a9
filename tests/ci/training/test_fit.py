"""How rows become examples: a file that cannot be decoded is named, and what does not fit into memory is read anew."""

from functools import partial
from itertools import pairwise

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from ci.errors import InputError
from ci.rows import Rows
from ci.settings import Settings
from ci.task import Field, Output, Task
from ci.training.fit import encode, fit

WANTED = Task((Output("y", "binary", ("y",)),), None, {"image": Field("bytes")}, ())


def decode(fields):
    kind = tf.TensorSpec((1, 1, 1), tf.uint8)
    return {"pixels": tf.map_fn(lambda each: tf.io.decode_png(each, 1), fields["image"], fn_output_signature=kind)}


def test_a_file_that_the_encoder_cannot_decode_is_named(tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(tf.io.encode_png(tf.constant([[[7]]], tf.uint8)).numpy())
    bad.write_bytes(b"no picture")
    rows = pd.DataFrame({"image": [str(good), str(good), str(bad), str(good)], "y": [0, 1, 0, 1]})
    assert encode(decode, Rows.of(rows.drop(index=2)), WANTED).inputs["pixels"].shape == (3, 1, 1, 1)
    with pytest.raises(InputError, match=r"bad\.png: the encoder of model/features\.py fails: InvalidArgumentError"):
        encode(decode, Rows.of(rows), WANTED)


NUMBERS = Task((Output("y", "binary", ("y",)),), None, {"x": Field("float32")}, (), weight="w")


def parts(sizes=(5, 1, 9, 6)):
    """Return rows in tables of so many each; each row has its number as `x` and as its weight."""
    ends = np.cumsum([0, *sizes])
    numbers = [np.arange(start, end, dtype="float32") for start, end in pairwise(ends)]
    tables = [pd.DataFrame({"x": each, "y": each % 2, "w": each}) for each in numbers]
    return Rows([partial(pd.DataFrame.copy, table) for table in tables], int(ends[-1]))


def plain(fields):
    return {"x": fields["x"][:, None]}


@pytest.mark.parametrize("shuffled", [False, True])
def test_what_does_not_fit_is_read_in_each_epoch_every_row_once(monkeypatch, shuffled):
    kept = encode(plain, parts(), NUMBERS)
    monkeypatch.setattr("ci.training.fit.MOST", 0)
    monkeypatch.setattr("ci.training.fit.POOL", 2)
    monkeypatch.setattr("ci.training.fit.AHEAD", 2)
    made = encode(plain, parts(), NUMBERS)
    assert made.inputs is None
    assert kept.inputs["x"].shape == (21, 1)
    random = np.random.default_rng(0) if shuffled else None
    for _ in range(2):
        batches = list(made.batches(4, random))
        assert [len(targets) for _, targets, _ in batches] == [4, 4, 4, 4, 4, 1]
        rows = np.concatenate([inputs["x"][:, 0] for inputs, *_ in batches])
        assert (sorted(rows), (rows == np.arange(21)).all()) == (list(range(21)), not shuffled)
        assert all((inputs["x"][:, 0] == w).all() and (y[:, 0] == w % 2).all() for inputs, y, w in batches)


def one_input():
    x = keras.Input((1,), name="x")
    return keras.Model({"x": x}, keras.layers.Dense(1, activation="sigmoid")(x))


def test_what_does_not_fit_is_learned_as_what_does(monkeypatch):
    def losses():
        keras.utils.set_random_seed(1)
        network = one_input()
        network.compile(keras.optimizers.SGD(0.01), "binary_crossentropy")
        encoded = encode(plain, parts(), NUMBERS)
        settings = Settings.model_validate(
            {"schema_version": 1, "as_of": "latest", "model": {"name": "m"}, "training": {"batch_size": 21}}
        )
        return fit(network, encoded, encoded, settings, 3).history

    expected = losses()
    monkeypatch.setattr("ci.training.fit.MOST", 0)
    found = losses()
    assert found.keys() == expected.keys() == {"loss", "val_loss"}
    assert found["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-4)
