"""The search space as numbers.

Every hyperparameter that can vary is one coordinate in [0, 1], its *unit*; a trial is a row of units, NaN where a
condition makes a hyperparameter inactive. Grids, logarithmic scales and categories are handled here and nowhere
else, so that the rest of the search sees plain arrays.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import keras_tuner
import numpy as np

Array = Any
"""A numpy array; its shape is in the docstrings."""
Values = dict[str, Any]

LEVELS = 10
"""Values that a grid takes of a range without steps, as keras-tuner's own grid does."""


class Dimension:
    """One hyperparameter as keras-tuner describes it.

    Each of finitely many values has a bin between 0 and 1 and lies in the middle of it. The bins are equally wide,
    but for an Int on a logarithmic scale without step, where they follow the scale. A reversed scale is a mirror.

    >>> hp = keras_tuner.HyperParameters()
    >>> _ = hp.Float("rate", 0.01, 1.0, sampling="log")
    >>> rate = Dimension(hp.space[0])
    >>> round(rate.value(0.5), 6), rate.unit(0.1)
    (0.1, 0.5)
    """

    def __init__(self, hp: Any) -> None:
        """Read name, bounds, step, sampling and conditions."""
        self.hp, self.name = hp, hp.name
        kind, sampling = type(hp).__name__, getattr(hp, "sampling", "linear")
        self._is_log, self._is_mirrored = sampling != "linear", sampling == "reverse_log"
        self._is_integer = kind == "Int"
        if kind in ("Fixed", "Boolean"):
            values = [hp.value] if kind == "Fixed" else [False, True]
        elif kind == "Choice":
            values = sorted(hp.values) if hp.ordered else hp.values
        else:
            values = [hp.min_value] if hp.min_value == hp.max_value else []
        self.choices = tuple(dict.fromkeys(values))
        """The listed values; none for a number in a range."""
        self.is_categorical = kind == "Boolean" or (kind == "Choice" and not hp.ordered)
        self._is_scaled = not self.choices and hp.step is None and (self._is_log or not self._is_integer)
        self.count = float(len(self.choices) or self._count())
        """The number of values: infinite for a Float without step."""

    def _count(self) -> float:
        low, high, step = self.hp.min_value, self.hp.max_value, self.hp.step
        if step is None:
            return high - low + 1 if self._is_integer else math.inf
        return math.floor((math.log(high / low, step) if self._is_log else (high - low) / step) + 1e-9) + 1

    def value(self, unit: float) -> Any:
        """Return the value at a unit, as the plain Python type that the hyperparameter declares."""
        if self._is_scaled:  # at 1 keras-tuner 1.4.8 returns an Int's maximum plus 1
            value = min(max(self.hp.prob_to_value(unit), self.hp.min_value), self.hp.max_value)
            return int(value) if self._is_integer else float(value)
        return self.at(int(unit * self.count))

    def at(self, index: int) -> Any:
        """Return a value by its number in order, from 0; only where `count` is finite."""
        index = int(min(max(index, 0), self.count - 1))
        if self.choices:
            return self.choices[index]
        low, high, step = self.hp.min_value, self.hp.max_value, self.hp.step
        if self._is_log and step:
            value = low * step ** (self.count - 1 - index if self._is_mirrored else index)
            value = high + low - value if self._is_mirrored else value
        else:
            value = low + index * (step or 1)
        if self._is_integer:
            return min(max(int(value), low), high)
        # Without what binary fractions add: 0.3, not 0.30000000000000004, unless steps are as small as that.
        rounded = float(f"{value:.12g}")
        width = value * (step - 1) if self._is_log else step
        return min(max(rounded if abs(rounded - value) < 1e-6 * width else value, float(low)), float(high))

    def unit(self, value: Any) -> float:
        """Return the unit of one of the values."""
        if self._is_scaled:
            return float(self.hp.value_to_prob(value))
        if self.choices:
            return (self.choices.index(value) + 0.5) / self.count
        low, high, step = self.hp.min_value, self.hp.max_value, self.hp.step
        value = high + low - value if self._is_mirrored else value
        index = math.log(value / low, step) if self._is_log else (value - low) / step
        unit = (round(index) + 0.5) / self.count
        return 1 - unit if self._is_mirrored else unit

    def levels(self) -> Iterator[Any]:
        """Yield all values, or `LEVELS` of a range without step."""
        if math.isinf(self.count):
            return (self.value(unit) for unit in np.linspace(0, 1, LEVELS).tolist())
        return (self.at(index) for index in range(int(self.count)))


