"""The Bayesian oracle against keras-tuner's and Optuna's: regret, seconds a suggestion, and whether the bounds hold.

python -m benchmarks.tuning --quick --json build/benchmarks/tuning.json

Needs benchmarks/requirements.txt. Every line is: name, value, bound, holds; the exit code is 1 if one does not hold.
`--quick` runs two seeds and leaves out keras-tuner's Bayesian oracle, which takes minutes a search, and what needs it.
"""

import argparse
import json
import os
import sys
import time
import warnings
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"})

SEEDS, SLOW_SEEDS, QUICK_SEEDS = 10, 5, 2
SECONDS = {50: 0.15, 100: 0.25, 200: 0.6}
Job = tuple[str, str, int]


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark and return its exit code."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="a smaller form of the same in about three minutes")
    arguments.add_argument("--json", type=Path, help="also write the figures, with seeds and every trial")
    options = arguments.parse_args(argv)
    results = _run(_jobs(quick=options.quick))
    lines = [*_regrets(results), *_suggestions()]
    for name, value, bound, holds in lines:
        print(f"{name:55s} {value:10.4g}  ≤ {bound:<6g} {'holds' if holds else 'FALLS SHORT'}", flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(
            json.dumps({"lines": lines, "runs": {"|".join(map(str, k)): v for k, v in results.items()}})
        )
    return 0 if all(holds for *_, holds in lines) else 1


def _jobs(*, quick: bool) -> list[Job]:
    from benchmarks.problems import FUNCTIONS, PROBLEMS

    jobs = []
    for problem in FUNCTIONS if quick else PROBLEMS:
        for search in ("ours", "Optuna GP", "Optuna TPE", "keras-tuner random", "keras-tuner Bayesian"):
            slow = search == "keras-tuner Bayesian"
            if not (slow and (quick or problem not in FUNCTIONS)):
                jobs += [(problem, search, s) for s in range(QUICK_SEEDS if quick else SLOW_SEEDS if slow else SEEDS)]
    return jobs


def _one(job: Job) -> tuple[Job, list[float]]:
    from benchmarks.problems import PROBLEMS
    from benchmarks.searches import SEARCHES

    warnings.filterwarnings("ignore")
    problem, search, seed = job
    return job, SEARCHES[search](PROBLEMS[problem], seed)


def _run(jobs: list[Job]) -> dict[Job, list[float]]:
    with get_context("spawn").Pool(2) as pool:
        return dict(pool.imap_unordered(_one, jobs))


def _regrets(results: dict[Job, list[float]]) -> list[tuple[str, float, float, bool]]:
    """Print medians with quartiles, and return the ratios and their bounds."""
    from benchmarks.problems import FUNCTIONS, LEARNING

    median: dict[tuple[str, str], float] = {}
    for problem, search in dict.fromkeys(job[:2] for job in results):
        best = [min(values) for job, values in results.items() if job[:2] == (problem, search)]
        low, median[problem, search], high = (float(part) for part in np.percentile(best, [25, 50, 75]))
        print(f"{problem:13s} {search:21s} {median[problem, search]:9.3g} ({low:.3g} … {high:.3g}), {len(best)} seeds")
    lines = []
    for problem in FUNCTIONS:
        if (problem, "keras-tuner Bayesian") in median:
            bound = 0.7 if problem == "Ackley-5" else 0.5
            ratio = median[problem, "ours"] / median[problem, "keras-tuner Bayesian"]
            lines.append((f"{problem}: regret / keras-tuner Bayesian", ratio, bound, ratio <= bound))
    ratios = sorted(median[problem, "ours"] / median[problem, "Optuna GP"] for problem in FUNCTIONS)
    lines.append(("regret / Optuna GP, third best of four functions", ratios[2], 1.0, ratios[2] <= 1))
    for problem in LEARNING:
        if (problem, "ours") in median:
            ratio = median[problem, "ours"] / median[problem, "Optuna GP"]
            lines.append((f"{problem}: score / Optuna GP", ratio, 1.0, ratio <= 1))
    return lines


def _suggestions() -> list[tuple[str, float, float, bool]]:
    """Measure processor seconds a suggestion in six dimensions: other work on the machine does not count."""
    import keras_tuner

    from benchmarks.problems import PROBLEMS
    from ci.tuning.oracle import BayesianOracle

    lines = []
    for trials, bound in SECONDS.items():
        space = keras_tuner.HyperParameters()
        PROBLEMS["Hartmann-6"].declare(space)
        oracle: Any = BayesianOracle(keras_tuner.Objective("score", "min"), 1000, space, seed=0)
        oracle.initial_trials = trials
        taken = []
        for _ in range(trials + 3):
            begun = time.process_time()
            trial = oracle.create_trial("worker")
            taken.append(time.process_time() - begun)
            oracle.update_trial(
                trial.trial_id, {"score": PROBLEMS["Hartmann-6"].evaluate(trial.hyperparameters.values)}
            )
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
        seconds = float(np.median(taken[-3:]))
        lines.append((f"processor seconds a suggestion at {trials} trials", seconds, bound, seconds <= bound))
    return lines


if __name__ == "__main__":
    sys.exit(main())
