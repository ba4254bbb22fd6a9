"""What is counted of each part while its rows are written."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from ci.data.windows import calendar_days
from ci.results.data import Part
from ci.task import Task, columns

_SMALL = 1e-3
"""Below this a mean is kept with six digits, not six decimals."""


@dataclass
class Tally:
    """Counts of one part.

    Attributes:
        wanted: the task.
        rows: those that are kept.
        unlabelled: rows without a label, kept or not.
        days: the calendar days of the rows, if they have any.
        weighs: whether any row has a weight above 0.
        groups: rows by group, kept or not.
    """

    wanted: Task
    rows: int = 0
    unlabelled: int = 0
    days: set[date] = field(default_factory=set)
    weighs: bool = False
    groups: Counter[Any] = field(default_factory=Counter)
    _known: int = 0
    _sums: dict[str, Any] = field(default_factory=dict)

    def meet(self, rows: pd.DataFrame) -> None:
        """Count rows before those without a label are left out."""
        self.unlabelled += int((~columns.labelled(rows, self.wanted)).sum())
        if self.wanted.group is not None:
            self.groups.update(rows[self.wanted.group].value_counts().to_dict())

    def keep(self, rows: pd.DataFrame) -> None:
        """Count rows that are kept."""
        wanted = self.wanted
        self.rows += len(rows)
        if wanted.time is not None:
            self.days.update(np.unique(calendar_days(rows[wanted.time])).tolist())
        if wanted.weight is not None:
            self.weighs |= bool((rows[wanted.weight] > 0).any())
        rows = rows[columns.labelled(rows, wanted)]
        self._known += len(rows)
        for output in wanted.outputs if len(rows) else ():
            values = columns.outcomes(rows, output)
            if output.kind in ("binary", "multiclass"):
                counts = np.bincount(values.astype(int), minlength=max(len(output.classes), 2))
                self._add(f"{output.name} by class", counts)
            if output.kind != "multiclass":
                self._add(output.name, np.atleast_1d(values.sum(axis=0)))

    def _add(self, name: str, values: Any) -> None:
        self._sums[name] = self._sums[name] + values if name in self._sums else values

    def balance(self) -> dict[str, float]:
        """Return the mean of each number that is predicted, and the share of each class."""
        found: dict[str, float] = {}
        for output in self.wanted.outputs if self._known else ():
            if output.kind == "multiclass":
                shares = self._sums[f"{output.name} by class"] / self._known
                names = [f"{output.target[0]} is {name}" for name in output.classes]
            else:
                shares, names = self._sums[output.name] / self._known, list(output.target)
            found |= dict(zip(names, shares.tolist(), strict=True))
        return {name: round(float(v), 6) if abs(v) >= _SMALL else float(f"{v:.6g}") for name, v in found.items()}

    def absent(self, output: str) -> list[int]:
        """Return the numbers of the classes of an output that no row has."""
        return np.flatnonzero(self._sums.get(f"{output} by class", np.zeros(0)) == 0).tolist()


def absent(tallies: Mapping[Part, Tally], wanted: Task) -> list[str]:
    """Return in sentences which classes no row of a part has: nothing can be learned, or nothing judged, about them."""
    notes = []
    judged: tuple[tuple[Part, str], ...] = (("train", "learned"), ("holdout", "judged"))
    for output in wanted.outputs:
        if output.kind not in ("binary", "multiclass"):
            continue
        names = output.classes or ("0", "1")
        for part, what in judged:
            if missing := [names[number] for number in tallies[part].absent(output.name)]:
                more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
                notes.append(
                    f"no row of {part} has the {output.target[0]} {', '.join(missing[:10])}{more}: nothing is {what} "
                    "about it"
                )
    return notes


def largest_group(tallies: Mapping[Part, Tally], name: str) -> str:
    """Return in words which group is the largest, for a message about a part without rows."""
    sizes = sum((each.groups for each in tallies.values()), Counter[Any]())
    if not sizes:
        return ""
    ((group, count),) = sizes.most_common(1)
    return f"the largest {name}, {group}, has {count} of {sum(sizes.values())} rows"