class Space:
    """All hyperparameters of a search, in the order in which the model declares them.

    >>> hp = keras_tuner.HyperParameters()
    >>> _ = hp.Int("layers", 1, 4), hp.Choice("kind", ["a", "b"])
    >>> space = Space(hp)
    >>> space.values([0.9, 0.2])
    {'layers': 4, 'kind': 'a'}
    >>> space.locate({"layers": 4, "kind": "b"}).tolist()
    [0.875, 0.75]
    >>> space.embed(np.array([[0.875, 0.75]])).round(2).tolist()
    [[0.88, 0.0, 0.71]]
    """

    def __init__(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        """Read the space that a model declared.

        Raises:
            ValueError: it declares nothing at all.
        """
        self.entries = [Dimension(hp) for hp in hyperparameters.space]
        if not self.entries:
            raise ValueError("there are no hyperparameters")
        self.dimensions = [entry for entry in self.entries if entry.count > 1]
        """The hyperparameters that can vary: the columns of a row of units."""
        self._column = {id(entry): column for column, entry in enumerate(self.dimensions)}
        widths = [int(entry.count) if entry.is_categorical else 1 for entry in self.dimensions]
        self.group = np.repeat(np.arange(len(self.dimensions)), widths)
        """For each coordinate of `embed`, the column it came from; shape (coordinates,)."""
        self.size = math.prod(entry.count for entry in self.dimensions)
        """Different trials at most; fewer if there are conditions, infinite with a Float without step."""
        is_infinite = all(math.isinf(entry.count) for entry in self.dimensions)
        self._is_smooth = is_infinite and not any(entry.hp.conditions for entry in self.entries)

    def snap(self, rows: Array) -> Array:
        """Return rows (rows, columns) moved to existing values; NaN where a hyperparameter is inactive."""
        if self._is_smooth:
            return np.clip(rows, 0, 1)
        return np.array([self.locate(self.values(row)) for row in rows.tolist()]).reshape(rows.shape)

    def embed(self, rows: Array) -> Array:
        """Return points (rows, coordinates) for the kernel: categories one-hot at distance 1, inactive ones neutral."""
        parts = []
        for units, entry in zip(rows.T, self.dimensions, strict=True):
            if entry.is_categorical:
                chosen = np.minimum(np.nan_to_num(units) * entry.count, entry.count - 1).astype(int)
                hot = np.eye(int(entry.count))[chosen]
                parts.append(np.where(np.isnan(units)[:, None], 1 / entry.count, hot) / math.sqrt(2))
            else:
                parts.append(np.where(np.isnan(units), 0.5, units)[:, None])
        return np.concatenate(parts, axis=1)

    def values(self, row: Any) -> Values:
        """Return the active values of one row of units, as keras-tuner's trials carry them."""
        values: Values = {}
        for entry in self.entries:
            if self._is_open(entry, values):
                unit = row[self._column[id(entry)]] if id(entry) in self._column else 0.5
                values[entry.name] = entry.value(0.5 if math.isnan(unit) else unit)
        return values

    def locate(self, values: Mapping[str, Any]) -> Array:
        """Return the row of units of a trial's values; what it has no value for is inactive."""
        row = np.full(len(self.dimensions), np.nan)
        active: Values = {}
        for entry in self.entries:
            if entry.name in values and self._is_open(entry, active):
                active[entry.name] = values[entry.name]
                if id(entry) in self._column:
                    row[self._column[id(entry)]] = entry.unit(values[entry.name])
        return row

    def nearest(self, values: Mapping[str, Any]) -> Values | None:
        """Return what is nearest to values of another space; None if one of them is not in this space.

        What this space has and the other one had not takes its default.

        >>> hp = keras_tuner.HyperParameters()
        >>> _ = hp.Int("layers", 1, 4), hp.Choice("kind", ["a", "b"], default="b")
        >>> Space(hp).nearest({"layers": 3, "gone": 1.0}), Space(hp).nearest({"layers": 9})
        ({'layers': 3, 'kind': 'b'}, None)
        """
        row = np.full(len(self.dimensions), np.nan)
        for column, entry in enumerate(self.dimensions):
            try:
                row[column] = entry.unit(values.get(entry.name, entry.hp.default))
            except (TypeError, ValueError):  # another type, no such choice, or no logarithm
                return None
        return self.values(row.tolist()) if ((row >= 0) & (row <= 1)).all() else None

    def grid(self, position: int = 0, values: Values | None = None) -> Iterator[Values]:
        """Yield every combination of the levels once, in a fixed order, lazily: there may be very many."""
        values = values or {}
        if position == len(self.entries):
            yield values
            return
        entry = self.entries[position]
        for more in ({entry.name: value} for value in entry.levels()) if self._is_open(entry, values) else [{}]:
            yield from self.grid(position + 1, {**values, **more})

    @staticmethod
    def _is_open(entry: Dimension, values: Values) -> bool:
        return entry.name not in values and all(condition.is_active(values) for condition in entry.hp.conditions)
