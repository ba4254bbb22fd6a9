"""The search space as numbers.

Every hyperparameter that can vary is one coordinate in [0, 1], its *unit*; a trial is a row of units, NaN where a
condition makes a hyperparameter inactive. Grids, logarithmic scales and categories are handled here and nowhere
else, so that the rest of the search sees plain arrays.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras_tuner
import numpy as np

from ci.errors import InputError

Array = Any
"""A numpy array; its shape is in the docstrings."""
Values = dict[str, Any]

LEVELS = 10
"""Values that a grid takes of a range without steps, as keras-tuner's own grid does."""


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter: its values in order, and where each lies between 0 and 1."""

    hp: Any
    """keras-tuner's description: name, bounds, step, sampling, conditions."""

    @cached_property
    def choices(self) -> tuple[Any, ...] | None:
        """The listed values, or None for a number in a range."""
        name = type(self.hp).__name__
        if name == "Fixed":
            return (self.hp.value,)
        if name == "Boolean":
            return (False, True)
        if name == "Choice":
            values = tuple(dict.fromkeys(self.hp.values))
            return tuple(sorted(values)) if self.hp.ordered else values
        return None

    @cached_property
    def count(self) -> float:
        """The number of values: infinite for a Float without step."""
        if self.choices is not None:
            return len(self.choices)
        low, high, step = self.hp.min_value, self.hp.max_value, self.hp.step
        if low == high:
            return 1
        if step is None:
            return high - low + 1 if self.is_integer else math.inf
        span = (high - low) / step if self.hp.sampling == "linear" else math.log(high / low, step)
        return math.floor(span + 1e-9) + 1

    @cached_property
    def is_integer(self) -> bool:
        """Whether it is an `Int`."""
        return type(self.hp).__name__ == "Int"

    @cached_property
    def is_categorical(self) -> bool:
        """Whether its values have no order; two values need none."""
        return self.choices is not None and len(self.choices) > 2 and not getattr(self.hp, "ordered", False)

    @cached_property
    def is_even(self) -> bool:
        """Whether its values lie evenly between 0 and 1: all but an Int on a logarithmic scale without step do."""
        return self.choices is not None or self.hp.step is not None

    def unit(self, index: Array) -> Array:
        """Return the units of values given by their number in order, from 0; any shape."""
        if self.is_categorical:
            return (index + 0.5) / self.count
        if self.is_even:
            return index / max(self.count - 1, 1)
        return self._scaled(self.hp.min_value + index)

    def index(self, unit: Array) -> Array:
        """Return the numbers of the values nearest to units; only where `count` is finite."""
        if self.is_categorical:
            index = np.floor(unit * self.count)
        elif self.is_even:
            index = np.rint(unit * (self.count - 1))
        else:
            index = np.rint(self._unscaled(unit) - self.hp.min_value)
        return np.clip(index, 0, self.count - 1)

    def spread(self, quantile: Array) -> Array:
        """Return units whose values follow the sampling's distribution, from uniform numbers in [0, 1)."""
        if math.isinf(self.count):
            return quantile
        if self.is_even:
            return self.unit(np.minimum(np.floor(quantile * self.count), self.count - 1))
        # As in keras-tuner the range ends at max_value + 1, exclusive; only the end is guarded here.
        low, high = self.hp.min_value, self.hp.max_value
        share = quantile if self.hp.sampling == "log" else 1 - quantile
        drawn = np.minimum(np.floor(low * ((high + 1) / low) ** share), high)
        return self._scaled(drawn if self.hp.sampling == "log" else high + low - drawn)

    def snap(self, unit: Array) -> Array:
        """Return the unit of the nearest value."""
        return np.clip(unit, 0, 1) if math.isinf(self.count) else self.unit(self.index(unit))

    def value(self, unit: float) -> Any:
        """Return the value at a unit, as the plain Python type that the hyperparameter declares."""
        if math.isinf(self.count):
            return float(np.clip(self._unscaled(np.asarray(unit)), self.hp.min_value, self.hp.max_value))
        index = int(self.index(np.asarray(unit)))
        if self.choices is not None:
            return self.choices[index]
        low, high, step = self.hp.min_value, self.hp.max_value, self.hp.step
        if self.count == 1:
            return low
        if step is None:
            return low + index
        if self.hp.sampling == "linear":
            value = low + index * step
        elif self.hp.sampling == "log":
            value = low * step**index
        else:
            value = high + low - low * step ** (int(self.count) - 1 - index)
        # Without what binary fractions add: 0.3, not 0.30000000000000004.
        return int(value) if self.is_integer else min(float(f"{value:.12g}"), float(high))

    def locate(self, value: Any) -> float:
        """Return the unit of a value, or of the nearest one where it is off the grid."""
        if self.choices is not None:
            if value in self.choices:
                return float(self.unit(np.asarray(self.choices.index(value))))
            if isinstance(value, (int, float)) and isinstance(self.choices[0], (int, float)):
                nearest = int(np.argmin([abs(choice - value) for choice in self.choices]))
                return float(self.unit(np.asarray(nearest)))
            raise InputError(f"{self.hp.name}: {value!r} is not one of {list(self.choices)}")
        low, high, step = self.hp.min_value, self.hp.max_value, self.hp.step
        if self.count == 1:
            return 0.0
        value = min(max(value, low), high)
        if step is None:
            return float(self._scaled(np.asarray(value)))
        if self.hp.sampling == "linear":
            index = (value - low) / step
        elif self.hp.sampling == "log":
            index = math.log(value / low, step)
        else:
            index = self.count - 1 - math.log((high + low - value) / low, step)
        return float(self.unit(np.clip(np.rint(index), 0, self.count - 1)))

    def contains(self, value: Any) -> bool:
        """Whether a value is exactly one of the hyperparameter's values."""
        if self.choices is not None:
            return value in self.choices
        inside = isinstance(value, (int, float)) and self.hp.min_value <= value <= self.hp.max_value
        return inside and bool(self.value(self.locate(value)) == value)

    def units(self) -> Iterator[float]:
        """Yield the units of all values; only where `count` is finite."""
        return (float(self.unit(np.asarray(index))) for index in range(int(self.count)))

    def levels(self) -> list[float]:
        """Return the units that a grid visits: all values, or `LEVELS` of a range without step."""
        if self.is_even or self.count <= LEVELS:
            return list(self.units())
        return list(dict.fromkeys(self.snap(np.linspace(0, 1, LEVELS)).tolist()))

    def _scaled(self, value: Array) -> Array:
        low, high = float(self.hp.min_value), float(self.hp.max_value)
        if self.hp.sampling == "linear":
            return (value - low) / (high - low)
        if self.hp.sampling == "log":
            return np.log(value / low) / math.log(high / low)
        return 1 - np.log((high + low - value) / low) / math.log(high / low)

    def _unscaled(self, unit: Array) -> Array:
        low, high = float(self.hp.min_value), float(self.hp.max_value)
        if self.hp.sampling == "linear":
            return low + unit * (high - low)
        if self.hp.sampling == "log":
            return low * (high / low) ** unit
        return high + low - low * (high / low) ** (1 - unit)


