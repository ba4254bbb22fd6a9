"""The Bayesian oracle against keras-tuner's and Optuna's: regret, seconds a suggestion, many workers, early stopping.

python -m benchmarks.tuning --quick
python -m benchmarks.tuning --runs build/benchmarks/tuning.jsonl --only "Optuna GP" "Optuna TPE" --problems network

Needs benchmarks/requirements.txt and, for the network of model/, build/settings.yaml and build/data/ of
`python -m scripts.configure` and `python -m scripts.prepare`. Each search that ends is a line of the file of runs, with
its seed and trials; a search that is there is not run again, so that hours can be split. The smaller form has fewer
trials and seeds, and fewer functions: its lines are held to the same bounds, so one seed may fall short by chance.
The whole takes some four hours of one core; it writes docs/tuning-benchmark.md and docs/tuning.png.
"""

import json
import os
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import curves, ranks, warm, workers
from benchmarks.lines import Line, arguments, at_most, finish, table
from ci import stages, workspace
from ci.errors import InputError

os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"})

Job = tuple[str, str, int, int]
"""Problem, search, seed and trials."""
Runs = Mapping[Job, dict[str, Any]]
SEEDS = 10
QUICK_TRIALS = 20
SHOWN = ("ours", "Optuna GP", "Optuna TPE", "keras-tuner Bayesian", "keras-tuner random")
"""Searches in the table of values and in the picture."""
PAGE, PICTURE = Path("docs/tuning-benchmark.md"), Path("docs/tuning.png")


def main(argv: list[str] | None = None) -> int:
    """Run what is missing, print the table and return the exit code."""
    parser = arguments("tuning", __doc__)
    parser.add_argument("--runs", type=Path, default=Path("build/benchmarks/tuning.jsonl"), help="the file of runs")
    parser.add_argument("--only", nargs="+", metavar="SEARCH", help="run these searches and print no table")
    parser.add_argument("--problems", nargs="+", metavar="PROBLEM", help="on these problems, and print no table")
    parser.add_argument("--kept", action="store_true", help="run no search: the table of those that were run before")
    parser.add_argument("--processes", type=int, default=2, help="searches at a time")
    options = parser.parse_args(argv)
    if options.kept and (options.only or options.problems):
        parser.error("--kept writes the whole table: leave out --only and --problems")
    wanted = {
        job
        for job in _jobs(quick=options.quick)
        if job[0] in (options.problems or [job[0]]) and job[1] in (options.only or [job[1]])
    }
    if not wanted:
        parser.error("no search of the whole has these names: see benchmarks/searches.py and benchmarks/problems.py")
    try:
        if not options.kept:
            if "task" in {job[0] for job in wanted}:
                stages.require(workspace.DATA / "train.parquet")
            _run(wanted, options.runs, options.processes)
        runs = {job: run for job, run in _read(options.runs).items() if job in wanted}
    except InputError as error:
        parser.error(str(error))
    if not runs:
        parser.error(f"{options.runs} has none of these searches: run them first, without --kept")
    return 0 if options.only or options.problems else _report(options, runs, len(wanted - runs.keys()))


def _report(options: Namespace, runs: Runs, missing: int) -> int:
    """Print what was found and the lines, write page and picture of the whole, and return the exit code."""
    best = _best(runs)
    for (problem, search), values in best.items():
        low, middle, high = np.percentile(values, [25, 50, 75])
        print(f"{problem:17s} {search:22s} {middle:9.3g} ({low:.3g} … {high:.3g}), {len(values)} seeds")
    lines = [*_ratios(best), *ranks.lines(best), *workers.lines(runs)]
    lines += [*_stopping(runs), *curves.lines(runs), *warm.lines(runs), *_suggestions()]
    lines.append(_speedup(quick=options.quick))
    if not options.quick:
        _plot(runs, PICTURE)
        PAGE.write_text(_page(best, lines, len(runs), missing), encoding="utf-8")
    return finish(lines, options.json)


def _jobs(*, quick: bool) -> Iterator[Job]:
    from benchmarks.functions import FIRST, OTHERS, UNSEEN
    from benchmarks.problems import LEARNING, PROBLEMS, REAL, REAL_SEEDS
    from benchmarks.searches import SEARCHES

    few = QUICK_TRIALS if quick else None
    yield from curves.jobs(quick=quick)
    yield from ((name, warm.WARM, seed, trials) for name, seed, trials in warm.jobs(few))
    yield from ranks.jobs(few)
    yield from () if quick else workers.jobs()
    for search in SEARCHES:
        for name in (*FIRST, *OTHERS, *UNSEEN, *LEARNING, *REAL, "task"):
            if search in (warm.WARM, "CMA-ES", ranks.SLOW) or (search.endswith("stopping") and name != "network"):
                continue
            if search.endswith(("8 workers", "plain")) and name in ("task", *REAL):
                continue
            if search == "keras-tuner Bayesian" and name in REAL:
                continue
            if name in {**OTHERS, **UNSEEN} and (quick or search not in ("ours", "ours, plain", "Optuna GP")):
                continue
            seeds, trials = REAL_SEEDS if name in ("task", *REAL) else SEEDS, PROBLEMS[name].trials
            if quick:
                seeds, trials = 1 if name in (*FIRST, "network") else 0, QUICK_TRIALS
            yield from ((name, search, seed, trials) for seed in range(seeds))


