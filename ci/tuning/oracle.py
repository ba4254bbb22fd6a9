"""Oracles for keras-tuner: they pick the trials of a search, keep its state, and survive what happens to it.

keras-tuner 1.4.8 gives the protocol between tuners and an oracle; what goes wrong in its own bookkeeping (exact
repeats, trials lost with their worker or run twice after a restart, a deadlock after three failures, half-written
files) is replaced here. Any keras-tuner `Tuner` works with these oracles.
"""

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import keras_tuner
import numpy as np
from keras_tuner.src.distribute import utils as distribution
from keras_tuner.src.engine.metrics_tracking import MetricsTracker
from scipy.stats import qmc

from ci.errors import InputError
from ci.tuning import acquisition, gaussian_process, state
from ci.tuning.gaussian_process import Parameters, Posterior, Warp
from ci.tuning.halving import Halving
from ci.tuning.observations import Observations, observe
from ci.tuning.space import Array, Space, Values

TRIES = 64
"""Points of a sequence that are looked at for a new one before the space is listed."""

Trial = Any
Reason = dict[str, Any]


class Oracle(keras_tuner.Oracle):  # type: ignore[misc]
    """What the three strategies share: the life of a trial, and the state of the search."""

    def __init__(
        self,
        objective: Any = None,
        max_trials: int = 10,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        seed: int = 0,
        max_retries_per_trial: int = 1,
        max_consecutive_failed_trials: int = 3,
        halving: Halving | None = None,
        heartbeat_timeout: float = 60.0,
        max_losses_per_trial: int = 10,
        clock: Callable[[], float] = time.monotonic,
        **kwargs: Any,
    ) -> None:
        """Prepare a search; arguments that are not described here are keras-tuner's.

        Args:
            objective: what is optimised, a keras-tuner `Objective`.
            max_trials: trials at most.
            hyperparameters: the search space, if it is known in advance.
            seed: of everything random.
            max_retries_per_trial: how often a trial that failed is run again.
            max_consecutive_failed_trials: failures in a row that end the search.
            halving: when poor trials are stopped; None runs all to their end.
            heartbeat_timeout: silence after which a worker is taken for dead; seconds.
            max_losses_per_trial: workers a trial may lose before it counts as failed: it may be what kills them.
            clock: returns seconds that never go back.
            kwargs: keras-tuner's `allow_new_entries` and `tune_new_entries`.
        """
        super().__init__(
            objective=objective,
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            seed=seed + 1,  # keras-tuner takes 0 for no seed
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            **kwargs,
        )
        self.halving, self.heartbeat_timeout, self.max_losses = halving, heartbeat_timeout, max_losses_per_trial
        self.failure: Exception | None = None
        """Why the search had to end before its last trial."""
        self.stopped: dict[str, int] = {}
        """Trials that were stopped early, and after how many epochs."""
        self.reasons: dict[str, Reason] = {}
        """Why each trial was picked."""
        self.losses: dict[str, int] = {}
        self.listeners: list[Callable[[str, Trial], None]] = []
        """Called with "begin" or "end" and the trial."""
        self.changed = threading.Condition(threading.RLock())
        """Held by every change of the search; notified after it."""
        self._used_up = False
        self._parameters: Parameters | None = None
        self._clock, self._seen = clock, dict[str, float]()
        self._directory: str | None = None
        self._lock_file: IO[str] | None = None

    # What keras-tuner's tuners and the chief's server call.

    def create_trial(self, tuner_id: str) -> Trial:
        """Return the next trial for a tuner: RUNNING, IDLE (ask again) or STOPPED (the search is over)."""
        with self.changed:
            self.open()
            self.tuner_ids.add(tuner_id)
            self._seen[tuner_id] = self._clock()
            self._requeue_silent()
            if tuner_id in self.ongoing_trials:  # it was restarted: what it was running is lost
                self._requeue(tuner_id)
            trial = None if self.failure else self._next_trial()
            if trial is None:
                waiting = not self.failure and (self.ongoing_trials or self._retry_queue)
                if not waiting:
                    self.tuner_ids.discard(tuner_id)
                return self._empty_trial("IDLE" if waiting else "STOPPED")
            self.ongoing_trials[tuner_id] = trial
            self.save()
            self._tell("begin", trial)
            return trial

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Trial:
        """Record an epoch's metrics, counted from 0; without metrics it is only a sign of life.

        Returns:
            The trial; its status is STOPPED if it need not go on.
        """
        with self.changed:
            trial = self.trials[trial_id]
            tuner_id = self._runner_of(trial_id)
            if tuner_id is None or self.failure:
                return self._answer(trial, stop=True)
            self._seen[tuner_id] = self._clock()
            if not metrics:
                return self._answer(trial, stop=trial_id in self.stopped)
            if self.objective.name not in metrics:
                self.failure = InputError(
                    f"tuning.objective.name: {self.objective.name} is not among what the model logs: "
                    f"{', '.join(sorted(metrics))}"
                )
                return self._answer(trial, stop=True)
            for name, value in metrics.items():
                if not trial.metrics.exists(name):
                    trial.metrics.register(name, self.objective.direction if name == self.objective.name else None)
                history = trial.metrics.metrics[name]
                if all(seen.step != step for seen in history.get_history()):  # a report may come twice
                    history.update(float(value), step=step)
            if self._is_poor(trial, step + 1):
                self.stopped[trial_id] = step + 1
            self.save()
            return self._answer(trial, stop=trial_id in self.stopped)

    def end_trial(self, trial: Trial) -> None:
        """Score a trial that ran, or have it run again; a second end of the same trial changes nothing."""
        with self.changed:
            known = self.trials[trial.trial_id]
            tuner_id = self._runner_of(trial.trial_id)
            if tuner_id is None and trial.trial_id not in self._retry_queue:
                return
            if tuner_id is None:  # its worker was taken for dead, but finished
                self._retry_queue.remove(trial.trial_id)
            else:
                del self.ongoing_trials[tuner_id]
                self._seen[tuner_id] = self._clock()
            known.status, known.message = trial.status, trial.message
            self.update_space(trial.hyperparameters)
            self._run_times[known.trial_id] += 1
            self._score(known)
            if known.status == "INVALID" and self._run_times[known.trial_id] <= self.max_retries_per_trial:
                self._forget(known)
                self._retry_queue.append(known.trial_id)
            else:
                self._finish(known)
            self.save()
            self._tell("end", known)

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """Return the best trials, best first; those that were stopped early come after the complete ones."""
        done = [trial for trial in self.trials.values() if trial.status == "COMPLETED"]
        done.sort(key=lambda trial: (trial.trial_id in self.stopped, self._sign * trial.score))
        return done[:num_trials]

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Pick a trial; keras-tuner's form of `propose`."""
        values, reason = self.propose()
        if values is None:
            return {"status": "STOPPED", "values": None}
        self.reasons[trial_id] = reason
        return {"status": "RUNNING", "values": values}

    def propose(self) -> tuple[Values | None, Reason]:
        """Return the values of the next trial, None if the space is used up, and why these."""
        raise NotImplementedError

    # State.

    def open(self) -> None:
        """Take the folder and read the search that was begun there, if any; once.

        Raises:
            InputError: another process works there, the state is damaged, or the space has changed.
        """
        if self._lock_file is not None or self._directory is None:
            return
        folder = Path(self._project_dir)
        self._lock_file = state.lock(folder)
        content, problems = state.load(folder)
        for problem in problems:
            print(f"warning: {problem}")
        if content is not None:
            self.set_state(content)

    def close(self) -> None:
        """Give up the folder."""
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def save(self) -> None:
        """Write the state, if the search has a folder."""
        if self._lock_file is not None:
            state.save(Path(self._project_dir), self.get_state())
        self.changed.notify_all()

    def reload(self) -> None:
        """Read the state; keras-tuner's name for `open`."""
        with self.changed:
            self.open()

    def get_state(self) -> dict[str, Any]:
        """Return all that a later process needs, as JSON values."""
        trials = []
        for trial in self.trials.values():
            kept = trial.get_state()
            kept["hyperparameters"] = trial.hyperparameters.values
            kept["score"] = None if trial.score is None else float(trial.score)
            trials.append(kept)
        return {
            "strategy": type(self).__name__,
            "objective": [self.objective.name, self.objective.direction],
            "space": self.hyperparameters.get_config(),
            "trials": trials,
            "ongoing": {tuner: trial.trial_id for tuner, trial in self.ongoing_trials.items()},
            "start_order": self.start_order,
            "end_order": self.end_order,
            "run_times": dict(self._run_times),
            "retry_queue": self._retry_queue,
            "losses": self.losses,
            "stopped": self.stopped,
            "reasons": self.reasons,
        }

    def set_state(self, state_: dict[str, Any]) -> None:
        """Continue where `get_state` was called.

        Trials that were running stay with their workers if this is a chief: they may well be alive and report to it.
        In a single process they died with it and are queued again.
        """
        state.check_space(Path(self._project_dir), state_["space"], self.hyperparameters.get_config())
        self.trials = {}
        for kept in state_["trials"]:
            space = self.hyperparameters.copy()
            space.values = dict(kept["hyperparameters"])
            trial = keras_tuner.engine.trial.Trial(space, kept["trial_id"], kept["status"], kept["message"])
            trial.metrics = MetricsTracker.from_config(kept["metrics"])
            trial.score, trial.best_step = kept["score"], kept["best_step"]
            self.trials[trial.trial_id] = trial
        self.start_order, self.end_order = list(state_["start_order"]), list(state_["end_order"])
        self._run_times.update(state_["run_times"])
        self._retry_queue = list(state_["retry_queue"])
        self.losses, self.stopped, self.reasons = state_["losses"], state_["stopped"], state_["reasons"]
        self.ongoing_trials = {tuner: self.trials[trial] for tuner, trial in state_["ongoing"].items()}
        for tuner_id in list(self.ongoing_trials):
            if distribution.is_chief_oracle():
                self.tuner_ids.add(tuner_id)
                self._seen[tuner_id] = self._clock()
            else:
                self._requeue(tuner_id, counts=False)

    # The life of a trial.

    @property
    def _sign(self) -> float:
        return -1.0 if self.objective.direction == "max" else 1.0

    @property
    def is_complete(self) -> bool:
        """Whether no trial will run any more."""
        with self.changed:
            self._requeue_silent()
            full = self._used_up or len(self.trials) >= self.max_trials
            return self.failure is not None or (full and not self.ongoing_trials and not self._retry_queue)

    @property
    def is_over(self) -> bool:
        """Whether the search is complete and every tuner has been told, or is dead."""
        with self.changed:
            return self.is_complete and not self.tuner_ids

    def _next_trial(self) -> Trial | None:
        if self._retry_queue:
            trial = self.trials[self._retry_queue.pop(0)]
            trial.status = "RUNNING"
            return trial
        if len(self.trials) >= self.max_trials:
            return None
        trial_id = f"{len(self.trials):04d}"
        response = self.populate_space(trial_id)
        if response["status"] != "RUNNING":
            self._used_up = True
            return None
        space = self.hyperparameters.copy()
        space.values = response["values"]
        trial = keras_tuner.engine.trial.Trial(space, trial_id, "RUNNING")
        self.trials[trial_id] = trial
        self.start_order.append(trial_id)
        return trial

    def _score(self, trial: Trial) -> None:
        """Give a completed trial its score; without a finite one it is invalid."""
        if trial.status != "COMPLETED":
            return
        name = self.objective.name
        if not trial.metrics.exists(name):
            trial.status, trial.message = "INVALID", f"it reported no {name}"
            return
        values = [seen.mean() for seen in trial.metrics.get_history(name)]
        if not any(map(math.isfinite, values)):
            trial.status, trial.message = "INVALID", f"its {name} was {values[-1]}"
            return
        history = [(seen.mean(), seen.step) for seen in trial.metrics.get_history(name) if math.isfinite(seen.mean())]
        choose = max if self.objective.direction == "max" else min
        score, trial.best_step = choose(history, key=lambda pair: pair[0])
        trial.score = float(score)

    def _finish(self, trial: Trial) -> None:
        if trial.status == "INVALID":
            trial.status = "FAILED"
        self.end_order.append(trial.trial_id)
        last = [self.trials[trial_id] for trial_id in self.end_order[-self.max_consecutive_failed_trials :]]
        if len(last) == self.max_consecutive_failed_trials and all(t.status == "FAILED" for t in last):
            reasons = "\n".join(f"  trial {t.trial_id}: {_last_line(t.message)}" for t in last)
            self.failure = RuntimeError(f"{len(last)} trials failed in a row:\n{reasons}")

    def _requeue_silent(self) -> None:
        limit = self._clock() - self.heartbeat_timeout
        for tuner_id in [tuner_id for tuner_id in self.tuner_ids if self._seen.get(tuner_id, limit) < limit]:
            self.tuner_ids.discard(tuner_id)
            if tuner_id in self.ongoing_trials:
                self._requeue(tuner_id)

    def _requeue(self, tuner_id: str, counts: bool = True) -> None:
        """Take a trial from a worker that is gone, to be run again from its beginning."""
        trial = self.ongoing_trials.pop(tuner_id)
        self._forget(trial)
        self.losses[trial.trial_id] = self.losses.get(trial.trial_id, 0) + counts
        if self.losses[trial.trial_id] > self.max_losses:
            trial.status = "FAILED"
            trial.message = (
                f"{self.losses[trial.trial_id]} workers died running it: it may need more memory than they have"
            )
            self._finish(trial)
        else:
            self._retry_queue.append(trial.trial_id)

    def _forget(self, trial: Trial) -> None:
        """Drop what an unfinished run reported, or it would be averaged with the next one's."""
        trial.metrics, trial.score, trial.best_step = MetricsTracker(), None, 0
        self.stopped.pop(trial.trial_id, None)

    def _is_poor(self, trial: Trial, epochs: int) -> bool:
        if self.halving is None or trial.trial_id in self.stopped or not self.halving.is_rung(epochs):
            return False
        others = [
            value
            for other in self.trials.values()
            if other is not trial
            and other.status != "FAILED"
            and (value := self._best_until(other, epochs)) is not None
        ]
        value = self._best_until(trial, epochs)
        return self.halving.stops(math.nan if value is None else value, others)

    def _best_until(self, trial: Trial, epochs: int) -> float | None:
        """Return a trial's least objective (sign turned for a maximum) after so many epochs, None before them."""
        if not trial.metrics.exists(self.objective.name):
            return None
        history = trial.metrics.get_history(self.objective.name)
        if history[-1].step + 1 < epochs:
            return None
        values = [
            self._sign * float(seen.mean()) for seen in history if seen.step < epochs and math.isfinite(seen.mean())
        ]
        return min(values, default=math.inf)

    def _runner_of(self, trial_id: str) -> str | None:
        return next((tuner for tuner, trial in self.ongoing_trials.items() if trial.trial_id == trial_id), None)

    def _answer(self, trial: Trial, stop: bool) -> Trial:
        if not stop:
            return trial
        answer = keras_tuner.engine.trial.Trial(trial.hyperparameters, trial.trial_id, "STOPPED")
        answer.metrics, answer.score, answer.best_step = trial.metrics, trial.score, trial.best_step
        return answer

    def _empty_trial(self, status: str) -> Trial:
        return keras_tuner.engine.trial.Trial(self.hyperparameters.copy(), "", status)

    def _tell(self, event: str, trial: Trial) -> None:
        for listener in self.listeners:
            listener(event, trial)

    # What the strategies use.

    def space(self) -> Space:
        """Return the search space as it is now."""
        return Space(self.hyperparameters)

    def tried(self) -> set[Any]:
        """Return the keys of all trials so far."""
        return {_key(trial.hyperparameters.values) for trial in self.trials.values()}

    def observations(self, space: Space) -> Observations:
        """Return what the finished trials tell, less is better."""
        return observe(list(self.trials.values()), self.stopped, self._best_until, self._sign, space)

    def posterior(self, space: Space, seen: Observations) -> tuple[Posterior, Warp]:
        """Return the process fitted to the trials, and the warp of its outputs."""
        warp = Warp.fit(seen.outputs)
        extra = (seen.doubt * warp.slope(seen.outputs)) ** 2
        posterior = gaussian_process.fit(
            space.embed(seen.rows), warp.apply(seen.outputs), extra, space.group, self._parameters
        )
        self._parameters = posterior.parameters
        return posterior, warp


