"""How much faster many workers are: a real chief and real workers, whose trials only sleep."""

import multiprocessing
import os
import socket
import tempfile
import time

import keras_tuner

from benchmarks.problems import PROBLEMS
from ci.tuning import processes
from ci.tuning.distributed import Tuner
from ci.tuning.oracle import BayesianOracle


class Sleeping(Tuner):
    """Trials that take `seconds`."""

    seconds = 5.0

    def run_trial(self, trial, *_, **__):
        """Sleep, then evaluate Branin's function."""
        time.sleep(self.seconds)
        return PROBLEMS["Branin"].curve(trial.hyperparameters.values)[-1]


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
