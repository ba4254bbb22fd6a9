"""What a search shows of itself: a line per trial, a table, pictures, and what matters."""

import csv
import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import qmc

from ci import workspace
from ci.tuning.gaussian_process import Posterior, Warp
from ci.tuning.oracle import Oracle
from ci.tuning.space import Array, Space

SAMPLES = 512
"""Points at which the variance of the fitted mean is split between hyperparameters."""


def progress(oracle: Oracle, show: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
    """Have an oracle show a line when a trial begins, with why it was picked, and one when it ends."""
    begun = clock()
    done_before = len(oracle.end_order)

    def tell(event: str, trial: Any) -> None:
        if event == "begin":
            values = ", ".join(f"{name} {_short(value)}" for name, value in trial.hyperparameters.values.items())
            reason = why(oracle.reasons.get(trial.trial_id, {}), oracle.objective.name)
            show(f"trial {trial.trial_id}: {values} ({reason})")
            return
        ended = len(oracle.end_order)
        best = oracle.get_best_trials(1)
        pace = (clock() - begun) / max(ended - done_before, 1)
        parts = [
            f"trial {trial.trial_id} {outcome(oracle, trial)}",
            f"{ended} of {oracle.max_trials}",
            f"best {best[0].score:.5g} in trial {best[0].trial_id}" if best else "no result yet",
            f"about {_duration(pace * (oracle.max_trials - ended))} left",
        ]
        show(" · ".join(parts))

    oracle.listeners.append(tell)


def why(reason: dict[str, Any], objective: str) -> str:
    """Return why a trial was picked, in words."""
    if "mean" not in reason:
        return str(reason.get("by", "unknown"))
    improvement = math.exp(reason["log_expected_improvement"])
    expected = f"{reason['mean']:.5g} ± {reason['deviation']:.2g}"
    return f"expected {objective} {expected}, expected improvement {improvement:.2g} σ"


def outcome(oracle: Oracle, trial: Any) -> str:
    """Return how a trial ended, in words."""
    if trial.trial_id in oracle.stopped and trial.score is not None:
        return f"stopped after epoch {oracle.stopped[trial.trial_id]} at {trial.score:.5g}"
    if trial.score is not None:
        return f"reached {trial.score:.5g}"
    reason = (trial.message or "no reason given").strip().splitlines()[-1]
    return f"{'failed' if trial.status == 'FAILED' else 'failed, to be run again'}: {reason}"


def write(folder: Path, oracle: Oracle) -> None:
    """Write trials.csv, trials.json, best.json, importance.json and the pictures into a folder."""
    trials = [_row(oracle, trial) for trial in oracle.trials.values()]
    best = next(row for row in trials if row["trial"] == oracle.get_best_trials(1)[0].trial_id)
    workspace.write_json(folder / "best.json", best)
    workspace.write_json(folder / "trials.json", trials)
    workspace.write_text(folder / "trials.csv", _table(trials))
    fitted = _fitted(oracle)
    shares = importance(*fitted[:2]) if fitted else {}
    workspace.write_json(folder / "importance.json", shares)
    _draw_history(folder / "history.png", oracle)
    if fitted:
        _draw_slices(folder / "hyperparameters.png", oracle, fitted, shares)


def importance(space: Space, posterior: Posterior) -> dict[str, float]:
    """Return each hyperparameter's share in the variance of the fitted mean, its interactions included.

    Total-effect indices by Jansen's estimator: E[(f(A) - f(A with column i of B))²] / 2 Var f. Source: Saltelli et al.
    2010, "Variance based sensitivity analysis of model output", table 2 (f). Their sum exceeds 1 with interactions.
    """
    columns = len(space.dimensions)
    drawn = qmc.Sobol(2 * columns, rng=np.random.default_rng(0)).random(SAMPLES)
    left, right = drawn[:, :columns], drawn[:, columns:]

    def mean(quantiles: Array) -> Array:
        return posterior.predict(space.embed(space.spread(quantiles)))[0]

    base = mean(left)
    shares: dict[str, float] = {}
    for column, dimension in enumerate(space.dimensions):
        mixed = left.copy()
        mixed[:, column] = right[:, column]
        share = float(((base - mean(mixed)) ** 2).mean() / (2 * max(base.var(), 1e-12)))
        shares[dimension.hp.name] = round(shares.get(dimension.hp.name, 0.0) + share, 4)
    return shares


Fitted = tuple[Space, Posterior, Warp, Array]


def _fitted(oracle: Oracle) -> Fitted | None:
    """Return space, posterior, warp and the best row of a search, None if there is too little to fit."""
    space = oracle.space()
    seen = oracle.observations(space)
    if not space.dimensions or len(seen.outputs) < 3:
        return None
    posterior, warp = oracle.posterior(space, seen)
    return space, posterior, warp, seen.rows[np.argmin(seen.outputs)]


def _row(oracle: Oracle, trial: Any) -> dict[str, Any]:
    return {
        "trial": trial.trial_id,
        "hyperparameters": dict(trial.hyperparameters.values),
        "objective": None if trial.score is None else round(float(trial.score), 7),
        "epoch": trial.best_step + 1,
        "outcome": outcome(oracle, trial),
        "why": why(oracle.reasons.get(trial.trial_id, {}), oracle.objective.name),
    }


def _table(trials: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for trial in trials for name in trial["hyperparameters"]))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["trial", "objective", "epoch", "outcome", *names, "why"])
    for trial in trials:
        values = [trial["hyperparameters"].get(name, "") for name in names]
        writer.writerow([trial["trial"], trial["objective"], trial["epoch"], trial["outcome"], *values, trial["why"]])
    return buffer.getvalue()