class Space:
    """All hyperparameters of a search, in the order in which the model declares them."""

    def __init__(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        """Read the space that a model declared.

        Raises:
            InputError: it declares nothing at all.
        """
        self.entries = [Dimension(hp) for hp in hyperparameters.space]
        if not self.entries:
            raise InputError(
                "the search space is empty: declare a hyperparameter in the model's build function, such as "
                'hp.Float("dropout", 0.0, 0.5), or hp.Fixed for a single trial'
            )
        self.dimensions = [entry for entry in self.entries if entry.count > 1]
        """The hyperparameters that can vary: the columns of a row of units."""
        self._column = {id(entry): column for column, entry in enumerate(self.dimensions)}
        widths = [int(entry.count) if entry.is_categorical else 1 for entry in self.dimensions]
        self.group = np.repeat(np.arange(len(self.dimensions)), widths)
        """For each coordinate of `embed`, the column it came from; shape (coordinates,)."""

    def spread(self, quantiles: Array) -> Array:
        """Return rows of units that follow each sampling's distribution, from uniform numbers (rows, columns)."""
        units = np.empty_like(quantiles)
        for column, entry in enumerate(self.dimensions):
            units[:, column] = entry.spread(quantiles[:, column])
        return self._without_inactive(units)

    def snap(self, units: Array) -> Array:
        """Return rows (rows, columns) moved to the nearest values; NaN where a hyperparameter is inactive."""
        moved = np.where(np.isnan(units), 0.5, units)
        for column, entry in enumerate(self.dimensions):
            moved[:, column] = entry.snap(moved[:, column])
        return self._without_inactive(moved)

    def embed(self, units: Array) -> Array:
        """Return points (rows, coordinates) for the kernel: categories one-hot at distance 1, inactive ones neutral."""
        parts = []
        for column, entry in enumerate(self.dimensions):
            unit = units[:, column]
            if entry.is_categorical:
                count = int(entry.count)
                hot = np.eye(count)[entry.index(np.nan_to_num(unit)).astype(int)]
                parts.append(np.where(np.isnan(unit)[:, None], 1 / count, hot) / math.sqrt(2))
            else:
                parts.append(np.where(np.isnan(unit), 0.5, unit)[:, None])
        return np.concatenate(parts, axis=1)

    def values(self, row: Array) -> Values:
        """Return the active values of one row of units, as keras-tuner's trials carry them."""
        values: Values = {}
        for entry in self.entries:
            if entry.hp.name not in values and all(condition.is_active(values) for condition in entry.hp.conditions):
                unit = row[self._column[id(entry)]] if id(entry) in self._column else 0.0
                values[entry.hp.name] = entry.value(0.5 if np.isnan(unit) else float(unit))
        return values

    def locate(self, values: Mapping[str, Any]) -> Array:
        """Return the row of units of a trial's values; what it has no value for is inactive."""
        row = np.full(len(self.dimensions), np.nan)
        seen: set[str] = set()
        for entry in self.entries:
            name = entry.hp.name
            if name in seen or name not in values or not all(c.is_active(values) for c in entry.hp.conditions):
                continue
            seen.add(name)
            if id(entry) in self._column:
                row[self._column[id(entry)]] = entry.locate(values[name])
        return row

    def is_active(self, units: Array) -> Array:
        """Return which hyperparameters are active; shape and order of `units`."""
        return ~np.isnan(self._without_inactive(np.where(np.isnan(units), 0.5, units)))

    @cached_property
    def size(self) -> float:
        """The number of different trials, infinite if a number can be anything in a range."""
        return self._count(0, {})

    def grid(self) -> Iterator[Values]:
        """Yield every combination of the levels once, in a fixed order."""
        yield from self._walk(0, {}, Dimension.levels)

    def combinations(self) -> Iterator[Values]:
        """Yield every combination of a finite space once, lazily: there may be very many."""
        yield from self._walk(0, {}, Dimension.units)

    def _walk(self, position: int, values: Values, units: Callable[[Dimension], Iterable[float]]) -> Iterator[Values]:
        if position == len(self.entries):
            yield values
            return
        entry = self.entries[position]
        if not self._is_open(entry, values):
            yield from self._walk(position + 1, values, units)
            return
        for unit in units(entry):
            yield from self._walk(position + 1, {**values, entry.hp.name: entry.value(unit)}, units)

    def _count(self, position: int, values: Values) -> float:
        if position == len(self.entries):
            return 1
        entry = self.entries[position]
        if not self._is_open(entry, values):
            return self._count(position + 1, values)
        deciding = {value for value in self._deciding(entry.hp.name) if entry.contains(value)}
        branches = sum(self._count(position + 1, {**values, entry.hp.name: value}) for value in deciding)
        rest = entry.count - len(deciding)
        # None stands for all the values that open no condition.
        return branches + (rest * self._count(position + 1, {**values, entry.hp.name: None}) if rest else 0)

    def _deciding(self, name: str) -> set[Any]:
        conditions = (condition for entry in self.entries for condition in entry.hp.conditions)
        return {value for condition in conditions if condition.name == name for value in condition.values}

    @staticmethod
    def _is_open(entry: Dimension, values: Mapping[str, Any]) -> bool:
        return entry.hp.name not in values and all(c.is_active(values) for c in entry.hp.conditions)

    def _without_inactive(self, units: Array) -> Array:
        """Return `units` with NaN where a condition does not hold; parents come before their children."""
        result = units.copy()
        open_rows: dict[int, Array] = {}
        for position, entry in enumerate(self.entries):
            rows = np.ones(len(units), dtype=bool)
            for earlier in self.entries[:position]:
                if earlier.hp.name == entry.hp.name:
                    rows &= ~open_rows[id(earlier)]
            for condition in entry.hp.conditions:
                parents = [parent for parent in self.entries[:position] if parent.hp.name == condition.name]
                rows &= np.any(
                    [open_rows[id(p)] & self._is_among(p, condition.values, result) for p in parents], axis=0
                )
            open_rows[id(entry)] = rows
            if id(entry) in self._column:
                result[~rows, self._column[id(entry)]] = np.nan
        return result

    def _is_among(self, entry: Dimension, values: list[Any], units: Array) -> Array:
        """Return which rows give a hyperparameter one of `values`; shape (rows,)."""
        if id(entry) not in self._column:
            return np.full(len(units), entry.value(0.0) in values)
        wanted = [entry.locate(value) for value in values if entry.contains(value)]
        return np.any(
            [np.isclose(units[:, self._column[id(entry)]], unit, rtol=0, atol=1e-12) for unit in wanted], axis=0
        )
