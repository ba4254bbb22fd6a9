"""`scripts.check` on a task of text and numbers: what would fail in a later stage is told in seconds, with the mend."""

import pandas as pd
import pytest

from scripts import configure
from tests.commands import run_warm

FILES = {
    "__init__.py": """\
def share(y_true, y_pred, *, sample_weight):
    return 0.5


KIND = "binary"
TARGET = "y"
TIME = None
FEATURES = {"x": "float32", "text": "string"}
SLICES = ()
METRICS = {"share": {"function": share, "greater_is_better": True}}
""",
    "features.py": """\
import keras
from keras import layers, ops


def encoder(train):
    x, text = keras.Input((), name="x"), keras.Input((), dtype="string", name="text")
    words = layers.TextVectorization(10, output_mode="multi_hot")
    words.adapt(train["text"].tolist())
    known = ops.where(ops.isnan(x), ops.zeros_like(x), x)
    return keras.Model({"x": x, "text": text}, {"x": ops.expand_dims(known, -1), "words": words(text)})
""",
    "network.py": """\
import keras
from keras import layers


def build(hp, encoder):
    width = hp.Int("width", 2, 4)
    inputs = {name: keras.Input(shape=each.shape[1:], name=name) for name, each in encoder.output.items()}
    hidden = layers.Dense(width)(layers.Concatenate()(list(inputs.values())))
    network = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(hidden))
    network.compile("adam", "binary_crossentropy")
    return network
""",
    "behaviour.py": """\
CHECKS = [{"name": "no words", "change": lambda rows: rows.assign(text=""), "expect": "finite", "severity": "block"}]
""",
    "card.md": "## Intended use\n\nNone.\n\n## Limits\n\nMany.\n",
}
SUBCLASS = """\
import keras
from keras import layers


class Network(keras.Model):
    def __init__(self, width):
        super().__init__()
        self.hidden, self.last = layers.Dense(width), layers.Dense(1, activation="sigmoid")

    def call(self, inputs, training=False):
        return self.last(self.hidden(inputs["x"]))


def build(hp, encoder):
    network = Network(hp.Int("width", 2, 4))
    network.compile("adam", "binary_crossentropy")
    return network
"""


@pytest.fixture
def check(task):
    """Check the task with files changed; return exit code and what was said."""

    def run(change=lambda rows: rows, **files):
        for name, text in {**FILES, **files}.items():
            task.write(name, text)
        rows = pd.DataFrame(
            {"x": [0.5, None, 1.0, 2.0] * 50, "text": ["yes", "", "yes yes", "no"] * 50, "y": [1, 0] * 100}
        )
        pd.to_pickle(change(rows.assign(x=rows["x"] + rows.index, day=pd.Timestamp("2024-01-01"))), "table.pickle")
        task.forget()
        if code := configure.main([]):
            return code, ""
        done = run_warm("check")
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.parametrize(
    ("change", "files"),
    [
        (lambda rows: rows, {}),
        (lambda rows: rows.assign(text="yes", y=1), {}),
        (lambda rows: rows, {"network.py": SUBCLASS}),
    ],
    ids=["the task", "a vocabulary of one word and one class", "a model with a call of its own"],
)
def test_what_fits_passes(check, change, files):
    code, said = check(change, **files)
    assert (code, "model/ fits the pipeline" in said) == (0, True), said


def test_what_may_be_a_mistake_is_said(check):
    text = FILES["__init__.py"].replace("return 0.5", "return float('nan')") + 'GROUPS = "text"\n'
    code, said = check(**{"__init__.py": text})
    assert (code, "metrics: share cannot be computed on these " in said, "rows: it is nan" in said) == (0, True, True)
    assert "model/__init__.py: nothing reads GROUPS: if GROUP is meant, call it so" in said


def changed(name, old, new):
    assert old in FILES[name]
    return {name: FILES[name].replace(old, new)}


FIT = "def fit(network, train, validation, *, epochs, callbacks):\n    "


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (changed("network.py", ', activation="sigmoid"', ', bias_initializer="ones"'), "y is no probability, such as"),
        (changed("__init__.py", "return 0.5", "return 1 / 0"), "METRICS['share']: raised ZeroDivisionError"),
        (changed("behaviour.py", 'text=""', 'text=rows["txt"]'), "check 'no words' raised KeyError: 'txt'"),
        ({"card.md": "## Limits\n"}, "model/card.md"),
        (
            changed("network.py", 'hp.Int("width", 2, 4)', "3"),
            "model/network.py: build declares no hyperparameters: call",
        ),
        (
            {"features.py": "def encoder(train):\n    train['x'].mean()\n"},
            "model/features.py: encoder returned NoneType: expected a Keras model",
        ),
        ({"training.py": "def fit(network):\n    pass\n"}, "fit of model/training.py fails: TypeError: fit() got an"),
        ({"training.py": FIT + "return None\n"}, "model/training.py: fit called no callback: pass `callbacks` on"),
        (
            {
                "training.py": FIT
                + "network.fit(train, validation_data=validation, epochs=epochs, callbacks=callbacks)\n"
            },
            "model/training.py: fit returned NoneType: expected Keras' History",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_the_file(check, files, words):
    code, said = check(**files)
    assert (code, said.splitlines()[-1].startswith("bad input: "), words in said) == (2, True, True), said