def _read(path: Path) -> dict[Job, dict[str, Any]]:
    """Return the runs in a file; a line that a killed benchmark left half-written is none.

    Raises:
        InputError: the file cannot be read, or a line that is whole is no run.
    """
    runs = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.endswith("}"):
            continue
        try:
            run = json.loads(line)
            runs[run["problem"], run["search"], run["seed"], len(run["values"])] = run
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}:{number}: is no search: remove the line, and that search is run again") from None
    return runs


def _run(jobs: Iterable[Job], path: Path, processes: int) -> None:
    missing = sorted(set(jobs) - _read(path).keys(), key=lambda job: (job[0] == "task", job[2], job[1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with get_context("spawn").Pool(processes) as pool, path.open("a") as file:
        if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            file.write("\n")  # a killed benchmark left its last line half-written
        for run in pool.imap_unordered(_one, missing):
            file.write(json.dumps(run) + "\n")
            file.flush()
            print(f"{run['problem']}, {run['search']}, seed {run['seed']}: {min(run['values']):.4g}", flush=True)


def _one(job: Job) -> dict[str, Any]:
    from benchmarks.problems import PROBLEMS
    from benchmarks.searches import SEARCHES

    warnings.filterwarnings("ignore")
    problem, search, seed, trials = job
    begun = time.perf_counter()
    run = SEARCHES[search](replace(PROBLEMS[problem], trials=trials), seed)
    return {"problem": problem, "search": search, "seed": seed, "seconds": time.perf_counter() - begun, **run}


Best = dict[tuple[str, str], list[float]]


def _best(runs: Runs) -> Best:
    """Return the best value of each seed by problem and search: of trials that were run to their end."""
    best: Best = {}
    for (problem, search, *_), run in sorted(runs.items()):
        complete = [value for value, stopped in zip(run["values"], run["stopped"], strict=True) if not stopped]
        best.setdefault((problem, search), []).append(min(complete))
    return best


def _ratio(best: Best, problem: str, search: str, ours: str = "ours") -> float:
    return float(np.median(best[problem, ours]) / np.median(best[problem, search]))


def _ratios(best: Best) -> Iterator[Line]:
    """Compare what one worker finds with what others find, where both have run."""
    from benchmarks.functions import FIRST, OTHERS, UNSEEN
    from benchmarks.problems import LEARNING, REAL

    def ratios(problems: Iterable[str], search: str) -> dict[str, float]:
        both = [problem for problem in problems if {(problem, "ours"), (problem, search)} <= best.keys()]
        return {problem: _ratio(best, problem, search) for problem in both}

    for problem, value in ratios(FIRST, "keras-tuner Bayesian").items():
        yield at_most(f"{problem}: regret / keras-tuner Bayesian's", value, 0.7 if problem == "Ackley-5" else 0.5)
    for kind, functions in {"first": FIRST, "other": OTHERS, "unseen": UNSEEN}.items():
        found, plain = ratios(functions, "Optuna GP"), ratios(functions, "ours, plain")
        for problem, value in found.items():
            yield Line(f"{problem}: regret / Optuna GP's", value, "printed", True)
        if kind == "first" and len(found) == len(FIRST):
            yield at_most("regret / Optuna GP's, third best of the four", sorted(found.values())[2], 1.0)
        elif found and kind != "first":
            median = np.median(list(found.values()))
            yield at_most(f"regret / Optuna GP's, median of {len(found)} {kind} functions", median, 1.0)
        if plain:
            mean = np.exp(np.mean(np.log(list(plain.values()))))
            name = f"regret / plain expected improvement's, mean of {len(plain)} {kind} functions"
            yield Line(name, float(mean), "printed", True)
    for problem, value in ratios(LEARNING, "Optuna GP").items():
        yield at_most(f"{problem}: score / Optuna GP's", value, 1.0)
    for problem, value in ratios(LEARNING, "ours, plain").items():
        yield Line(f"{problem}: score / plain expected improvement's", value, "printed", True)
    for peer in ("Optuna GP", "Optuna TPE", "keras-tuner random"):
        for problem, value in ratios((*REAL, "task"), peer).items():
            yield Line(f"{problem}: score / {peer}'s", value, "printed", True)


def _stopping(runs: Runs) -> Iterator[Line]:
    """Compare early stopping with random search without it, seed by seed, and count first trials that it stopped."""
    shares, lost = [], []
    for (problem, search, seed, trials), run in runs.items():
        if problem != "network" or not search.endswith("stopping"):
            continue
        first = int(np.argmin(run["values"]))
        lost.append(run["stopped"][first])
        random = runs.get((problem, "keras-tuner random", seed, trials))
        if search == "ours, stopping" and random:
            complete = np.where(run["stopped"], np.inf, run["values"])
            reached = np.flatnonzero(complete <= min(random["values"]))
            epochs = sum(run["epochs"][: reached[0] + 1]) if len(reached) else np.inf
            shares.append(epochs / sum(random["epochs"]))
    if shares:
        yield at_most("epochs to random search's result / its own, with stopping", np.median(shares), 0.5)
    if lost:
        yield at_most(f"share of {len(lost)} searches whose first trial was stopped", np.mean(lost), 0.05)


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
        oracle.verbose, oracle.initial_trials = 0, trials
        taken = []
        for _ in range(trials + 3):
            begun = time.process_time()
            trial = oracle.create_trial("worker")
            taken.append(time.process_time() - begun)
            oracle.update_trial(trial.trial_id, {"score": problem.curve(trial.hyperparameters.values)[-1]})
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
        yield at_most(f"processor seconds a suggestion at {trials} trials", np.median(taken[-3:]), bound)


def _speedup(*, quick: bool) -> Line:
    """Measure how many times faster many workers end trials of five seconds."""
    many = workers.MANY
    alone, together = (4, 2 * many) if quick else (5 * many, 5 * many)
    value = workers.makespan(1, alone) / alone * together / workers.makespan(many, together)
    return Line(f"makespan of 1 worker / {many}'s", value, ">= 7", value >= 7)


def _page(best: Best, lines: list[Line], done: int, missing: int) -> str:
    """Return the page with the requirements, and with what each search found on each problem."""
    from benchmarks.functions import FIRST, OTHERS, UNSEEN
    from benchmarks.problems import LEARNING, REAL

    searches = (*SHOWN, workers.TOGETHER)
    left = (
        f" {missing} more of the whole were not run; a row's seeds are the fewest of its searches." if missing else ""
    )
    rows = [
        "# Tuning: measured",
        "",
        f"Written by `python -m benchmarks.tuning` from {done} searches.{left} A bound that is not held says **no**.",
        "",
        *table(lines),
        "",
        "Best value after all trials, the median of the seeds: regret for functions, else the validation loss.",
        "",
        f"| problem | seeds | {' | '.join(searches)} |",
        f"|---|---{'|---' * len(searches)}|",
    ]
    for problem in (*FIRST, *OTHERS, *UNSEEN, *LEARNING, *REAL, "task"):
        found = [best.get((problem, search), []) for search in searches]
        cells = [f"{np.median(values):.3g}" if values else "" for values in found]
        if any(found):
            rows.append(f"| {problem} | {min(len(values) for values in found if values)} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", "![Best so far against trials](tuning.png)", ""])


def _plot(runs: Runs, path: Path) -> None:
    """Draw the median of the best so far, with quartiles, against trials."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from benchmarks.functions import FIRST
    from benchmarks.problems import LEARNING, REAL

    there = {job[0] for job in runs if job[1] == "ours"}
    shown = [problem for problem in (*FIRST, *LEARNING, *REAL, "task") if problem in there]
    if not shown:
        return
    figure, grid = plt.subplots(-(-len(shown) // 2), 2, figsize=(10, 3 * -(-len(shown) // 2)), layout="constrained")
    styles = dict(zip(SHOWN, ("-", (0, (5, 1, 1, 1, 1, 1)), "--", "-.", ":"), strict=True))
    handles = {}
    for axes, problem in zip(grid.flat, shown, strict=False):
        for search in SHOWN:
            curves = [np.minimum.accumulate(r["values"]) for j, r in runs.items() if j[:2] == (problem, search)]
            if curves:
                low, middle, high = np.percentile(curves, [25, 50, 75], axis=0)
                trials = np.arange(1, len(middle) + 1)
                colour = f"C{SHOWN.index(search)}"
                width = 2.2 if search == "ours" else 1.4
                [handles[search]] = axes.plot(trials, middle, ls=styles[search], color=colour, lw=width)
                axes.fill_between(trials, low, high, alpha=0.12, color=colour, lw=0)
        regret = problem in FIRST
        axes.set(title=problem, xlabel="trials", ylabel="regret" if regret else "validation log-loss")
        if regret:
            axes.set_yscale("log")
        else:
            axes.set_ylim(top=np.percentile([r["values"][:10] for j, r in runs.items() if j[0] == problem], 40))
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_visible(False)
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=5)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    sys.exit(main())