def _draw_history(path: Path, oracle: Oracle) -> None:
    plt = _pyplot()
    ended = [oracle.trials[trial_id] for trial_id in oracle.end_order if oracle.trials[trial_id].score is not None]
    scores = np.array([trial.score for trial in ended])
    partial = np.array([trial.trial_id in oracle.stopped for trial in ended])
    follow = np.maximum.accumulate if oracle.objective.direction == "max" else np.minimum.accumulate
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    numbers = np.arange(1, len(scores) + 1)
    complete = np.where(partial, -np.inf if oracle.objective.direction == "max" else np.inf, scores)
    axes.step(numbers, follow(complete), where="post", label="best so far")
    axes.plot(numbers[~partial], scores[~partial], "o", label="trial")
    axes.plot(numbers[partial], scores[partial], "x", label="stopped early")
    axes.set(xlabel="trial", ylabel=oracle.objective.name)
    axes.legend()
    _save(plt, figure, path)


def _draw_slices(path: Path, oracle: Oracle, fitted: Fitted, shares: dict[str, float]) -> None:
    """Draw the objective along each hyperparameter, through the best trial, with the fitted mean and deviation."""
    space, posterior, warp, best = fitted
    plt = _pyplot()
    sign = -1.0 if oracle.objective.direction == "max" else 1.0
    count = len(space.dimensions)
    across = min(count, 3)
    figure, grid = plt.subplots(
        -(-count // across),
        across,
        figsize=(4 * across, 2.8 * -(-count // across)),
        squeeze=False,
        layout="constrained",
    )
    seen = oracle.observations(space)
    for column, (axes, dimension) in enumerate(zip(grid.flat, space.dimensions, strict=False)):
        units = np.unique(dimension.snap(np.linspace(0, 1, 60)))
        rows = np.repeat(np.where(np.isnan(best), 0.5, best)[None], len(units), axis=0)
        rows[:, column] = units
        mean, deviation = posterior.predict(space.embed(rows))
        low, middle, high = (sign * warp.undo(mean + step * deviation) for step in (-1, 0, 1))
        axes.fill_between(units, low, high, alpha=0.25)
        axes.plot(units, middle)
        axes.plot(seen.rows[:, column], sign * seen.outputs, "k.", markersize=4)
        ticks = units[np.linspace(0, len(units) - 1, min(len(units), 4)).astype(int)]
        axes.set_xticks(ticks, [_short(dimension.value(float(unit))) for unit in ticks])
        axes.set_title(f"{dimension.hp.name} ({shares[dimension.hp.name]:.0%})", fontsize="medium")
        spread = np.percentile(seen.outputs, [0, 90]) * sign
        margin = 0.1 * abs(spread[1] - spread[0]) or 1.0
        axes.set_ylim(min(spread) - margin, max(spread) + margin)
    for axes in list(grid.flat)[count:]:
        axes.set_visible(False)
    figure.supylabel(oracle.objective.name)
    _save(plt, figure, path)


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(plt: Any, figure: Any, path: Path) -> None:
    # Without the version in the file equal pictures are equal bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
