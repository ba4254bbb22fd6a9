"""Tasks that are as large as one likes: many rows, many fields, many files; for `benchmarks.scale`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ci import workspace

FIRST = pd.Timestamp("2023-01-01")
DAYS = 365
TEXTS = {"carrier": 16, "origin": 3, "dest": 105}
"""Fields of text, and how many values each has."""
WHOLE = {"month": 12, "weekday": 7, "hour": 24, "distance": 5000}
NUMBERS = tuple(f"weather_{number}" for number in range(9))
"""Fields of numbers, of which one in fifty is missing."""
CHUNK = 300_000
"""Rows that are made at a time."""

INIT = """\
KIND, TARGET, TIME, SLICES = "binary", "y", TIME_COLUMN, SLICE_COLUMNS
FEATURES = FIELDS
"""
LOAD = "def load(source):\n    return source\n"
LISTED = "import pandas as pd\n\n\ndef load(source):\n    return pd.read_csv(f'{source}/list.csv')\n"
SCHEMA = """\
import pandera.pandas as pa

COLUMNS = {"y": pa.Column("float32", pa.Check.isin([0.0, 1.0]), coerce=True, nullable=True)}
if RANGES:
    COLUMNS |= {name: pa.Column("int64", pa.Check.in_range(0, most)) for name, most in RANGES.items()}
SCHEMA = pa.DataFrameSchema(COLUMNS)
"""
FEATURES = """\
import keras
from keras import layers, ops

from model import FEATURES

TEXTS = [name for name, kind in FEATURES.items() if kind == "string"]
NUMBERS = [name for name in FEATURES if name not in TEXTS]


def encoder(batches):
    count, total, square, known = 0, 0.0, 0.0, {name: set() for name in TEXTS}
    for rows in batches:
        numbers = rows[NUMBERS].astype("float64").fillna(0.0).to_numpy()
        count, total, square = count + len(rows), total + numbers.sum(axis=0), square + (numbers**2).sum(axis=0)
        for name in TEXTS:
            known[name] |= set(rows[name].unique())
    fields = {name: keras.Input((), dtype=kind, name=name) for name, kind in FEATURES.items()}
    mean = total / count
    variance = square / count - mean**2 + 1e-6
    stacked = ops.stack([ops.cast(fields[name], "float32") for name in NUMBERS], axis=-1)
    scaled = layers.Normalization(mean=mean.tolist(), variance=variance.tolist())(stacked)
    encoded = {"numbers": ops.where(ops.isnan(scaled), ops.zeros_like(scaled), scaled)}
    for name in TEXTS:
        encoded[name] = layers.StringLookup(vocabulary=sorted(known[name]), name=f"{name}_index")(fields[name])
    return keras.Model(fields, encoded)
"""
CONTENT = """\
import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("scale")
class Decode(keras.layers.Layer):
    def call(self, contents):
        numbers = tf.map_fn(lambda each: tf.io.decode_raw(each, tf.uint8)[:64], contents, fn_output_signature=tf.uint8)
        return tf.ensure_shape(tf.cast(numbers, tf.float32) / 255.0, (None, 64))


def encoder(batches):
    file = keras.Input((), dtype="string", name="file")
    return keras.Model({"file": file}, {"numbers": Decode()(file)})
"""
NETWORK = """\
import keras
from keras import layers


