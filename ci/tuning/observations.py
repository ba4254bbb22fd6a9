"""What the finished trials of a search tell a model of the objective."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ci.tuning.space import Array, Space


@dataclass(frozen=True)
class Observations:
    """Trials as arrays; less is better."""

    rows: Array
    """Units of each trial; shape (trials, columns)."""
    outputs: Array
    """Objectives, the sign turned if more is better; shape (trials,)."""
    doubt: Array
    """Deviations of the outputs from what a run to the end would have given; shape (trials,)."""


def observe(
    trials: list[Any],
    stopped: dict[str, int],
    best_until: Callable[[Any, int], float | None],
    sign: float,
    space: Space,
) -> Observations:
    """Read the finished trials.

    A complete trial counts as it is. One that was stopped counts as what complete trials gained, in the median, from
    the epoch where it stopped, with the deviation of their gains as doubt: its partial score is not taken for a final
    one. A failed trial counts as the worst, so that its neighbourhood is avoided but not forbidden.

    Args:
        trials: all trials of the search.
        stopped: trials that were stopped early, and after how many epochs.
        best_until: returns a trial's least objective after so many epochs.
        sign: -1 if more is better, else 1.
        space: the search space.
    """
    complete = [trial for trial in trials if trial.status == "COMPLETED" and trial.trial_id not in stopped]
    known = [(trial, sign * trial.score, 0.0) for trial in complete]
    for trial in trials:
        if trial.status == "COMPLETED" and trial.trial_id in stopped and len(complete) > 1:
            epochs = stopped[trial.trial_id]
            partial = [best_until(other, epochs) for other in complete]
            pairs = zip(complete, partial, strict=True)
            gains = [sign * other.score - part for other, part in pairs if part is not None]
            reached = best_until(trial, epochs)
            if gains and reached is not None:
                known.append((trial, reached + float(np.median(gains)), float(np.std(gains))))
    if known:
        worst = max(output for _, output, _ in known)
        known += [(trial, worst, 0.0) for trial in trials if trial.status == "FAILED"]
    return Observations(
        np.array([space.locate(trial.hyperparameters.values) for trial, _, _ in known]).reshape(
            len(known), len(space.dimensions)
        ),
        np.array([output for _, output, _ in known]),
        np.array([doubt for _, _, doubt in known]),
    )
