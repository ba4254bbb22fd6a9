"""The Bayesian oracle against keras-tuner's and Optuna's: regret, seconds a suggestion, many workers, early stopping.

python -m benchmarks.tuning --quick
python -m benchmarks.tuning --runs build/benchmarks/tuning.jsonl --only "Optuna GP" "Optuna TPE"

Needs benchmarks/requirements.txt and, for the flights network, build/settings.yaml and build/data/ of a `make ci`.
Every line is: what, value, bound, holds; the exit code is 1 if a line does not hold. Each search that ends is a line
of the file of runs, with its seed and trials; a search that is there is not run again, so that hours can be split.
"""

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"})

Job = tuple[str, str, int]
"""Problem, search and seed."""
SEEDS = {"keras-tuner Bayesian": 5}
"""Seeds of slow searches; all others have ten."""


WORKERS = 8


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    value: float
    bound: float
    at_most: bool = True

    @property
    def holds(self) -> bool:
        """Whether the value keeps its bound; NaN does not."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def main(argv: list[str] | None = None) -> int:
    """Run what is missing, print the table and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller form of the same, in about three minutes")
    parser.add_argument("--runs", type=Path, default=Path("build/benchmarks/tuning.jsonl"), help="the file of runs")
    parser.add_argument("--only", nargs="+", metavar="SEARCH", help="run these searches and print no table")
    parser.add_argument("--processes", type=int, default=2, help="searches at a time")
    parser.add_argument("--plot", type=Path, help="draw regret against trials into this file")
    options = parser.parse_args(argv)
    wanted = [job for job in _jobs(quick=options.quick) if not options.only or job[1] in options.only]
    _run(wanted, options.runs, options.processes)
    if options.only:
        return 0
    runs = {job: run for job, run in _read(options.runs).items() if job in wanted}
    best = _best(runs)
    for (problem, search), values in best.items():
        low, middle, high = np.percentile(values, [25, 50, 75])
        print(f"{problem:13s} {search:22s} {middle:9.3g} ({low:.3g} … {high:.3g}), {len(values)} seeds")
    lines = [*_ratios(best), *_stopping(runs), *_suggestions(), _speedup(quick=options.quick)]
    for line in lines:
        sign = "≤" if line.at_most else "≥"
        verdict = "holds" if line.holds else "FALLS SHORT"
        print(f"{line.what:58s} {line.value:9.3g}  {sign} {line.bound:<5g} {verdict}", flush=True)
    if options.plot:
        _plot(runs, options.plot)
    return 0 if all(line.holds for line in lines) else 1


def _jobs(*, quick: bool) -> Iterator[Job]:
    from benchmarks.problems import FUNCTIONS, PROBLEMS
    from benchmarks.searches import SEARCHES

    for search in SEARCHES:
        for problem in PROBLEMS:
            if search == "ours, 8 workers" and problem not in FUNCTIONS:
                continue
            if search.endswith("stopping") and problem != "network":
                continue
            seeds = SEEDS.get(search, 10)
            if problem == "flights":
                seeds = 2 if search in ("ours", "Optuna GP", "keras-tuner random") else 0
            if quick:
                seeds = 2 if problem not in ("boosting", "network", "flights") else 0
            yield from ((problem, search, seed) for seed in range(seeds))


def _read(path: Path) -> dict[Job, dict[str, Any]]:
    """Return the runs in a file; a last line that a killed benchmark left half-written is none."""
    lines = path.read_text().splitlines() if path.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith("}")]
    return {(run["problem"], run["search"], run["seed"]): run for run in whole}


