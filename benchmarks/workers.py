"""How much faster many workers are, and what their search finds: in as many trials as one worker, and in as much time.

How fast they are, a real chief and real workers tell, whose trials only sleep.
"""

import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks import kinds, ranks
from benchmarks.functions import FIRST
from benchmarks.lines import Line, at_most
from benchmarks.problems import LEARNING, PROBLEMS
from ci.tuning import processes

MANY = 8
ALONE, TOGETHER, PEER = "ours", f"ours, {MANY} workers", f"Optuna GP, {MANY} workers"
HELD = tuple(name for name, kind in kinds.HELD.items() if (kind.dimensions, kind.instance) == (5, 0))
"""Functions on which nothing was chosen."""
FLOOR = 1e-6
"""Share of the median of one worker's trials that is added to both regrets: on plateaus they may be 0."""
SECONDS = 5.0
"""How long a trial of `makespan` sleeps."""
Runs = Mapping[tuple[str, str, int, int], Mapping[str, Any]]


def jobs() -> Iterator[tuple[str, str, int, int]]:
    """Yield function, search, seed and trials on which nothing was chosen; the others are run with one worker's."""
    for name in HELD:
        yield from ((name, TOGETHER, seed, PROBLEMS[name].trials) for seed in range(ranks.SEEDS))


def lines(runs: Runs) -> Iterator[Line]:
    """Compare what many workers find with what one finds, and with Optuna's as many workers."""
    for problem in (*FIRST, *HELD, *LEARNING):
        alone, together, peer = (_searches(runs, problem, search) for search in (ALONE, TOGETHER, PEER))
        if not (alone and together):
            continue
        equal = _median(together) / _median(alone)
        if problem in LEARNING:
            yield at_most(f"{problem}: score of {MANY} workers / 1", equal, 1.05)  # random search has 1.25 to 1.3
        elif problem in FIRST:
            yield Line(f"{problem}: regret of {MANY} workers / 1", equal, "printed", True)
            in_time = _median(together) / _median(alone, MANY)
            yield at_most(f"{problem}: regret of {MANY} workers / 1 in the same time", in_time, 0.5)
        if peer:
            yield at_most(f"{problem}: {MANY} workers / Optuna GP's {MANY}", _median(together) / _median(peer), 1.0)
    yield from _together(runs, FIRST, f"the {len(FIRST)}")
    yield from _together(runs, HELD, f"{len(HELD)} held out")


def _together(runs: Runs, problems: Iterable[str], label: str) -> Iterator[Line]:
    equal, in_time = [], []
    for problem in problems:
        alone, together = (_searches(runs, problem, search) for search in (ALONE, TOGETHER))
        if not (alone and together):
            return
        floor = FLOOR * float(np.median(alone))
        equal.append((_median(together) + floor) / (_median(alone) + floor))
        in_time.append((_median(together) + floor) / (_median(alone, MANY) + floor))
    yield at_most(f"regret of {MANY} workers / 1, geometric mean of {label}", np.exp(np.mean(np.log(equal))), 1.3)
    name = f"regret of {MANY} workers / 1 in the same time, geometric mean of {label}"
    yield at_most(name, np.exp(np.mean(np.log(in_time))), 0.5)


def _searches(runs: Runs, problem: str, search: str) -> list[list[float]]:
    """Return the values of the searches, trial by trial."""
    return [run["values"] for job, run in runs.items() if job[:2] == (problem, search)]


def _median(searches: list[list[float]], part: int = 1) -> float:
    """Return the median of the best values in that part of the trials: in the same time one worker ends an eighth."""
    return float(np.median([min(values[: len(values) // part]) for values in searches]))


class Forked(multiprocessing.get_context("fork").Process):
    """A process with what `ci.tuning.processes` needs of `Popen`."""

    returncode = property(lambda self: self.exitcode)

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self.exitcode

    def wait(self) -> None:
        """Wait for its end."""
        self.join()


def makespan(workers: int, trials: int) -> float:
    """Return how long a search takes from the start of its chief to the end of its last trial; seconds."""
    import keras_tuner

    from ci.tuning.distributed import Tuner
    from ci.tuning.oracle import BayesianOracle

    class Sleeping(Tuner):
        def run_trial(self, trial: Any, *_: Any, **__: Any) -> float:
            time.sleep(SECONDS)
            return PROBLEMS["Branin"].curve(trial.hyperparameters.values)[-1]

    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
        probe.close()

        def part(name: str) -> None:
            os.environ.update(KERASTUNER_TUNER_ID=name, KERASTUNER_ORACLE_IP="127.0.0.1", KERASTUNER_ORACLE_PORT=port)
            space = keras_tuner.HyperParameters()
            PROBLEMS["Branin"].declare(space)
            oracle = BayesianOracle(keras_tuner.Objective("score", "min"), trials, space)
            oracle.verbose = 0
            Sleeping(oracle, directory=folder, project_name="makespan").search()

        def start(name: str) -> Forked:
            process = Forked(target=part, args=(name,))
            process.start()
            return process

        begun = time.perf_counter()
        processes.supervise(["chief", *(f"worker-{number}" for number in range(workers))], start)
        return time.perf_counter() - begun
