"""The output of a search: a line per trial, a table, each hyperparameter's importance, and the objective along it."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from keras_tuner.src.engine.oracle import Display
from scipy import stats
from threadpoolctl import threadpool_limits

from ci import workspace
from ci.results.training import BEST, FIT, TRIALS
from ci.tuning.bayes import gaussian_process
from ci.tuning.bayes.gaussian_process import Posterior
from ci.tuning.bayes.space import Array, Space

SAMPLES = 512
"""Points at which the variance of the fitted mean is split between hyperparameters."""
POINTS = 61
"""Points of a line along a hyperparameter."""


class Progress(Display):  # type: ignore[misc]
    """A line when a trial begins, with why it was picked, and one when it ends; takes the place of keras-tuner's."""

    def __init__(self, oracle: Any) -> None:
        """Print the oracle's trials, unless `verbose` is 0."""
        super().__init__(oracle)
        self._begun, self._done = oracle.clock(), 0

    def on_trial_begin(self, trial: Any) -> None:
        """Show values and reason."""
        if self.verbose:
            values = ", ".join(f"{name} {_short(value)}" for name, value in trial.hyperparameters.values.items())
            why = self.oracle.notes[trial.trial_id]["why"]
            print(f"  trial {trial.trial_id}: {values} ({why})", flush=True)

    def on_trial_end(self, trial: Any) -> None:
        """Show outcome, best so far and time left, as far as this process has seen trials end."""
        self._done += 1
        if self.verbose:
            oracle = self.oracle
            best, ended = oracle.get_best_trials(1), len(oracle.end_order)
            seconds = (oracle.clock() - self._begun) / self._done * (oracle.max_trials - ended)
            left = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
            so_far = f"best {best[0].score:.5g} in trial {best[0].trial_id}" if best else "no result yet"
            line = f"{outcome(oracle, trial)} · {ended} of {oracle.max_trials} · {so_far} · about {left} left"
            print(f"  trial {trial.trial_id} {line}", flush=True)


def outcome(oracle: Any, trial: Any) -> str:
    """Return how a trial ended, in words."""
    if trial.score is None:
        return f"{'failed' if trial.status == 'FAILED' else 'to be run again'}: {last_line(trial.message)}"
    stopped = oracle.notes[trial.trial_id].get("stopped")
    return f"stopped after epoch {stopped} at {trial.score:.5g}" if stopped else f"reached {trial.score:.5g}"


def last_line(message: str | None) -> str:
    """Return the last line of a traceback."""
    return (message or "no reason was given").strip().splitlines()[-1]


def write(folder: Path, oracle: Any) -> None:
    """Write best.json, trials.json, trials.csv and fit.json into a folder."""
    trials = [_row(oracle, trial) for trial in oracle.trials.values()]
    BEST.write(_row(oracle, oracle.get_best_trials(1)[0]), folder)
    TRIALS.write(trials, folder)
    names = list(dict.fromkeys(name for row in trials for name in row["hyperparameters"]))
    table = [["trial", "objective", "epoch", "outcome", *names, "why"]]
    for row in trials:
        values = [row["hyperparameters"].get(name, "") for name in names]
        table.append([row["trial"], row["objective"], row["epoch"], row["outcome"], *values, row["why"]])
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(table)
    workspace.write_text(folder / "trials.csv", buffer.getvalue())
    with threadpool_limits(1, "blas"):  # for equal bytes on every machine
        FIT.write(_fit(oracle), folder)


def _row(oracle: Any, trial: Any) -> dict[str, Any]:
    return {
        "trial": trial.trial_id,
        "hyperparameters": dict(trial.hyperparameters.values),
        "objective": None if trial.score is None else round(float(trial.score), 7),
        "epoch": trial.best_step + 1,
        "outcome": outcome(oracle, trial),
        "stopped": "stopped" in oracle.notes[trial.trial_id],
        "why": oracle.notes[trial.trial_id]["why"],
    }


def _fit(oracle: Any) -> list[dict[str, Any]]:
    """Return for each hyperparameter its importance, and the objective along it through the best trial.

    Each has `name`, `importance`, `units` and `labels` of its points, the fitted `mean` there and the mean less and
    plus a deviation (`low`, `high`), and the `trials` as pairs of unit and objective. Empty without enough trials.
    """
    space = oracle.space()
    rows, outputs, deviations = oracle.observations(space)
    if not space.dimensions or len(outputs) < 3:
        return []
    posterior = gaussian_process.fit(space.embed(rows), outputs, deviations, space.group)
    best = np.where(np.isnan(rows[np.argmin(outputs)]), 0.5, rows[np.argmin(outputs)])
    lines = []
    for column, (dimension, share) in enumerate(zip(space.dimensions, importance(space, posterior), strict=True)):
        units = np.unique([dimension.unit(dimension.value(unit)) for unit in np.linspace(0, 1, POINTS)])
        along = np.where(np.arange(len(best)) == column, units[:, None], best)
        band = np.sort(oracle.sign * posterior.band(space.embed(along)), axis=0).round(7).tolist()
        seen = np.column_stack([rows[:, column], oracle.sign * outputs])[~np.isnan(rows[:, column])]
        lines.append(
            {
                "name": dimension.name,
                "importance": round(share, 4),
                "units": units.round(7).tolist(),
                "labels": [_short(dimension.value(unit), 2) for unit in units],
                **dict(zip(("low", "mean", "high"), band, strict=True)),
                "trials": seen.round(7).tolist(),
            }
        )
    return lines


def importance(space: Space, posterior: Posterior) -> list[float]:
    """Return each hyperparameter's share in the variance of the fitted mean, its interactions included.

    Total-effect indices. Source: Saltelli et al. 2010, "Variance based sensitivity analysis of model output". Their sum
    exceeds 1 with interactions; where the mean is constant all are 0.
    """

    def mean(units: Array) -> Array:
        return posterior.predict(space.embed(space.snap(units.T)))[0][None]

    uniform = [stats.uniform()] * len(space.dimensions)
    with np.errstate(invalid="ignore"):
        found = stats.sobol_indices(func=mean, n=SAMPLES, dists=uniform, rng=np.random.default_rng(0))
    return [float(share) for share in np.nan_to_num(found.total_order).ravel()]


def _short(value: Any, digits: int = 4) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
