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
from collections.abc import Iterable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"})

Job = tuple[str, str, int]
"""Problem, search and seed."""
SEEDS = {"keras-tuner Bayesian": 5}
"""Seeds of slow searches; all others have ten."""


def main(argv: list[str] | None = None) -> int:
    """Run what is missing, print the table and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller form of the same, in about three minutes")
    parser.add_argument("--runs", type=Path, default=Path("build/benchmarks/tuning.jsonl"), help="the file of runs")
    parser.add_argument("--only", nargs="+", metavar="SEARCH", help="run these searches and print no table")
    parser.add_argument("--processes", type=int, default=2, help="searches at a time")
    options = parser.parse_args(argv)
    wanted = [job for job in _jobs(quick=options.quick) if not options.only or job[1] in options.only]
    _run(wanted, options.runs, options.processes)
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