class RandomOracle(Oracle):
    """Scrambled Sobol points: as random as uniform ones, but they leave no part of the space out."""

    def propose(self) -> tuple[Values | None, Reason]:
        """Return the first point of the sequence that is new."""
        space, tried = self.space(), self.tried()
        return _first_new(_sobol(space, len(self.trials), self.seed), space, tried), {"by": "Sobol sequence"}


class GridOracle(Oracle):
    """Every combination once, in order: the first hyperparameter changes last."""

    def propose(self) -> tuple[Values | None, Reason]:
        """Return the first combination that is new."""
        tried = self.tried()
        return next((v for v in self.space().grid() if _key(v) not in tried), None), {"by": "grid"}


class BayesianOracle(Oracle):
    """A Gaussian process is fitted to the trials; the next is where it expects the greatest improvement."""

    initial_trials: int | None = None
    """Trials of the initial design; None: see `_initial`."""

    def propose(self) -> tuple[Values | None, Reason]:
        """Return the point of the initial design, or of the greatest expected improvement."""
        space, tried, number = self.space(), self.tried(), len(self.trials)
        if number == 0 and any(getattr(entry.hp, "_default", None) is not None for entry in space.entries):
            defaults = space.values(space.snap(space.locate(self._defaults())[None])[0])
            return defaults, {"by": "the model's defaults"}
        seen = self.observations(space)
        if space.dimensions and number >= self._initial(space) and len(seen.outputs) >= 2:
            row, reason = self._most_promising(space, seen, tried)
            if row is not None:
                return space.values(row), reason
        return _first_new(_sobol(space, number, self.seed), space, tried), {"by": "initial design"}

    def _most_promising(self, space: Space, seen: Observations, tried: set[Any]) -> tuple[Array | None, Reason]:
        rng = np.random.default_rng([self.seed, len(self.trials)])
        posterior, warp = self.posterior(space, seen)
        running = [space.locate(trial.hyperparameters.values) for trial in self.ongoing_trials.values()]
        running += [space.locate(self.trials[trial_id].hyperparameters.values) for trial_id in self._retry_queue]
        believed = posterior.believing(space.embed(np.array(running)) if running else np.empty((0, len(space.group))))
        best_rows = seen.rows[np.argsort(seen.outputs, kind="stable")[:4]]
        row = acquisition.propose(believed, space, best_rows, lambda row: _key(space.values(row)) not in tried, rng)
        if row is None:
            return None, {}
        point = space.embed(row[None])
        mean, deviation = (float(part[0]) for part in believed.predict(point))
        low, middle, high = warp.undo(np.array([mean - deviation, mean, mean + deviation]))
        improvement = float(acquisition.log_expected_improvement(believed, point, believed.best)[0])
        return row, {
            "by": "expected improvement",
            "mean": self._sign * float(middle),
            "deviation": float(high - low) / 2,
            "log_expected_improvement": improvement,
        }

    def _initial(self, space: Space) -> int:
        if self.initial_trials is not None:
            return self.initial_trials
        return min(max(4, len(space.dimensions) + 2), 10)

    def _defaults(self) -> Values:
        values: Values = {}
        for hp in self.hyperparameters.space:
            if hp.name not in values and all(condition.is_active(values) for condition in hp.conditions):
                values[hp.name] = hp.default
        return values


def _key(values: Values) -> Any:
    """Return what two trials share exactly when they are the same."""
    return tuple(sorted(values.items()))


def _sobol(space: Space, start: int, seed: int) -> Iterator[Values]:
    """Yield points of a scrambled Sobol sequence from its `start`-th on."""
    if space.dimensions:
        sequence = qmc.Sobol(len(space.dimensions), rng=np.random.default_rng(seed))
        if start:  # scipy cannot go forward by nothing
            sequence.fast_forward(start)
        for _ in range(TRIES):
            yield space.values(space.spread(sequence.random(1))[0])


def _first_new(drawn: Iterator[Values], space: Space, tried: set[Any]) -> Values | None:
    """Return the first drawn point that is new; else any that is; None if all of a finite space was tried."""
    everything = space.combinations() if space.size < math.inf else iter(())
    return next((values for values in itertools.chain(drawn, everything) if _key(values) not in tried), None)


def _last_line(message: str | None) -> str:
    return (message or "no reason was given").strip().splitlines()[-1]
