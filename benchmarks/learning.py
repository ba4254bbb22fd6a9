"""Three searches as people run them: a convolutional network, a recurrent one on text, boosting with conditions.

Each is small enough that a trial takes a second or two. Their data are scikit-learn's digits and breast-cancer rows,
and text that two random grammars of letters write.
"""

from functools import cache
from typing import Any

import numpy as np

from benchmarks.functions import Values

EPOCHS = 4
_LETTERS, _LENGTH, _TEXTS = 12, 24, 1200


def _declare_fit(hp: Any) -> None:
    hp.Float("dropout", 0.0, 0.5)
    hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    hp.Int("batch_size", 16, 128, step=2, sampling="log")


def declare_convolution(hp: Any) -> None:
    """Declare the space of a convolutional network for digits."""
    hp.Int("filters", 4, 24, sampling="log")
    hp.Int("layers", 1, 2)
    hp.Choice("kernel", [2, 3, 4])
    hp.Choice("activation", ["relu", "tanh"])
    _declare_fit(hp)


def convolution(values: Values) -> list[float]:
    """Return the validation loss after each epoch."""
    from keras import Sequential, layers

    images, labels = _digits()

    def build() -> Any:
        blocks: list[Any] = [layers.Input((8, 8, 1))]
        for _ in range(values["layers"]):
            shape = values["filters"], int(values["kernel"])
            blocks += [layers.Conv2D(*shape, padding="same", activation=values["activation"]), layers.MaxPooling2D()]
        parts = [layers.Flatten(), layers.Dropout(values["dropout"]), layers.Dense(10, activation="softmax")]
        return Sequential([*blocks, *parts])

    return _fit(build, images, labels, values)


def declare_recurrent(hp: Any) -> None:
    """Declare the space of a recurrent network for text."""
    hp.Int("embedding", 2, 16, sampling="log")
    hp.Int("units", 4, 24, sampling="log")
    hp.Boolean("both_ways")
    _declare_fit(hp)


def recurrent(values: Values) -> list[float]:
    """Return the validation loss after each epoch."""
    from keras import Sequential, layers

    texts, labels = _texts()

    def build() -> Any:
        reading: Any = layers.LSTM(values["units"])
        reading = layers.Bidirectional(reading) if values["both_ways"] else reading
        parts = [layers.Input((_LENGTH,), dtype="int32"), layers.Embedding(_LETTERS, values["embedding"]), reading]
        return Sequential([*parts, layers.Dropout(values["dropout"]), layers.Dense(2, activation="softmax")])

    return _fit(build, texts, labels, values)


def declare_conditional(hp: Any) -> None:
    """Declare twelve hyperparameters of trees, most of them only for one way to grow them."""
    hp.Choice("kind", ["boosting", "histograms", "forest"])
    hp.Choice("criterion", ["log_loss", "gini"], parent_name="kind", parent_values=["forest"])
    hp.Int("trees", 10, 60, sampling="log", parent_name="kind", parent_values=["boosting", "forest"])
    hp.Float("share", 0.2, 1.0, parent_name="kind", parent_values=["boosting", "forest"])
    hp.Int("leaf", 1, 40, sampling="log")
    hp.Int("depth", 1, 8)
    for name, low, high in (("rate", 0.01, 1.0), ("shrinkage", 0.01, 1.0), ("l2", 1e-4, 10.0)):
        parent = "boosting" if name == "rate" else "histograms"
        hp.Float(name, low, high, sampling="log", parent_name="kind", parent_values=[parent])
    hp.Float("subsample", 0.3, 1.0, parent_name="kind", parent_values=["boosting"])
    hp.Int("leaves", 3, 31, parent_name="kind", parent_values=["histograms"])
    hp.Int("rounds", 10, 60, sampling="log", parent_name="kind", parent_values=["histograms"])


def conditional(values: Values) -> float:
    """Return the cross-validated log-loss on the breast-cancer rows."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.model_selection import cross_val_score

    rows, labels = load_breast_cancer(return_X_y=True)
    common = {"max_depth": values["depth"], "min_samples_leaf": values["leaf"], "random_state": 0}
    if values["kind"] == "forest":
        some = {"n_estimators": values["trees"], "max_features": values["share"], "criterion": values["criterion"]}
        model: Any = RandomForestClassifier(**common, **some)
    elif values["kind"] == "boosting":
        some = {"n_estimators": values["trees"], "max_features": values["share"], "learning_rate": values["rate"]}
        model = GradientBoostingClassifier(**common, **some, subsample=values["subsample"])
    else:
        some = {"max_iter": values["rounds"], "max_leaf_nodes": values["leaves"], "learning_rate": values["shrinkage"]}
        model = HistGradientBoostingClassifier(**common, **some, l2_regularization=values["l2"], early_stopping=False)
    return float(-cross_val_score(model, rows, labels, cv=2, scoring="neg_log_loss").mean())


@cache
def _digits() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images.reshape(-1, 8, 8, 1) / 16, labels


@cache
def _texts() -> tuple[Any, Any]:
    """Return texts as numbers of letters: each is written by one of two chains, which are the labels."""
    rng = np.random.default_rng(0)
    chains = rng.dirichlet(np.full(_LETTERS, 0.7), size=(2, _LETTERS))
    labels = rng.integers(2, size=_TEXTS)
    texts = np.zeros((_TEXTS, _LENGTH), dtype="int32")
    texts[:, 0] = rng.integers(_LETTERS, size=_TEXTS)
    for place in range(1, _LENGTH):
        summed = chains[labels, texts[:, place - 1]].cumsum(axis=1)
        texts[:, place] = np.minimum((rng.random((_TEXTS, 1)) > summed).sum(axis=1), _LETTERS - 1)
    return texts, labels


def _fit(build: Any, inputs: Any, labels: Any, values: Values) -> list[float]:
    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    network = build()
    network.compile(keras.optimizers.Adam(values["learning_rate"]), "sparse_categorical_crossentropy")
    half = len(labels) // 2
    validation = inputs[half:], labels[half:]
    told = network.fit(
        inputs[:half],
        labels[:half],
        batch_size=values["batch_size"],
        epochs=EPOCHS,
        validation_data=validation,
        verbose=0,
    )
    return [float(loss) for loss in told.history["val_loss"]]
