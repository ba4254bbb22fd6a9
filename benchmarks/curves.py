"""Functions with learning curves: what stopping poor trials gains at equal epochs costs nothing to measure here.

A trial begins at `START` and falls towards an end that grows with the regret of a function of `benchmarks.kinds`. How
fast, its first hyperparameter says, as a learning rate would: the curves of slow and fast trials cross.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.functions import Values
from benchmarks.kinds import CHOSEN, HELD, Kind
from benchmarks.lines import Line

EPOCHS = 16
BUDGET = 20 * EPOCHS
"""Epochs of a search: those of twenty trials that are run to their end."""
TRIALS = 60
"""Of a search that stops poor ones: more than it can begin within `BUDGET`."""
SEEDS = 2
START = 4.0
_SLOWEST, _FACTOR = 0.1, 12.0
"""Share of the way that an epoch of the slowest trial goes, and how many times faster the fastest one is."""
OURS, ASHA, WHOLE = "ours, stopping", "ours, random, stopping", "ours"
"""The searches: with the process, by chance (ASHA in its stopping form), and with the process but without stopping."""
Job = tuple[str, str, int, int]
"""Problem, search, seed and trials."""
Runs = Mapping[Job, Mapping[str, Any]]


@dataclass(frozen=True)
class Learning:
    """A function whose value a trial comes to epoch by epoch."""

    function: Kind

    def declare(self, hp: Any) -> None:
        """Declare the box on keras-tuner's `HyperParameters`."""
        self.function.declare(hp)

    def curve(self, values: Values) -> list[float]:
        """Return the loss after each epoch."""
        logarithm = math.log1p(self.function.regret(values))
        end = START * logarithm / (START + logarithm)
        rate = _SLOWEST * _FACTOR ** values["x0"]
        return [end + (START - end) * math.exp(-rate * epoch) for epoch in range(1, EPOCHS + 1)]


def _some(functions: Mapping[str, Kind]) -> dict[str, Learning]:
    """Return those of five dimensions in their first instance whose hyperparameters are numbers without steps."""
    return {
        f"curves, {name}": Learning(kind)
        for name, kind in functions.items()
        if (kind.dimensions, kind.instance, kind.whole) == (5, 0, 0)
    }


CURVES, CURVES_HELD = _some(CHOSEN), _some(HELD)
"""On the first half choices were made, on the other none."""
ALL = {**CURVES, **CURVES_HELD}


def jobs(*, quick: bool) -> Iterator[Job]:
    """Yield what is run; quickly it is one search of four of the held half."""
    for name in list(CURVES_HELD)[:4] if quick else ALL:
        for seed in range(1 if quick else SEEDS):
            yield from ((name, search, seed, TRIALS) for search in (OURS, ASHA))
            yield name, WHOLE, seed, BUDGET // EPOCHS


def within(run: Mapping[str, Any], budget: int) -> float:
    """Return the best value of a trial that was run to its end within so many epochs of a search."""
    spent = np.cumsum(run["epochs"])
    return min(
        value
        for value, stopped, end in zip(run["values"], run["stopped"], spent, strict=True)
        if not stopped and end <= budget
    )


def lines(runs: Runs) -> Iterator[Line]:
    """Compare at equal epochs: ours with ASHA, and ours with itself without stopping."""
    for half, problems in {"chosen on": CURVES, "held out": CURVES_HELD}.items():
        found = [(problem, seed) for problem, search, seed, _ in runs if problem in problems and search == OURS]
        for name, peer in {"ASHA's": ASHA, "its own without stopping": WHOLE}.items():
            others = [(problem, peer, seed, TRIALS if peer == ASHA else BUDGET // EPOCHS) for problem, seed in found]
            if not found or any(other not in runs for other in others):
                continue
            pairs = [
                (within(runs[job], BUDGET), within(runs[other], BUDGET))
                for job, other in zip(((problem, OURS, seed, TRIALS) for problem, seed in found), others, strict=True)
            ]
            mean = float(np.exp(np.mean([np.log(mine / theirs) for mine, theirs in pairs])))
            wins = float(np.mean([(mine < theirs) + 0.5 * (mine == theirs) for mine, theirs in pairs]))
            label = f"curves, {half}, {len(found)} searches of {BUDGET} epochs"
            yield Line(f"{label}: loss / {name}, geometric mean", mean, "<= 1", mean <= 1)
            yield Line(f"{label}: wins against {name}", wins, ">= 0.5", wins >= 0.5)
