"""Oracles for keras-tuner: they pick the trials of a search, keep its state, and survive what happens to it.

keras-tuner 1.4.8 gives the protocol between tuners and an oracle; what goes wrong in its own bookkeeping (exact
repeats, trials lost with their worker or run twice after a restart, a deadlock after three failures, half-written
files) is replaced here. Any keras-tuner `Tuner` works with these oracles.
"""

import copy
import itertools
import math
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial
from keras_tuner.src.distribute import utils as distribution
from scipy.stats import qmc
from threadpoolctl import threadpool_limits

from ci.errors import InputError, StageError
from ci.tuning import report, state
from ci.tuning.bayes import acquisition, gaussian_process, halving
from ci.tuning.bayes.gaussian_process import Posterior
from ci.tuning.bayes.halving import Halving
from ci.tuning.bayes.space import Array, Space, Values

IDLE = 0.2
"""Longest wait for a change before a worker is told to ask again; seconds."""
AGAIN = 2
"""Best trials of an earlier search that are tried again first."""
DESIGN_AGAIN = 5
"""Trials of the initial design after them, themselves included."""
TRIES = 64
"""Points of a sequence that are looked at for a new one before the space is listed."""


class Oracle(keras_tuner.Oracle):  # type: ignore[misc]
    """What the three strategies share: the life of a trial, and the state of the search."""

    max_trials: int
    heartbeat_timeout = 60.0
    """Silence after which a worker is taken for dead; seconds."""
    max_losses = 10
    """How many processes may die while running a trial before the trial counts as failed: it may be what kills them."""
    clock = staticmethod(time.monotonic)

    def __init__(self, *arguments: Any, seed: int = 0, halving: Halving | None = None, **keywords: Any) -> None:
        """Prepare a search.

        Args:
            arguments: keras-tuner's.
            seed: of everything random.
            halving: when poor trials are stopped; None runs all to their end.
            keywords: keras-tuner's.
        """
        super().__init__(*arguments, seed=seed + 1, **keywords)  # keras-tuner takes 0 for no seed
        self.max_trials = sys.maxsize if self.max_trials is None else self.max_trials  # None: until all were tried
        self.halving = halving
        self.failure: InputError | StageError | None = None
        """Why the search had to end before its last trial."""
        self.notes: dict[str, dict[str, Any]] = {}
        """Of each trial: `why` it was picked, workers `lost` by it, the epoch when it was `stopped`."""
        self.changed = threading.Condition(threading.RLock())
        """The lock that every change of the search holds; waiting threads are notified after the change."""
        self._display = report.Progress(self)
        self._used_up = False
        self._declared: dict[str, Any] | None = None
        """The search space as declared, before trials added hyperparameters; keras-tuner's configuration."""
        self._seen: dict[str, float] = {}
        self._directory: str | None = None
        self._lock: IO[str] | None = None

    # What keras-tuner's tuners and the chief's server call.

    def create_trial(self, tuner_id: str) -> Trial:
        """Return the next trial for a tuner: RUNNING, IDLE (ask again) or STOPPED (the search is over)."""
        with self.changed:
            self.reload()
            self.tuner_ids.add(tuner_id)
            self._seen[tuner_id] = self.clock()
            self._requeue_silent()
            if tuner_id in self.ongoing_trials:  # it was restarted: what it was running is lost
                self._requeue(tuner_id)
            trial = None if self.failure else self._next_trial()
            if trial:
                self.ongoing_trials[tuner_id] = trial
                self.save()
                self._display.on_trial_begin(trial)
                return trial
            waiting = not self.failure and bool(self.ongoing_trials or self._retry_queue)
            if waiting:
                self.changed.wait(IDLE)  # a worker asks again at once
            else:
                self.tuner_ids.discard(tuner_id)
            return Trial(self.hyperparameters.copy(), "", "IDLE" if waiting else "STOPPED")

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Trial:
        """Record an epoch's metrics, counted from 0; without metrics it is only a sign of life.

        Returns:
            The trial; its status is STOPPED if it need not go on.
        """
        with self.changed:
            trial, runner = self.trials[trial_id], self._runner(trial_id)
            late = trial_id in self._retry_queue  # its worker was taken for dead, and lives
            if (runner or late) and not self.failure:
                if runner:
                    self._seen[runner] = self.clock()
                if metrics:
                    self._record(trial, dict(metrics), step)
                if not self.failure and "stopped" not in self.notes[trial_id]:
                    return trial
            answer = copy.copy(trial)
            answer.status = "STOPPED"
            return answer

    def end_trial(self, trial: Trial) -> None:
        """Score a trial that ran, or have it run again; a second end of the same trial changes nothing."""
        with self.changed:
            known, runner = self.trials[trial.trial_id], self._runner(trial.trial_id)
            if runner:
                del self.ongoing_trials[runner]
                self._seen[runner] = self.clock()
            elif trial.trial_id in self._retry_queue:  # as above: and finished
                self._retry_queue.remove(trial.trial_id)
            else:
                return
            known.status, known.message = trial.status, trial.message
            self._take_in(known, trial.hyperparameters)
            self._run_times[known.trial_id] += 1
            if known.status == "COMPLETED":
                self.score_trial(known)
            if known.status == "INVALID" and self._run_times[known.trial_id] <= self.max_retries_per_trial:
                self._retry_queue.append(known.trial_id)
            else:
                self._finish(known)
            self.save()
            self._display.on_trial_end(known)

    def _take_in(self, known: Trial, ran: Any) -> None:
        """Add the hyperparameters that a trial found when it ran to its own and to the space."""
        ran.values = {**ran.values, **known.hyperparameters.values}  # gRPC rounds floats: what was picked stays exact
        known.hyperparameters = ran
        try:
            self.update_space(ran)
        except RuntimeError as error:  # new ones are not allowed: keras-tuner's `allow_new_entries`
            self.failure = InputError(str(error))
            known.status, known.message = "FAILED", str(error)

    def score_trial(self, trial: Trial) -> None:
        """Give a completed trial its best finite objective for a score; without one it is invalid."""
        curve = self.curve(trial)
        if not any(map(math.isfinite, curve)):
            trial.status = "INVALID"
            trial.message = f"its {self.objective.name} was {curve[-1] if curve else 'not reported'}"
            return
        least = halving.best(curve, len(curve))
        trial.score, trial.best_step = self.sign * least, curve.index(least)

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """Return the best trials, best first; those that were stopped early come after the complete ones."""
        done = [trial for trial in self.trials.values() if trial.status == "COMPLETED"]
        done.sort(key=lambda trial: ("stopped" in self.notes[trial.trial_id], self.sign * trial.score))
        return done[:num_trials]

    def propose(self) -> tuple[Values | None, str]:
        """Return the values of the next trial, None if the space is used up, and why these: each strategy its own."""
        raise NotImplementedError

    # State.

    def reload(self) -> None:
        """Take the folder and read the search that was begun there, if any; once.

        Raises:
            InputError: another process works there, the state is damaged, or the space has changed.
        """
        with self.changed:
            if self._lock is None and self._directory is not None:
                self._lock = state.lock(Path(self._project_dir))
                self._declared = self.hyperparameters.get_config()
                content = state.load(Path(self._project_dir))
                if content:
                    self.set_state(content)

    def save(self) -> None:
        """Write the state, if the search has a folder."""
        with self.changed:
            if self._lock:
                state.save(Path(self._project_dir), self.get_state())
            self.changed.notify_all()

    def close(self) -> None:
        """Give up the folder."""
        if self._lock:
            self._lock = self._lock.close()

    def get_state(self) -> dict[str, Any]:
        """Return all that a later process needs, as JSON values."""
        trials = [trial.get_state() for trial in self.trials.values()]
        more = {"notes": self.notes, "used_up": self._used_up, "declared": self._declared}
        return {**super().get_state(), "trials": trials, **more}

    def set_state(self, content: dict[str, Any]) -> None:
        """Continue where `get_state` was called.

        Trials that were running stay with their workers if this is a chief: they may well be alive and report to it.
        In a single process they died with it, if not of it, and are queued again.
        """
        state.check_space(Path(self._project_dir), content["declared"], self.hyperparameters.get_config())
        self.notes, self._used_up = content["notes"], content["used_up"]
        self.trials = {kept["trial_id"]: Trial.from_state(kept) for kept in content["trials"]}
        super().set_state(content)
        for tuner_id in list(self.ongoing_trials):
            if distribution.is_chief_oracle():
                self.tuner_ids.add(tuner_id)
                self._seen[tuner_id] = self.clock()
            else:
                self._requeue(tuner_id)

    # The life of a trial.

    @property
    def sign(self) -> float:
        """-1 if more of the objective is better, else 1: the sign with which less is better."""
        return -1.0 if self.objective.direction == "max" else 1.0

    @property
    def is_complete(self) -> bool:
        """Whether no trial will run any more."""
        with self.changed:
            self._requeue_silent()
            full = self._used_up or len(self.trials) >= self.max_trials
            return self.failure is not None or (full and not self.ongoing_trials and not self._retry_queue)

    def curve(self, trial: Trial) -> list[float]:
        """Return a trial's objective epoch by epoch, less is better."""
        if not trial.metrics.exists(self.objective.name):
            return []
        return [self.sign * float(seen.mean()) for seen in trial.metrics.get_history(self.objective.name)]

    def _next_trial(self) -> Trial | None:
        if self._retry_queue:
            trial = self.trials[self._retry_queue.pop(0)]
            trial.status, trial.score = "RUNNING", None
            trial.metrics = type(trial.metrics)()  # or they would be averaged with this run's
            self.notes[trial.trial_id].pop("stopped", None)
            return trial
        if len(self.trials) >= self.max_trials:
            return None
        # With threads BLAS sums in another order on another machine, and small matrices take longer.
        with threadpool_limits(1, "blas"):
            values, why = self.propose()
        before, self._used_up = self._used_up, values is None
        if values is None:
            if not before:
                self.save()  # a chief that is killed now must know: its workers may have left
            return None
        trial_id, space = f"{len(self.trials):04d}", self.hyperparameters.copy()
        space.values = values
        self.trials[trial_id] = Trial(space, trial_id, "RUNNING")
        self.notes[trial_id] = {"why": why, "lost": 0}
        self.start_order.append(trial_id)
        return self.trials[trial_id]

    def _record(self, trial: Trial, metrics: dict[str, float], step: int) -> None:
        """Take in an epoch's metrics, and stop the trial if it falls behind."""
        name = self.objective.name
        missing = [part for part in getattr(self.objective, "name_to_direction", [name]) if part not in metrics]
        if missing:
            logged = ", ".join(sorted(metrics))
            self.failure = InputError(f"tuning.objective.name: {missing[0]} is not logged: name one of {logged}")
            return
        metrics.setdefault(name, self.objective.get_value(metrics))  # of several objectives, their sum
        for name, value in metrics.items():
            if not trial.metrics.exists(name):
                trial.metrics.register(name, "min")  # in what direction is asked of the objective only
            if all(seen.step != step for seen in trial.metrics.get_history(name)):  # a report may come twice
                trial.metrics.update(name, float(value), step=step)
        others = (self.curve(other) for other in self.trials.values() if other is not trial)  # most epochs need none
        if self.halving and self.halving.stops(self.curve(trial), others):
            self.notes[trial.trial_id].setdefault("stopped", step + 1)
        self.save()

    def _finish(self, trial: Trial) -> None:
        if trial.status == "INVALID":
            trial.status = "FAILED"
        self.end_order.append(trial.trial_id)
        last = [self.trials[trial_id] for trial_id in self.end_order[-self.max_consecutive_failed_trials :]]
        if len(last) == self.max_consecutive_failed_trials and all(t.status == "FAILED" for t in last):
            reasons = "".join(f"\n  trial {t.trial_id}: {report.last_line(t.message)}" for t in last)
            self.failure = StageError(f"the search ended early: {len(last)} trials failed in a row:{reasons}")

    def _requeue_silent(self) -> None:
        limit = self.clock() - self.heartbeat_timeout
        for tuner_id in [tuner_id for tuner_id in self.tuner_ids if self._seen[tuner_id] < limit]:
            self.tuner_ids.discard(tuner_id)
            if tuner_id in self.ongoing_trials:
                self._requeue(tuner_id)

    def _requeue(self, tuner_id: str) -> None:
        """Take a trial away from a worker that is dead."""
        trial = self.ongoing_trials.pop(tuner_id)
        note = self.notes[trial.trial_id]
        note["lost"] += 1
        if note["lost"] <= self.max_losses:
            self._retry_queue.append(trial.trial_id)
        else:
            trial.status = "FAILED"
            trial.message = f"{note['lost']} processes died running it: it may need more memory than there is"
            self._finish(trial)

    def _runner(self, trial_id: str) -> str | None:
        return next((tuner for tuner, trial in self.ongoing_trials.items() if trial.trial_id == trial_id), None)

    # What the strategies use.

    def space(self) -> Space:
        """Return the search space as it is now.

        Raises:
            InputError: the model declares no hyperparameters.
        """
        try:
            return Space(self.hyperparameters)
        except ValueError:
            problem = "build declares no hyperparameters: call hp.Int, hp.Float, … in it"
            raise InputError(f"model/network.py: {problem}") from None

    def first_new(self, drawn: Iterator[Values]) -> Values | None:
        """Return the first of drawn values that no trial has, None if all were tried."""
        names = {hp.name for hp in self.hyperparameters.space}  # trials may have found more, which nobody picks

        def picked(trial: Trial) -> frozenset[Any]:
            return frozenset(item for item in trial.hyperparameters.values.items() if item[0] in names)

        tried = set(map(picked, self.trials.values()))
        return next((values for values in drawn if frozenset(values.items()) not in tried), None)

    def sobol(self) -> Values | None:
        """Return the next new point of a scrambled Sobol sequence; if it has none, any that is new."""
        space, start = self.space(), len(self.trials)
        sequence = qmc.Sobol(max(len(space.dimensions), 1), rng=np.random.default_rng(self.seed))
        rows = sequence.random(2 ** math.ceil(math.log2(start + TRIES)))[start:]
        return self.first_new(itertools.chain(map(space.values, rows), space.grid()))

    def observations(self, space: Space) -> tuple[Array, Array, Array]:
        """Return the finished trials: points (trials, columns), objectives (less is better) and their deviations.

        They are in the order in which they began.
        A complete trial counts as it is, one that was stopped as what it was likely to reach: its partial score is not
        taken for a final one. A failed one counts as the worst: its neighbourhood is avoided but not forbidden.
        """
        done = [trial for trial in self.trials.values() if trial.status == "COMPLETED"]
        complete = [self.curve(trial) for trial in done if "stopped" not in self.notes[trial.trial_id]]
        known = []
        for trial in done:
            stopped, curve = "stopped" in self.notes[trial.trial_id], self.curve(trial)
            told = halving.expected(curve, complete) if stopped else (halving.best(curve, len(curve)), 0.0)
            known += [(trial, *told)] if told else []
        worst = max((output for _, output, _ in known), default=0.0)
        known += [(trial, worst, 0.0) for trial in self.trials.values() if trial.status == "FAILED"]
        known.sort(key=lambda entry: int(entry[0].trial_id))
        rows = np.array([space.locate(trial.hyperparameters.values) for trial, _, _ in known])
        outputs = np.clip([output for _, output, _ in known], -1e100, 1e100)  # so that differences are finite
        return rows, outputs, np.array([deviation for _, _, deviation in known])


