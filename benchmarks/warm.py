"""A search that begins where an earlier one ended, against one that does not: `tuning.warm_start` on functions.

The earlier search was of the same function, moved by a twentieth of the box along every hyperparameter and twice as
large: what a release later finds, whose data are others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.functions import Values
from benchmarks.lines import Line
from benchmarks.problems import PROBLEMS, Problem

FUNCTIONS = (
    "Hartmann-6", "Ackley-5", "Rosenbrock-4", "Griewank-4", "Levy-4", "Styblinski-Tang-5",
    "two basins 5D 0", "unequal powers 5D 0", "ripples 5D 1", "diverges 5D 1",
)  # fmt: skip
"""Numbers without steps only, so that they can be moved."""
TRIALS = 40
AT = (10, 40)
"""Trials after which both are compared."""
KNOWN = 32
"""Trials of the earlier search that a release keeps."""
MOVED, SCALED = 0.05, 2.0
SEEDS = 2
COLD, WARM = "ours", "ours, warm start"
Runs = Mapping[tuple[str, str, int, int], Mapping[str, Any]]


def jobs(trials: int | None) -> Iterator[tuple[str, int, int]]:
    """Yield problem, seed and trials; with `trials`, one search with that many of each of the first three."""
    for name in FUNCTIONS[:3] if trials else FUNCTIONS:
        for seed in range(1 if trials else SEEDS):
            yield name, seed, trials or PROBLEMS[name].trials


@dataclass(frozen=True)
class Earlier:
    """What the earlier search minimised."""

    problem: Problem

    def curve(self, values: Values) -> list[float]:
        """Return the objective at values: that of the later search at a point which is moved."""
        import keras_tuner

        space = keras_tuner.HyperParameters()
        self.problem.declare(space)
        ranges = {hp.name: (hp.min_value, hp.max_value) for hp in space.space}
        moved = {
            name: min(value + MOVED * (ranges[name][1] - ranges[name][0]), ranges[name][1])
            for name, value in values.items()
        }
        return [SCALED * value for value in self.problem.curve(moved)]


def lines(runs: Runs) -> Iterator[Line]:
    """Compare regret after some trials with and without; the floor keeps a regret of 0 from deciding alone."""
    there = [job for job in runs if job[1] == WARM and (job[0], COLD, *job[2:]) in runs]
    for trials in AT:
        ratios = []
        for problem, _, seed, most in (job for job in there if job[3] >= trials):
            warm, cold = (runs[problem, search, seed, most]["values"] for search in (WARM, COLD))
            floor = 1e-6 * float(np.median(cold))
            ratios.append((min(warm[:trials]) + floor) / (min(cold[:trials]) + floor))
        if not ratios:
            continue
        mean = float(np.exp(np.mean(np.log(ratios))))
        bound = 1.05 if trials == AT[-1] else 1.0
        name = f"regret after {trials} trials with warm start / without, geometric mean of {len(ratios)} searches"
        yield Line(name, mean, f"<= {bound:g}", mean <= bound)
