"""A task on a Parquet data set, whose encoder learns from one table after the other, in every stage that trains."""

import json

import numpy as np
import pandas as pd
import pytest

from ci import workspace
from ci.task import Field
from ci.training.export import predictor
from ci.training.inputs import raw_inputs
from scripts import configure
from tests.ci.run import test_check
from tests.commands import run_warm

LOAD = "def load(source):\n    return source\n"
DAY = pd.Timestamp("2024-01-01")
FEATURES = """\
import keras
import tensorflow as tf
from keras import layers, ops


def encoder(batches):
    x, text = keras.Input((), name="x"), keras.Input((), dtype="string", name="text")
    kind = tf.TensorSpec((None,), tf.string)
    texts = tf.data.Dataset.from_generator(lambda: (rows["text"].tolist() for rows in batches), output_signature=kind)
    words = layers.TextVectorization(10, output_mode="multi_hot")
    words.adapt(texts)
    count, total = 0, 0.0
    for rows in batches:
        count, total = count + rows["x"].notna().sum(), total + rows["x"].sum()
    scaled = x / float(total / count)
    known = ops.where(ops.isnan(scaled), ops.zeros_like(scaled), scaled)
    return keras.Model({"x": x, "text": text}, {"x": ops.expand_dims(known, -1), "words": words(text)})
"""


def test_every_stage_takes_it(task):
    for name, text in {**test_check.FILES, "features.py": FEATURES, "data.py": LOAD}.items():
        task.write(name, text)
    text = (task.folder / "pipeline.yaml").read_text().replace("table.pickle", "rows")
    tuning = "tuning: {max_trials: 2, epochs: 1}\ngates: {resamples: 100}\n"
    (task.folder / "pipeline.yaml").write_text(text + tuning)
    random = np.random.default_rng(0)
    (task.folder / "rows").mkdir()
    for number in range(4):
        y = random.integers(0, 2, 100)
        words = np.where(y, f"yes word{number}", "no")
        table = pd.DataFrame({"x": random.normal(size=100) + 2 * y, "text": words, "y": y, "day": DAY})
        table.to_parquet(task.folder / f"rows/{number}.parquet")
    task.forget()
    assert configure.main([]) == 0
    workspace.write_json(workspace.CHAMPION, None)
    for name in ("check", "prepare", "tune", "train", "evaluate"):
        done = run_warm(name)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "takes all training rows as one table" not in done.stdout
    found = json.loads((task.folder / "build/evaluation/evaluation.json").read_text())
    golden = json.loads((task.folder / "build/evaluation/golden.json").read_text())
    assert found["rows"] == json.loads((task.folder / "build/data/summary.json").read_text())["rows"]["holdout"]
    assert len(golden["instances"]) == len(golden["predictions"]) == 32
    vocabulary = (task.folder / "build/model/saved_model/saved_model.pb").read_bytes()
    assert all(f"word{number}".encode() in vocabulary for number in range(4))


def test_the_check_says_where_an_encoder_takes_all_rows_at_once(task):
    for name, text in {**test_check.FILES, "data.py": LOAD}.items():
        task.write(name, text)
    (task.folder / "pipeline.yaml").write_text(
        (task.folder / "pipeline.yaml").read_text().replace("table.pickle", "rows.parquet")
    )
    table = pd.DataFrame({"x": np.arange(200.0), "text": ["yes", "no"] * 100, "y": [1, 0] * 100, "day": DAY})
    table.to_parquet(task.folder / "rows.parquet")
    task.forget()
    assert configure.main([]) == 0
    done = run_warm("check")
    assert (done.returncode, "with `encoder(batches)` they need not fit" in done.stdout) == (0, True), done.stderr


PRETRAINED = """\
import keras
import numpy as np
from keras import layers

keras.mixed_precision.set_global_policy("mixed_bfloat16")


def build(hp, encoder, weights):
    known = np.load(weights)
    width = hp.Int("width", 2, 4)
    inputs = {name: keras.Input(shape=each.shape[1:], name=name) for name, each in encoder.output.items()}
    frozen = layers.Dense(known.shape[1], kernel_initializer=keras.initializers.Constant(known), trainable=False)
    hidden = layers.Dense(width)(frozen(inputs["x"]))
    network = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(hidden))
    network.compile("adam", "binary_crossentropy")
    return network
"""


def test_pretrained_weights_are_loaded_and_mixed_precision_answers_with_float32(task):
    for name, text in {**test_check.FILES, "network.py": PRETRAINED}.items():
        task.write(name, text)
    settings = (task.folder / "pipeline.yaml").read_text().replace("{source", "{weights: base.npy, source")
    (task.folder / "pipeline.yaml").write_text(settings + "tuning: {max_trials: 1, epochs: 1}\n")
    rows = pd.DataFrame({"x": np.arange(200.0) % 9, "text": ["yes", "no"] * 100, "y": [1, 0] * 100, "day": DAY})
    np.save(task.folder / "base.npy", np.full((1, 3), 1234.5, "float32"))
    code, said = task.prepare(rows)
    assert code == 0, said
    digest = json.loads(workspace.SOURCE.read_text())["weights"]
    for name in ("check", "tune", "train"):
        done = run_warm(name)
        assert done.returncode == 0, done.stdout + done.stderr
    saved = task.folder / "build/model/saved_model/variables/variables.data-00000-of-00001"
    assert np.full(3, 1234.5, "float32").tobytes() in saved.read_bytes()
    ask = predictor(task.folder / "build/model/saved_model")
    answer = ask(raw_inputs(rows.head(2).astype({"x": "float32"}), {"x": Field("float32"), "text": Field("string")}))
    assert {name: made.dtype for name, made in answer.items()} == {"y": np.dtype("float32")}
    np.save(task.folder / "base.npy", np.full((1, 3), 7, "float32"))
    assert configure.main([]) == 0
    assert json.loads(workspace.SOURCE.read_text())["weights"] != digest


@pytest.mark.parametrize(
    ("network", "weights", "words"),
    [
        (PRETRAINED, None, "data.weights: none are named, and model/network.py: build takes `weights`"),
        (test_check.FILES["network.py"], "model", "data.weights: model is not used: model/network.py: take it, as"),
        (PRETRAINED, "none.npy", "data.weights: none.npy does not exist, nor does none.npy.dvc"),
    ],
)
def test_weights_that_are_named_and_not_taken_or_the_other_way_round_are_refused(task, network, weights, words):
    for name, text in {**test_check.FILES, "network.py": network}.items():
        task.write(name, text)
    settings = (task.folder / "pipeline.yaml").read_text()
    if weights:
        (task.folder / "pipeline.yaml").write_text(settings.replace("{source", f"{{weights: {weights}, source"))
    rows = pd.DataFrame({"x": np.arange(200.0), "text": ["yes", "no"] * 100, "y": [1, 0] * 100, "day": DAY})
    code, said = task.prepare(rows)
    if code == 0:
        done = run_warm("check")
        code, said = done.returncode, done.stderr
    assert (code, words in said) == (2, True), said
