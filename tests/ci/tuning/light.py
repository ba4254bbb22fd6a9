"""Chiefs, workers and searches alone as forked processes with light trials: killing fifty of them takes seconds.

The processes are forked from one that has imported keras-tuner already; nothing in them is replaced.
"""

import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import keras_tuner

from ci.errors import InputError
from ci.tuning import processes
from ci.tuning.distributed import Tuner
from ci.tuning.oracle import BayesianOracle, Oracle, RandomOracle


def space() -> keras_tuner.HyperParameters:
    """Two numbers and a choice."""
    hp = keras_tuner.HyperParameters()
    hp.Float("x", 0, 1)
    hp.Int("n", 1, 100, sampling="log")
    hp.Choice("kind", ["a", "b", "c"])
    return hp


def oracle(max_trials: int, kind: type[Oracle] = RandomOracle, heartbeat_timeout: float = 5.0, **options) -> Oracle:
    """An oracle over `space` that minimises `score`."""
    options = {"hyperparameters": space(), **options}
    made = kind(objective=keras_tuner.Objective("score", "min"), max_trials=max_trials, **options)
    made.verbose, made.max_losses, made.heartbeat_timeout = 0, 100, heartbeat_timeout
    return made


def score(values: dict) -> float:
    """Least at x = 0.3, n = 10 and kind b."""
    return (values["x"] - 0.3) ** 2 + (values["n"] / 10 - 1) ** 2 / 100 + 0.1 * (values["kind"] != "b")


class Light(Tuner):
    """Trials that sleep, then give a score; each run is a line in `runs.txt`."""

    seconds = 0.05

    def run_trial(self, trial, *_, **__):
        with (Path(self.directory) / "runs.txt").open("a") as file:
            file.write(f"{trial.trial_id}\n")
        time.sleep(self.seconds)
        return score(trial.hyperparameters.values)


class Forked:
    """A function in a process of its own, with `Popen`'s methods."""

    def __init__(self, function: Callable[[], None], environment: dict[str, str], log: Path) -> None:
        def body() -> None:
            os.environ.update(environment)
            with log.open("a") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
                sys.stdout = sys.stderr = file  # pytest has replaced them by its own
                code = 0
                try:
                    function()
                except InputError as error:
                    print(f"bad input: {error}", flush=True)
                    code = 2
                except BaseException:
                    traceback.print_exc()
                    code = 1
                sys.stdout.flush()
                os._exit(code)

        self._process = multiprocessing.get_context("fork").Process(target=body, daemon=True)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        if self._process.exitcode is None:
            os.kill(self._process.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self._process.exitcode


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Search:
    """A chief and workers under supervision in this process, in a folder of their own."""

    def __init__(
        self, folder: Path, max_trials: int, kind: type[Oracle] = BayesianOracle, tuner: type[Tuner] = Light, **options
    ) -> None:
        self.folder, self.max_trials, self.kind, self.tuner, self.options = folder, max_trials, kind, tuner, options
        self.address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(free_port())}
        self.living: dict[str, Forked] = {}

    def start(self, name: str) -> Forked:
        environment = {**self.address, "KERASTUNER_TUNER_ID": name}
        self.living[name] = Forked(self.part, environment, self.folder / f"{name}.log")
        return self.living[name]

    def part(self) -> None:
        made = oracle(self.max_trials, self.kind, **self.options)
        self.tuner(made, directory=str(self.folder), project_name="search").search()

    def run(self, workers: int) -> None:
        processes.supervise(["chief", *(f"worker-{number}" for number in range(workers))], self.start)

    def result(self) -> Oracle:
        """The search as its state tells it."""
        made = oracle(self.max_trials, self.kind, **self.options)
        made._set_project_dir(str(self.folder), "search")
        made.reload()
        made.close()
        return made

    def runs(self) -> list[str]:
        """The trials in the order in which runs of them began."""
        path = self.folder / "runs.txt"
        return path.read_text().split() if path.exists() else []