class RandomOracle(Oracle):
    """Scrambled Sobol points: as random as uniform ones, but they leave no part of the space out."""

    def propose(self) -> tuple[Values | None, str]:
        """Return the first point of the sequence that is new."""
        return self.sobol(), "Sobol sequence"


class GridOracle(Oracle):
    """Every combination once, in order: the first hyperparameter changes last."""

    def propose(self) -> tuple[Values | None, str]:
        """Return the first combination that is new."""
        return self.first_new(self.space().grid()), "grid"


class BayesianOracle(Oracle):
    """A Gaussian process is fitted to the trials; the next is where it expects the greatest improvement."""

    initial_trials: int | None = None
    """Trials of the initial design; None: two more than there are hyperparameters, within 4 and 10."""
    known: Sequence[tuple[Values, float]] = ()
    """Trials of an earlier search with their objectives (less is better), the best first: the search begins there."""

    def propose(self) -> tuple[Values | None, str]:
        """Return the point of the initial design, or of the greatest expected improvement."""
        space = self.space()
        rows, outputs, deviations = self.observations(space)
        again, before = self._earlier(space)
        if values := self.first_new(iter(again[len(self.trials) :])):
            return values, "one of the best of the search before"
        design = self.initial_trials or (DESIGN_AGAIN if again else min(max(4, len(space.dimensions) + 2), 10))
        if space.dimensions and len(self.trials) >= design and len(rows) >= 2:
            running = [trial for trial in self.trials.values() if trial.status in ("RUNNING", "INVALID")]
            # Where the last trials found nothing better, the process may be wrong: every second one asks another. Of
            # many workers all must have ended a trial in vain before: what they know is older.
            since = int(np.argmin(outputs)) + 1
            is_plain = len(outputs) - since > len(running) and (len(self.trials) - since) % 2 == 1
            trials = space.embed(rows), outputs, deviations
            posterior = gaussian_process.fit(*trials, space.group, before, is_plain=is_plain)
            exploration = acquisition.exploration_after(posterior)
            if running:
                located = np.array([space.locate(trial.hyperparameters.values) for trial in running])
                posterior = posterior.believing(space.embed(located))
            rng = np.random.default_rng([self.seed, len(self.trials)])
            best = rows[np.argsort(outputs, kind="stable")[:4]]
            ranked = acquisition.ranked(posterior, space, best, rng, exploration)
            off = acquisition.off_plateaus(space.embed(ranked), space.embed(rows), outputs, len(space.dimensions))
            values = self.first_new(space.values(row) for row in (*ranked[off], *ranked[~off]))
            if values is not None:
                return values, self._why(posterior, space.embed(space.locate(values)[None]), exploration)
        return self.sobol(), "initial design"

    def _earlier(self, space: Space) -> tuple[list[Values], Array | None]:
        """Return what is tried again of an earlier search, and the scales that a process has which is fitted to it."""
        found = [(space.nearest(values), objective) for values, objective in self.known]
        fitting = [(values, objective) for values, objective in found if values is not None]
        if len(fitting) < 2 or not space.dimensions:
            return [], None
        points = space.embed(np.array([space.locate(values) for values, _ in fitting]))
        objectives = np.array([objective for _, objective in fitting])
        before = gaussian_process.fit(points, objectives, np.zeros(len(fitting)), space.group).scales
        return [values for values, _ in fitting[:AGAIN]], before

    def _why(self, posterior: Posterior, point: Array, exploration: float) -> str:
        low, middle, high = posterior.band(point)[:, 0]
        improvement = np.exp(acquisition.log_expected_improvement(posterior, point, exploration)[0])
        expected = f"{self.sign * middle:.5g} ± {(high - low) / 2:.2g}"
        gain = f"expected improvement {improvement:.2g} σ, exploration {exploration:.2g}"
        process = ", from objectives as they are" if posterior.warp.is_plain else ""
        return f"expected {self.objective.name} {expected}, {gain}{process}"
