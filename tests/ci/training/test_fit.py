"""How rows become examples: a file that cannot be decoded is named."""

import pandas as pd
import pytest
import tensorflow as tf

from ci.errors import InputError
from ci.task import Field, Output, Task
from ci.training.fit import encode

WANTED = Task((Output("y", "binary", ("y",)),), None, {"image": Field("bytes")}, ())


def decode(fields):
    kind = tf.TensorSpec((1, 1, 1), tf.uint8)
    return {"pixels": tf.map_fn(lambda each: tf.io.decode_png(each, 1), fields["image"], fn_output_signature=kind)}


def test_a_file_that_the_encoder_cannot_decode_is_named(tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(tf.io.encode_png(tf.constant([[[7]]], tf.uint8)).numpy())
    bad.write_bytes(b"no picture")
    rows = pd.DataFrame({"image": [str(good), str(good), str(bad), str(good)], "y": [0, 1, 0, 1]})
    assert encode(decode, rows.drop(index=2), WANTED).inputs["pixels"].shape == (3, 1, 1, 1)
    with pytest.raises(InputError, match=r"bad\.png: the encoder of model/features\.py fails: InvalidArgumentError"):
        encode(decode, rows, WANTED)
