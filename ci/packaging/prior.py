"""What a package keeps of its search, so that the search of the next build can begin there."""

from collections.abc import Iterable
from typing import Any, Literal

from ci.results.training import Trial

MOST = 32
"""Trials that are kept: they are part of a release's evidence, which has to stay small."""


def known(trials: Iterable[Trial], direction: Literal["min", "max"]) -> list[dict[str, Any]]:
    """Return the best trials of a search that were run to their end, the best first."""
    sign = 1.0 if direction == "min" else -1.0
    ended = [(trial.objective, trial) for trial in trials if trial.objective is not None and not trial.stopped]
    ended.sort(key=lambda pair: sign * pair[0])
    return [{"hyperparameters": trial.hyperparameters, "objective": value} for value, trial in ended[:MOST]]
