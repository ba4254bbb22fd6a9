"""What the tuning benchmark optimises: functions with known minima, and three learning problems."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks import curves, functions, kinds, learning
from benchmarks.functions import Values


@dataclass(frozen=True)
class Problem:
    """Something to minimise."""

    declare: Callable[[Any], None]
    """Declares the search space on keras-tuner's `HyperParameters`."""
    curve: Callable[[Values], list[float]]
    """What a trial reports, epoch by epoch; the last one counts: regret for a function, else the validation loss."""
    trials: int
    """Trials of a search."""
    epochs: float = math.inf
    """Epochs of a complete trial, where a search must know them: there is nothing left to stop after the last one."""


def _once(evaluate: Callable[[Values], float]) -> Callable[[Values], list[float]]:
    return lambda values: [evaluate(values)]


@cache
def _folds(name: str) -> list[tuple[np.ndarray, ...]]:
    """Return standardised (train, validation, labels, validation labels) of two fixed folds."""
    from sklearn import datasets
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    data, target = getattr(datasets, f"load_{name}")(return_X_y=True)
    folds = []
    for train, validation in StratifiedKFold(2, shuffle=True, random_state=0).split(data, target):
        scaler = StandardScaler().fit(data[train])
        scaled = scaler.transform(data[train]), scaler.transform(data[validation])
        folds.append((*scaled, target[train], target[validation]))
    return folds


def _declare_boosting(hp: Any) -> None:
    hp.Float("learning_rate", 0.005, 1.0, sampling="log")
    hp.Int("n_estimators", 10, 60, sampling="log")
    hp.Int("max_depth", 1, 6)
    hp.Float("subsample", 0.3, 1.0)
    hp.Int("min_samples_leaf", 1, 50, sampling="log")


def _boosting(values: Values) -> float:
    """Cross-validated log-loss of gradient boosting on the breast-cancer data."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.metrics import log_loss

    losses = []
    for train, validation, labels, expected in _folds("breast_cancer"):
        model = GradientBoostingClassifier(**values, max_features="sqrt", random_state=0).fit(train, labels)
        losses.append(log_loss(expected, model.predict_proba(validation)))
    return float(np.mean(losses))


def _declare_network(hp: Any) -> None:
    hp.Int("hidden", 8, 128, sampling="log")
    hp.Float("learning_rate_init", 1e-4, 0.1, sampling="log")
    hp.Float("alpha", 1e-6, 1.0, sampling="log")
    hp.Int("batch_size", 32, 256, step=2, sampling="log")
    hp.Choice("activation", ["relu", "tanh", "logistic"])


def _network(values: Values) -> list[float]:
    """Return the validation log-loss after each of twelve epochs of a small network on the digits data."""
    from sklearn.metrics import log_loss
    from sklearn.neural_network import MLPClassifier

    rest = {name: value for name, value in values.items() if name != "hidden"}
    train, validation, labels, expected = _folds("digits")[0]
    model = MLPClassifier((values["hidden"],), **rest, random_state=0)
    curve = []
    for _ in range(12):
        model.partial_fit(train, labels, classes=np.arange(10))
        curve.append(float(log_loss(expected, model.predict_proba(validation))))
    return curve


@cache
def _task() -> tuple[Any, ...]:
    """Return settings, encoder, and encoded training and validation days of the shipped task, a tenth of the rows."""
    from ci import configuration, task
    from ci.rows import Rows
    from ci.training.fit import encode
    from ci.training.inputs import make_deterministic, prepared

    settings = configuration.effective()
    make_deterministic(settings.seed, settings.training.threads)
    train = prepared("train").whole().sample(frac=0.1, random_state=0)
    encoder = task.part("model.features", "encoder")(train)
    wanted = task.load()
    return settings, encoder, encode(encoder, Rows.of(train), wanted), encode(encoder, prepared("validation"), wanted)


def _declare_task(hp: Any) -> None:
    from ci import task

    task.part("model.network", "build")(hp, _task()[1])


def _task_network(values: Values) -> list[float]:
    """Return the validation loss after each of four epochs of the shipped network."""
    import keras
    import keras_tuner

    from ci import task
    from ci.training.fit import fit

    settings, encoder, train, validation = _task()
    keras.backend.clear_session()
    keras.utils.set_random_seed(settings.seed)
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    network = task.part("model.network", "build")(hp, encoder)
    return [float(loss) for loss in fit(network, train, validation, settings, 4).history["val_loss"]]


def _function(function: functions.Function) -> Problem:
    return Problem(partial(functions.declare, function), _once(partial(functions.regret, function)), 50)


def _curves(each: curves.Learning) -> Problem:
    return Problem(each.declare, each.curve, curves.TRIALS, curves.EPOCHS)


PROBLEMS = {
    **{name: _function(entry) for name, entry in {**functions.FIRST, **functions.OTHERS, **functions.UNSEEN}.items()},
    **{name: Problem(kind.declare, _once(kind.regret), 50) for name, kind in {**kinds.CHOSEN, **kinds.HELD}.items()},
    **{name: _curves(each) for name, each in {**curves.CURVES, **curves.CURVES_HELD}.items()},
    "boosting": Problem(_declare_boosting, _once(_boosting), 40),
    "network": Problem(_declare_network, _network, 40),
    "convolution": Problem(learning.declare_convolution, learning.convolution, 40),
    "recurrent": Problem(learning.declare_recurrent, learning.recurrent, 40),
    "conditional": Problem(learning.declare_conditional, _once(learning.conditional), 40),
    "task": Problem(_declare_task, _task_network, 30),
}
LEARNING = ("boosting", "network")
REAL = ("convolution", "recurrent", "conditional")
"""Searches as people run them, of `REAL_SEEDS` seeds."""
REAL_SEEDS = 5
