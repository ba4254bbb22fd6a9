"""keras-tuner's tuner with a report after every epoch, a heartbeat, and no files of its own."""

import os
from contextlib import nullcontext
from typing import Any

import keras_tuner
from keras_tuner.src.distribute import utils as distribution
from keras_tuner.src.engine.tuner_utils import TunerCallback

from ci.tuning import distributed

BEATS = 6
"""Heartbeats within the silence after which a worker is taken for dead."""


class Tuner(keras_tuner.Tuner):  # type: ignore[misc]
    """Runs trials of an oracle of `ci.tuning.oracle`, alone, or as chief or worker.

    The oracle keeps the search: a tuner that is killed and made again continues.
    """

    def __init__(self, oracle: Any, *arguments: Any, **keywords: Any) -> None:
        """Take keras-tuner's arguments; the environment says whether this is a chief, a worker or alone."""
        self._beat = oracle.heartbeat_timeout / BEATS
        super().__init__(oracle, *arguments, **keywords)
        if self._is_worker():
            self.oracle = distributed.connect(oracle)

    def search(self, *arguments: Any, **keywords: Any) -> None:
        """Run trials until the oracle says that the search is over; a chief serves the oracle instead."""
        if distribution.is_chief_oracle():
            distributed.serve(self.oracle)
        else:
            super().search(*arguments, **keywords)

    def save(self) -> None:
        """Write nothing: the oracle has."""

    def reporter(self, trial: Any) -> Any:
        """Return the Keras callback that reports a trial's epochs; for `run_trial` methods of subclasses."""
        return TunerCallback(self, trial)

    def on_epoch_end(self, trial: Any, model: Any, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report an epoch, and end the training of a trial that need not go on."""
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        if self.oracle.update_trial(trial.trial_id, metrics, step=epoch).status == "STOPPED":
            model.stop_training = True

    def _run_and_update_trial(self, trial: Any, *arguments: Any, **keywords: Any) -> None:
        with distributed.heartbeat(self.oracle, trial.trial_id, self._beat) if self._is_worker() else nullcontext():
            results = self.run_trial(trial, *arguments, **keywords)
        if isinstance(results, (int, float)):
            self.oracle.update_trial(trial.trial_id, {self.oracle.objective.name: float(results)})

    def _get_tuner_fname(self) -> str:
        return os.path.join(str(self.project_dir), "no-state-of-a-tuner")  # noqa: PTH118 - keras-tuner takes text
