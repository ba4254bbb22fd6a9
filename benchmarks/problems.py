"""What the tuning benchmark optimises: four functions with known minima, and two learning problems."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

Values = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """Something to minimise."""

    declare: Callable[[Any], None]
    """Declares the search space on keras-tuner's `HyperParameters`."""
    evaluate: Callable[[Values], float]
    """Regret for a function with a known minimum, the validation score for a learning problem."""
    trials: int
    """Trials of a search."""


def _box(low: list[float], high: list[float]) -> Callable[[Any], None]:
    def declare(hp: Any) -> None:
        for axis, bounds in enumerate(zip(low, high, strict=True)):
            hp.Float(f"x{axis}", *bounds)

    return declare


def _point(values: Values) -> np.ndarray:
    return np.array([values[f"x{axis}"] for axis in range(len(values))])


def _branin(values: Values) -> float:
    """Dixon and Szegö 1978; minimum 0.397887."""
    x, y = _point(values)
    valley = (y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6) ** 2
    return float(valley + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.39788735772973816)


_HARTMANN = (
    np.array([1.0, 1.2, 3.0, 3.2]),
    np.array(
        [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
    ),
    np.array(
        [
            [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
            [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
            [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
            [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
        ]
    ),
)


def _hartmann(values: Values) -> float:
    """Hartmann's function in six dimensions; minimum -3.32237."""
    weights, widths, centres = _HARTMANN
    return float(3.322368011391339 - weights @ np.exp(-(widths * (_point(values) - centres) ** 2).sum(axis=1)))


def _ackley(values: Values) -> float:
    """Ackley's function; minimum 0 at the origin."""
    x = _point(values)
    bowl = -20 * math.exp(-0.2 * math.sqrt((x**2).mean()))
    return bowl - math.exp(np.cos(2 * math.pi * x).mean()) + 20 + math.e


def _rosenbrock(values: Values) -> float:
    """Rosenbrock's valley; minimum 0 at ones."""
    x = _point(values)
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


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


def network_curve(values: Values, epochs: int, fold: int = 0) -> list[float]:
    """Return the validation log-loss after each epoch of a small network on the digits data."""
    from sklearn.metrics import log_loss
    from sklearn.neural_network import MLPClassifier

    rest = {name: value for name, value in values.items() if name != "hidden"}
    train, validation, labels, expected = _folds("digits")[fold]
    model = MLPClassifier((values["hidden"],), **rest, random_state=0)
    curve = []
    for _ in range(epochs):
        model.partial_fit(train, labels, classes=np.arange(10))
        curve.append(float(log_loss(expected, model.predict_proba(validation))))
    return curve


def _network(values: Values) -> float:
    """Log-loss after twelve epochs."""
    return network_curve(values, 12)[-1]


PROBLEMS = {
    "Branin": Problem(_box([-5, 0], [10, 15]), _branin, 50),
    "Hartmann-6": Problem(_box([0] * 6, [1] * 6), _hartmann, 50),
    "Ackley-5": Problem(_box([-32.768] * 5, [32.768] * 5), _ackley, 50),
    "Rosenbrock-4": Problem(_box([-5] * 4, [10] * 4), _rosenbrock, 50),
    "boosting": Problem(_declare_boosting, _boosting, 40),
    "network": Problem(_declare_network, _network, 40),
}
FUNCTIONS = ("Branin", "Hartmann-6", "Ackley-5", "Rosenbrock-4")
LEARNING = ("boosting", "network")