def build(hp, encoder):
    width = hp.Int("width", 64, 256, step=64)
    depth = hp.Int("depth", 1, 3)
    rate = hp.Float("learning_rate", 1e-3, 1e-2, sampling="log")
    inputs = {n: keras.Input(shape=each.shape[1:], dtype=each.dtype, name=n) for n, each in encoder.output.items()}
    parts = [inputs["numbers"]]
    for name in inputs:
        if name != "numbers":
            size = encoder.get_layer(f"{name}_index").vocabulary_size()
            parts.append(layers.Embedding(size, 8)(inputs[name]))
    hidden = layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    for _ in range(depth):
        hidden = layers.Dropout(0.1)(layers.Dense(width, activation="relu")(hidden))
    network = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(hidden))
    network.compile(keras.optimizers.AdamW(rate), "binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])
    return network
"""
BEHAVIOUR = 'CHECKS = [{"name": "any", "change": lambda rows: rows, "expect": "finite", "severity": "block"}]\n'
CARD = "## Intended use\n\nNone.\n\n## Limits\n\nMany.\n"
SETTINGS = """\
schema_version: 1
as_of: 2023-12-17
seed: 1
model: {name: large}
data: {source: rows, holdout_days: 30, training_days: 300, holdout_share: 0.2}
tuning: {max_trials: TRIALS, epochs: EPOCHS, stop_poor_trials: false}
training: {epochs: 1, batch_size: 4096}
gates: {resamples: 400, slice_min_rows: 50}
"""


def make(folder: Path, fields: dict[str, str], *, days: bool, files: bool = False, trials: int, epochs: int) -> Path:
    """Write a task with these fields into a new folder, without its rows, and return where these go."""
    shutil.rmtree(folder, ignore_errors=True)
    ranges = repr({name: most for name, most in WHOLE.items() if name in fields})
    texts = {
        "__init__.py": INIT.replace("TIME_COLUMN", repr("day" if days else None))
        .replace("SLICE_COLUMNS", repr(("origin",) if "origin" in fields else ()))
        .replace("FIELDS", repr(fields)),
        "data.py": LISTED if files else LOAD,
        "schema.py": SCHEMA.replace("RANGES", ranges),
        "features.py": CONTENT if files else FEATURES,
        "network.py": NETWORK,
        "behaviour.py": BEHAVIOUR,
        "card.md": CARD,
    }
    for name, text in texts.items():
        workspace.write_text(folder / "model" / name, text)
    settings = SETTINGS.replace("TRIALS", str(trials)).replace("EPOCHS", str(epochs))
    workspace.write_text(folder / "pipeline.yaml", settings)
    (folder / "rows").mkdir()
    return folder / "rows"


def many_rows(folder: Path, rows: int, trials: int = 1, epochs: int = 1) -> None:
    """Write a task with days, three texts, four whole numbers and nine others, and so many rows in Parquet."""
    fields = {**dict.fromkeys(TEXTS, "string"), **dict.fromkeys(WHOLE, "int64"), **dict.fromkeys(NUMBERS, "float32")}
    place = make(folder, fields, days=True, trials=trials, epochs=epochs)
    for number, start in enumerate(range(0, rows, CHUNK)):
        end = min(start + CHUNK, rows)
        random, size = np.random.default_rng(number), end - start
        made: dict[str, object] = {"day": FIRST + pd.to_timedelta(np.arange(start, end) * DAYS // rows, "D")}
        for name, most in TEXTS.items():
            made[name] = np.array([f"{name}{n}" for n in range(most)])[random.integers(0, most, size)]
        made |= {name: random.integers(0, most, size) for name, most in WHOLE.items()}
        weather = random.normal(size=(size, len(NUMBERS)))
        made |= {
            name: np.where(random.random(size) < 0.02, np.nan, weather[:, k]).round(2) for k, name in enumerate(NUMBERS)
        }
        made["y"] = (weather[:, 0] + random.normal(size=size) > 0.5).astype("float32")
        _write(pd.DataFrame(made), place / f"{number:04}.parquet")


def many_fields(folder: Path, rows: int, fields: int) -> None:
    """Write a task without days, of so many fields of numbers and rows."""
    names = [f"x{number}" for number in range(fields)]
    place = make(folder, dict.fromkeys(names, "float32"), days=False, trials=1, epochs=1)
    values = np.random.default_rng(0).normal(size=(rows, fields)).astype("float32")
    _write(pd.DataFrame(values, columns=names).assign(y=(values[:, 0] > 0).astype("float32")), place / "0.parquet")


def many_files(folder: Path, files: int, size: int) -> None:
    """Write a task whose rows name a file of so many bytes each."""
    place = make(folder, {"file": "bytes"}, days=False, files=True, trials=1, epochs=1)
    random = np.random.default_rng(0)
    names, labels = [], []
    for number in range(files):
        content = random.bytes(size)
        (place / f"{number % 100:02}").mkdir(exist_ok=True)
        names.append(f"{number % 100:02}/{number}")
        (place / names[-1]).write_bytes(content)
        labels.append(content[0] > 127)
    pd.DataFrame({"file": names, "y": labels}).astype({"y": "float32"}).to_csv(place / "list.csv", index=False)


def _write(table: pd.DataFrame, path: Path) -> None:
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), path, row_group_size=100_000)


def trials(folder: Path) -> list[dict[str, float]]:
    """Return the hyperparameters of the trials that a search has made, in order."""
    found = json.loads((folder / "build/tuning/trials.json").read_text())
    return [trial["hyperparameters"] for trial in found]
