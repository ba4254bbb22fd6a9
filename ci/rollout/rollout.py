"""Carrying out a rollout: observe, let `ci.rollout.decision` say what comes next, do it, write down how it went."""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn

from ci.command import patient
from ci.errors import InputError, StageError
from ci.kube.api import Conflict
from ci.releases.ledger import Ledger
from ci.results.rollout import STEPS
from ci.rollout import smoke
from ci.rollout.back import WayBack, insist
from ci.rollout.decision import Observed, Phase, Step, next_step, plan, stuck
from ci.rollout.progress import Progress
from ci.rollout.where import Where
from ci.settings.cluster import Rollout as Settings

_INTERRUPTIONS = 3
"""How often a canary's pod may be moved to another node while its traffic is watched."""


@dataclass
class Rollout:
    """One version on its way to be the only one that serves.

    Attributes:
        where: where it runs.
        digest: its image; the ledger's evidence says what it must answer.
        ledger: the releases of that place.
        record: called once when it has been verified on the public address and is not yet the last release.
        settings: timeouts and tolerances.
        clock: the time for the journal.
        trusted: it was a release before, and is needed now: its part of the traffic is not analysed.
        rescore: called once it is verified: compares what it served with its SavedModel, raises StageError if they
            differ, and returns what was measured.
        facts: whether this run has started it, and verified it.
        progress: tells people how it goes on.
    """

    where: Where
    digest: str
    ledger: Ledger
    record: Callable[[], None]
    settings: Settings
    clock: Callable[[], datetime]
    trusted: bool = False
    rescore: Callable[[], dict[str, Any]] = dict
    facts: dict[str, bool] = field(default_factory=lambda: {"started": False, "verified": False})
    progress: Progress = field(default_factory=Progress)
    _passed: set[str] = field(default_factory=set)
    _phases: dict[str, Phase] = field(default_factory=dict)
    _measured: dict[str, Any] = field(default_factory=dict)
    _interruptions: int = 0
    _taken: Counter[tuple[Step, Observed]] = field(default_factory=Counter)
    _since: tuple[Phase, float] | None = None

    def __post_init__(self) -> None:
        self._back = WayBack(self.where, self.digest, self.ledger, self.settings, self.progress)

    def observe(self) -> Observed:
        """Return the state of the rollout."""
        phases = self.where.phases()
        self._phases = dict(phases)
        wanted = phases.pop(self.digest, Phase.ABSENT)
        last, passed = self.ledger.last(), self._passed
        if self.where.shares:
            passed = passed | self.where.passed(self.digest)
        if self._since is None or self._since[0] is not wanted:  # a canary whose pod moves to another node loads again
            self._since = wanted, time.monotonic()
        return Observed(
            wanted=wanted,
            stable=phases.get(last["digest"], Phase.ABSENT) if last else Phase.ABSENT,
            others=frozenset(phases.values()),
            released=last is not None and last["digest"] != self.digest,
            recorded=last is not None and last["digest"] == self.digest,
            late=wanted in (Phase.LOADING, Phase.ROLLING) and self._back.past(*self._since),
            shares=self.where.shares,
            smoked="smoked" in passed,
            analysed=self.trusted or "analysed" in passed,
            leftover=self._leftover(),
            **self.facts,
        )

    def plan(self) -> list[Step]:
        """Return the steps that are left if all goes well."""
        self._since = None
        return plan(self.observe())

    def run(self) -> None:
        """Take step after step until the version serves alone.

        Raises:
            StageError: a check failed, or somebody interrupted it before it was a release; what served before serves.
            InputError: the public address cannot be had; nothing was started.
        """
        insist(lambda: self.where.reserve(self.digest, force=self.trusted))
        try:
            self._go_on()
        except KeyboardInterrupt:
            with patient("what is released stays, and the others are retired"):
                if not self._released():
                    self._abort(StageError("it was interrupted"))
                self._go_on()

    def _go_on(self) -> None:
        try:
            while insist(self._advance):
                pass
        except (InputError, StageError) as error:
            self._abort(error)
        except Exception:  # a fault in this code: the canary must leave the traffic all the same
            self._back.take()
            raise

    def _released(self) -> bool:
        """Tell whether this run has made the version a release; False also if the ledger cannot be read."""
        last = self._back.last() if self.facts["verified"] else None
        return last is not None and last["digest"] == self.digest

    def _advance(self) -> bool:
        """Take the next step, if one is left.

        Raises:
            StageError: it was taken before, and what is seen stays the same.
        """
        seen = self.observe()
        step = next_step(seen)
        if step is Step.DONE:
            return False
        if problem := stuck(self._taken, step, seen):
            raise StageError(f"{problem}: {self.where.disturbed(self.digest)}")
        if self._taken[step, seen]:
            time.sleep(self.where.interval)
        self._take(step)
        self._taken[step, seen] += 1
        return True

    def _take(self, step: Step) -> None:
        if step is Step.ABORT:
            raise StageError(self._why_aborted())
        if step is Step.WAIT:
            self._wait()
            return
        begin, self._measured = time.perf_counter(), {}
        try:
            measured = self._do(step)
        except Conflict as error:
            self._journal(step, begin, {"again": str(error)})
            raise
        except (InputError, StageError) as error:
            self._journal(step, begin, {**self._measured, "failed": str(error)})
            raise
        self._journal(step, begin, measured)

    def _wait(self) -> None:
        """Wait until another step is due, and tell what for."""
        begin, seen = time.perf_counter(), self._phases
        due = Step.WAIT
        while due is Step.WAIT:
            why = self.where.waiting(self.digest)
            self.progress.waits(Step.WAIT, why)
            time.sleep(self.where.interval)
            due = next_step(self.observe())
        self._journal(Step.WAIT, begin, {"observed": seen, "for": why})

    def _watched(self, measured: dict[str, Any]) -> None:
        self._measured = measured
        self.progress.watches(Step.ANALYSE, measured)

    def _do(self, step: Step) -> dict[str, Any]:
        match step:
            case Step.START:
                self.where.start(self.digest)
                self.facts["started"] = True
            case Step.SMOKE:
                measured = self._check(public=False)
                self._note("smoked")
                return measured
            case Step.VERIFY:
                measured = self._check(public=True) | self.rescore()
                if self.where.shares and (placed := self.where.placed(self.digest)):
                    measured["placed"] = placed
                self.facts["verified"] = True
                return measured
            case Step.JOIN if self.where.shares:
                self.where.join(self.digest)
            case Step.ANALYSE if self.where.shares:
                measured = self.where.analyse(self.digest, self._watched)
                if "interrupted" not in measured:
                    self._note("analysed")
                    return measured
                self._interruptions += 1
                if self._interruptions > _INTERRUPTIONS:
                    raise StageError(f"the canary's pod was moved {self._interruptions} times while it was watched")
                return measured
            case Step.PROMOTE:
                self.where.promote(self.digest)
            case Step.RESUME:
                self._back.resume()
            case Step.PAUSE if not self.where.shares:
                for digest, phase in self._others():
                    if phase is Phase.SERVING:
                        self.where.pause(digest)
            case Step.RECORD:
                self.record()
            case Step.RETIRE:
                gone = [digest for digest, _ in self._others()]
                gone += [self.digest] * self._leftover()
                return {digest: self.where.retire(digest) for digest in gone}
            case _:
                raise AssertionError(f"step {step} is not taken where shares is {self.where.shares}")
        return {}

    def _check(self, *, public: bool) -> dict[str, Any]:
        version = self.ledger.version(self.digest)
        return smoke.check(self.where, version, self.settings.golden_tolerance, public=public)

    def _leftover(self) -> bool:
        return self.where.shares and self.where.leftover(self.digest)

    def _note(self, fact: str) -> None:
        """Remember what the version has passed: in its place for the next run, and here for after the canary."""
        if self.where.shares:
            self.where.note(self.digest, fact)
        self._passed.add(fact)

    def _others(self) -> list[tuple[str, Phase]]:
        return [(digest, phase) for digest, phase in self.where.phases().items() if digest != self.digest]

    def _abort(self, error: InputError | StageError) -> NoReturn:
        """Put back what served before, as far as it can be, and raise why."""
        begin = time.perf_counter()
        reasons = [str(error), *self._back.take()]
        self._journal(Step.ABORT, begin, {**self._back.found, "reason": "; ".join(reasons)})
        raise type(error)("; ".join(reasons)) from None

    def _why_aborted(self) -> str:
        phases = dict(self._phases)  # those that the decision was made on
        phase = phases.pop(self.digest, Phase.ABSENT)
        if phase is Phase.UNREACHABLE:
            return "the new version's process hangs"
        if Phase.UNREACHABLE in phases.values():
            return "another version's process hangs, and may hold the port: `make stop` ends it"
        if phase is Phase.FAILED:
            return f"the new version did not become ready: {self.where.failure(self.digest)}"
        if phase is Phase.LOADING:
            limit, why = self.settings.startup_timeout, self.where.waiting(self.digest)
            return f"the new version had not loaded its model after {limit:g} s: {why}"
        if phase is Phase.ROLLING:
            return f"the new version's pods have not taken over: {self.where.waiting(self.digest)}"
        return "the new version's process ended unexpectedly"

    def _journal(self, step: Step, begin: float, measured: dict[str, Any]) -> None:
        entry = {
            "time": self.clock().isoformat(timespec="milliseconds"),
            "step": step.value,
            "digest": self.digest,
            "seconds": round(time.perf_counter() - begin, 3),
            "observed": self._phases,
            **measured,
        }
        STEPS.path.parent.mkdir(parents=True, exist_ok=True)
        with STEPS.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self.progress.ended(entry)