def _run(jobs: Iterable[Job], path: Path, processes: int) -> None:
    missing = sorted(set(jobs) - _read(path).keys(), key=lambda job: (job[0] == "flights", job[2], job[1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with get_context("spawn").Pool(processes) as pool, path.open("a") as file:
        for run in pool.imap_unordered(_one, missing):
            file.write(json.dumps(run) + "\n")
            file.flush()
            print(f"{run['problem']}, {run['search']}, seed {run['seed']}: {min(run['values']):.4g}", flush=True)


def _one(job: Job) -> dict[str, Any]:
    from benchmarks.problems import PROBLEMS
    from benchmarks.searches import SEARCHES

    warnings.filterwarnings("ignore")
    problem, search, seed = job
    begun = time.perf_counter()
    run = SEARCHES[search](PROBLEMS[problem], seed)
    return {"problem": problem, "search": search, "seed": seed, "seconds": time.perf_counter() - begun, **run}


Best = dict[tuple[str, str], list[float]]


def _best(runs: Mapping[Job, dict[str, Any]]) -> Best:
    """Return the best value of each seed by problem and search: of trials that were run to their end."""
    best: Best = {}
    for (problem, search, _), run in sorted(runs.items()):
        complete = [value for value, stopped in zip(run["values"], run["stopped"], strict=True) if not stopped]
        best.setdefault((problem, search), []).append(min(complete))
    return best


def _ratios(best: Best) -> Iterator[Line]:
    from benchmarks.problems import FUNCTIONS, LEARNING

    def ratio(problem: str, search: str, ours: str = "ours") -> float:
        return float(np.median(best[problem, ours]) / np.median(best[problem, search]))

    for problem in FUNCTIONS:
        what = f"{problem}: regret ÷ keras-tuner Bayesian's"
        yield Line(what, ratio(problem, "keras-tuner Bayesian"), 0.7 if problem == "Ackley-5" else 0.5)
    against = sorted(ratio(problem, "Optuna GP") for problem in FUNCTIONS)
    yield Line("regret ÷ Optuna GP's, third best of the four functions", against[2], 1.0)
    for problem in LEARNING:
        if (problem, "ours") in best:
            yield Line(f"{problem}: score ÷ Optuna GP's", ratio(problem, "Optuna GP"), 1.0)
    for problem in FUNCTIONS:
        print(f"{problem}: regret of {WORKERS} workers ÷ 1: {ratio(problem, 'ours', f'ours, {WORKERS} workers'):.2f}")
    several = [ratio(problem, "ours", f"ours, {WORKERS} workers") for problem in FUNCTIONS]
    yield Line(f"regret of {WORKERS} workers ÷ 1, geometric mean of four", float(np.exp(np.mean(np.log(several)))), 1.3)


def _stopping(runs: Mapping[Job, dict[str, Any]]) -> Iterator[Line]:
    """Compare early stopping with random search without it, seed by seed, and count first trials that it stopped."""
    shares, lost = [], []
    for (problem, search, seed), run in runs.items():
        if not search.endswith("stopping"):
            continue
        first = int(np.argmin(run["values"]))
        lost.append(run["stopped"][first])
        random = runs[problem, "keras-tuner random", seed]
        complete = np.where(run["stopped"], np.inf, run["values"])
        reached = np.flatnonzero(complete <= min(random["values"]))
        epochs = sum(run["epochs"][: reached[0] + 1]) if len(reached) else np.inf
        if search == "ours, stopping":
            shares.append(epochs / sum(random["epochs"]))
    if shares:
        yield Line("epochs to random search's result ÷ its own, with stopping", float(np.median(shares)), 0.5)
        yield Line(f"share of {len(lost)} searches whose first trial was stopped", float(np.mean(lost)), 0.05)


def _suggestions() -> Iterator[Line]:
    """Measure processor seconds a suggestion in six dimensions: other work on the machine does not count."""
    import keras_tuner

    from benchmarks.problems import PROBLEMS
    from ci.tuning.oracle import BayesianOracle

    problem = PROBLEMS["Hartmann-6"]
    for trials, bound in {50: 0.15, 100: 0.25, 200: 0.6}.items():
        space = keras_tuner.HyperParameters()
        problem.declare(space)
        oracle: Any = BayesianOracle(keras_tuner.Objective("score", "min"), 1000, space)
        oracle.initial_trials = trials
        taken = []
        for _ in range(trials + 3):
            begun = time.process_time()
            trial = oracle.create_trial("worker")
            taken.append(time.process_time() - begun)
            oracle.update_trial(trial.trial_id, {"score": problem.curve(trial.hyperparameters.values)[-1]})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
        yield Line(f"processor seconds a suggestion at {trials} trials", float(np.median(taken[-3:])), bound)


def _speedup(*, quick: bool) -> Line:
    from benchmarks.workers import makespan

    trials = 2 * WORKERS if quick else 5 * WORKERS
    return Line(f"makespan of 1 worker ÷ {WORKERS}'s", makespan(1, trials) / makespan(WORKERS, trials), 7.0, False)


def _plot(runs: Mapping[Job, dict[str, Any]], path: Path) -> None:
    """Draw the median of the best so far, with quartiles, against trials."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from benchmarks.problems import FUNCTIONS, PROBLEMS

    searches = [search for search in dict.fromkeys(job[1] for job in runs) if not search.startswith("ours,")]
    shown = [problem for problem in PROBLEMS if any(job[0] == problem for job in runs)]
    figure, grid = plt.subplots(-(-len(shown) // 2), 2, figsize=(10, 3 * -(-len(shown) // 2)), layout="constrained")
    styles = dict(zip(searches, ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))), strict=False))
    for axes, problem in zip(grid.flat, shown, strict=False):
        for search in searches:
            curves = [np.minimum.accumulate(r["values"]) for j, r in runs.items() if j[:2] == (problem, search)]
            if curves:
                low, middle, high = np.percentile(curves, [25, 50, 75], axis=0)
                trials = np.arange(1, len(middle) + 1)
                (line,) = axes.plot(
                    trials, middle, ls=styles[search], label=search, lw=2.2 if search == "ours" else 1.4
                )
                axes.fill_between(trials, low, high, alpha=0.12, color=line.get_color(), lw=0)
        regret = problem in FUNCTIONS
        axes.set(title=problem, xlabel="trials", ylabel="regret" if regret else "validation log-loss")
        if regret:
            axes.set_yscale("log")
        else:
            axes.set_ylim(top=np.percentile([r["values"][:10] for j, r in runs.items() if j[0] == problem], 40))
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_visible(False)
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    sys.exit(main())
