"""Carrying out a rollout: observe, let `ci.rollout.decision` say what comes next, do it, write down how it went."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, Protocol

from ci import http
from ci.command import patient
from ci.errors import InputError, StageError
from ci.kube.api import Conflict
from ci.releases.machine import Release
from ci.results.evaluation import GOLDEN, sent
from ci.results.package import MANIFEST
from ci.results.rollout import STEPS
from ci.rollout.decision import Observed, Phase, Step, next_step, plan, smoke_problem, stuck
from ci.rollout.progress import Progress
from ci.settings import Rollout as Settings

_CONFLICTS = 6
"""How often a step may meet a write of somebody else before that counts as a failure."""
_CONNECTIONS = 3
"""How often a version under test is asked when its connection breaks."""
_INTERRUPTIONS = 3
"""How often a canary's pod may be moved to another node while its traffic is watched."""
_ROLLS = 10
"""Times `startup_timeout` that a roll may take, pod after pod, before it counts as stalled: Kubernetes' own deadline
does not see one that is paused, nor replicas that an autoscaler asks for and no node takes."""
_TIMEOUT = 30.0
"""Longest wait for one answer of a version under test; seconds."""


class _Unreachable(StageError):  # noqa: N818 - a state, not a fault
    """A version's connection broke before it answered."""


class Ledger(Protocol):
    """The releases of a place: the module `ci.releases.machine` for this machine."""

    def read(self) -> list[Release]:
        """Return every release, the oldest first."""

    def last(self) -> Release | None:
        """Return the last verified release."""

    def evidence(self, digest: str) -> Path:
        """Return the folder with a released package's manifest and golden predictions."""


class Where(Protocol):
    """Where versions run: this machine, or a cluster."""

    shares: bool
    """A canary can take part of the traffic."""
    interval: float
    """Between two looks at a version that loads; seconds."""

    def phases(self) -> dict[str, Phase]:
        """Return what each running version does, by its image's digest."""

    def reserve(self, digest: str, *, force: bool) -> None:
        """Make sure, before a version is started, that the public address can be had, against others if forced."""

    def start(self, digest: str) -> None:
        """Start a version that takes no traffic."""

    def changed(self, digest: str) -> str | None:
        """Return in a sentence that what serves was changed by hand, to another version than the one named."""

    def difference(self, manifest: Mapping[str, Any]) -> str:
        """Return as a diff what a version's manifests would change, where there are any."""

    def busy(self) -> str | None:
        """Return who deploys there now."""

    def failure(self, digest: str) -> str:
        """Return why a version could not load."""

    def waiting(self, digest: str) -> str:
        """Return what a version that loads, or takes over, waits for."""

    def addresses(self, digest: str, *, public: bool) -> AbstractContextManager[list[str]]:
        """Give the URLs of a version alone, or of all that clients' requests reach."""

    def join(self, digest: str) -> None:
        """Let a version take part of the traffic."""

    def analyse(self, digest: str, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Watch a version's part of the traffic and return what was measured, or `interrupted` and why.

        Args:
            digest: its image.
            tell: gets what was measured so far after each look: its `requests`, and the `measures`.

        Raises:
            StageError: it is worse than the stable version's, or too little to judge.
        """

    def promote(self, digest: str) -> None:
        """Let a version take all new connections; one that was paused, again."""

    def restore(self, digest: str) -> None:
        """Let the last verified release take all new connections again, as it was when it was verified."""

    def pause(self, digest: str) -> None:
        """Let a version take no new connections."""

    def retire(self, digest: str) -> str:
        """End a version after its requests, its canary where it serves as stable; return how that went."""

    def passed(self, digest: str) -> set[str]:
        """Return what a version is known to have passed: `smoked`, `analysed`."""

    def note(self, digest: str, fact: str) -> None:
        """Write down what a version has passed, for as long as it runs."""

    def leftover(self, digest: str) -> bool:
        """Tell whether a version serves as stable while its canary still runs."""

    def lacking(self, digest: str) -> str | None:
        """Return how many pods of a version answer and what others wait for; None if nothing lacks, or none answers."""

    def pending(self, digest: str) -> bool:
        """Tell whether a version serves because a deployment was interrupted before it had verified it."""

    def verified(self, digest: str) -> None:
        """Take note that a version is verified: it is recorded next."""

    def disturbed(self, digest: str) -> str:
        """Return where to look for what undoes a deployment's steps."""

    def by_hand(self, release: int) -> str:
        """Return what somebody can do to bring a release back where a rollout could not."""

    def placed(self, digest: str) -> str | None:
        """Return in a sentence how many of a version's pods are where the placement's plan wanted them, if one did."""

    def captured(self, digest: str) -> dict[str, list[dict[str, Any]]] | None:
        """Return sampled requests to each pod of a version with its answers; None where nothing captures them."""


@dataclass
class Rollout:
    """One version on its way to be the only one that serves.

    Attributes:
        where: where it runs.
        digest: its image; manifest and golden predictions are read from `releases.evidence`.
        ledger: the releases of that place.
        record: called once when it has been verified on the public address and is not yet the last release.
        settings: timeouts and tolerances.
        clock: the time for the journal.
        trusted: it was a release before, and is needed now: its part of the traffic is not analysed.
        rescore: compares what it served with its SavedModel once it is verified, raises StageError if they differ, and
            returns what was measured.
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

    def observe(self) -> Observed:
        """Return the state of the rollout."""
        phases = self.where.phases()
        self._phases = dict(phases)
        wanted = phases.pop(self.digest, Phase.ABSENT)
        last, passed = self.ledger.last(), self.where.passed(self.digest) | self._passed
        if self._since is None or self._since[0] is not wanted:  # a canary whose pod has to move later loads anew
            self._since = wanted, time.monotonic()
        return Observed(
            wanted=wanted,
            stable=phases.get(last["digest"], Phase.ABSENT) if last else Phase.ABSENT,
            others=frozenset(phases.values()),
            released=last is not None and last["digest"] != self.digest,
            recorded=last is not None and last["digest"] == self.digest,
            late=wanted in (Phase.LOADING, Phase.ROLLING) and self._past(*self._since),
            shares=self.where.shares,
            smoked="smoked" in passed,
            analysed=self.trusted or "analysed" in passed,
            leftover=self.where.leftover(self.digest),
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
        _insist(lambda: self.where.reserve(self.digest, force=self.trusted))
        try:
            self._go_on()
        except KeyboardInterrupt:
            with patient("what is released stays, and the others are retired"):
                if not self._released():
                    self._abort(StageError("it was interrupted"))
                self._go_on()

    def _go_on(self) -> None:
        try:
            while _insist(self._advance):
                pass
        except (InputError, StageError) as error:
            self._abort(error)
        except Exception:  # a fault of ours: it keeps its traceback, but no canary in the traffic
            self._put_back()
            raise

    def _released(self) -> bool:
        """Tell whether this run has made the version a release; not, if that cannot be seen."""
        last = self._last() if self.facts["verified"] else None  # if it cannot be seen, the way back says so
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

    def _hear(self, measured: dict[str, Any]) -> None:
        self._measured = measured
        self.progress.watches(Step.ANALYSE, measured)

    def _do(self, step: Step) -> dict[str, Any]:
        match step:
            case Step.START:
                self.where.start(self.digest)
                self.facts["started"] = True
            case Step.SMOKE:
                measured = self._check_all(self.digest, public=False)
                self._note("smoked")
                return measured
            case Step.VERIFY:
                measured = self._check_all(self.digest, public=True) | self.rescore()
                if placed := self.where.placed(self.digest):
                    measured["placed"] = placed
                self.facts["verified"] = True
                return measured
            case Step.JOIN:
                self.where.join(self.digest)
            case Step.ANALYSE:
                measured = self.where.analyse(self.digest, self._hear)
                if "interrupted" not in measured:
                    self._note("analysed")
                elif (interruptions := self._interruptions + 1) > _INTERRUPTIONS:
                    raise StageError(f"the canary's pod was moved {interruptions} times while it was watched")
                else:
                    self._interruptions = interruptions
                return measured
            case Step.PROMOTE:
                self.where.promote(self.digest)
            case Step.RESUME:
                self._resume()
            case Step.PAUSE:
                for digest, phase in self._others():
                    if phase is Phase.SERVING:
                        self.where.pause(digest)
            case Step.RECORD:
                self.record()
            case Step.RETIRE:
                gone = [digest for digest, _ in self._others()]
                gone += [self.digest] * self.where.leftover(self.digest)
                return {digest: self.where.retire(digest) for digest in gone}
        return {}

    def _note(self, fact: str) -> None:
        """Remember what the version has passed: where it runs for the next run, and here, as its canary goes."""
        self.where.note(self.digest, fact)
        self._passed.add(fact)

    def _past(self, phase: Phase | None, since: float) -> bool:
        limit = self.settings.startup_timeout * (_ROLLS if phase is Phase.ROLLING else 1)
        return time.monotonic() - since > limit

    def _others(self) -> list[tuple[str, Phase]]:
        return [(digest, phase) for digest, phase in self.where.phases().items() if digest != self.digest]

    def _resume(self) -> None:
        """Let the last verified release take connections again, if it was paused or its pods gave way to others."""
        last = self.ledger.last()
        if last is None:
            return
        phase: Phase | None = self.where.phases().get(last["digest"], Phase.ABSENT)
        if phase is Phase.PAUSED or (self.where.shares and phase in (Phase.ABSENT, Phase.ROLLING)):
            self.where.restore(last["digest"])
            since = time.monotonic()
            while self.where.shares and (phase := self.where.phases().get(last["digest"])) is not Phase.SERVING:
                if self._past(phase, since):
                    limit, why = time.monotonic() - since, self.where.waiting(last["digest"])
                    raise StageError(f"release {last['release']} is not back after {limit:.0f} s: {why}")
                self.progress.waits(Step.RESUME, self.where.waiting(last["digest"]))
                time.sleep(self.where.interval)

    def _abort(self, error: InputError | StageError) -> NoReturn:
        """Put back what served before, as far as it can be, and raise why."""
        begin, self._measured = time.perf_counter(), {}
        reasons = [str(error), *self._put_back()]
        self._journal(Step.ABORT, begin, {**self._measured, "reason": "; ".join(reasons)})
        raise type(error)("; ".join(reasons)) from None

    def _put_back(self) -> list[str]:
        """Put back what served before, and return what stood in the way."""
        problems = []
        with patient("what served before is being put back"):
            first, then = (self._withdraw, self._resume) if self._stands() else (self._resume, self._withdraw)
            for undo in (first, then, self._look_back):
                try:
                    _insist(undo)
                except (InputError, StageError) as problem:
                    problems.append(f"on the way back: {problem}")
            if problems and (last := self._last()):
                problems.append(f"once that is mended, {self.where.by_hand(last['release'])}")
        return problems

    def _last(self) -> Release | None:
        """Return the last verified release, None also if that cannot be seen."""
        try:
            return self.ledger.last()
        except (InputError, StageError):
            return None

    def _stands(self) -> bool:
        """Tell whether the last release answers beside the version, so that this one can leave the traffic at once."""
        last = self.ledger.last()
        if last is None or last["digest"] == self.digest or not self.where.shares:
            return False
        try:
            with self.where.addresses(last["digest"], public=True):
                return True
        except StageError:
            return False

    def _look_back(self) -> None:
        """Ask the release that serves again, if one does, for the golden predictions."""
        left, last = self.where.phases(), self.ledger.last()
        self._measured["left"] = left
        if last is not None and left.get(last["digest"]) is Phase.SERVING:
            self._measured["golden"] = self._check_all(last["digest"], public=True)["golden"]

    def _withdraw(self) -> None:
        """End the version, unless it is a verified release that serves."""
        last, phase = self.ledger.last(), self.where.phases().get(self.digest, Phase.ABSENT)
        released = last is not None and last["digest"] == self.digest
        if phase is not Phase.ABSENT and not (released and phase is Phase.SERVING):
            self.where.retire(self.digest)

    def _why_aborted(self) -> str:
        phases = dict(self._phases)  # as they were when this was decided: they may have changed since
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

    def _check_all(self, digest: str, *, public: bool) -> dict[str, Any]:
        with self.where.addresses(digest, public=public) as addresses:
            measured = [self._check_patiently(digest, address) for address in addresses]
        return {**measured[0], "servers": len(measured)}

    def _check_patiently(self, digest: str, address: str) -> dict[str, Any]:
        """Check a version again if its connection breaks: on a cluster that leads through the API server."""
        for _ in range(_CONNECTIONS - 1):
            try:
                return self._check(digest, address)
            except _Unreachable:
                time.sleep(0.5)
        return self._check(digest, address)

    def _check(self, digest: str, address: str) -> dict[str, Any]:
        """Ask a version for its status, its metadata and the golden predictions.

        Raises:
            StageError: it fails `smoke_problem`, or does not answer as it should.
        """
        import requests

        folder = self.ledger.evidence(digest)
        manifest, golden = MANIFEST.plain(folder / "manifest.json"), GOLDEN.plain(folder / "golden.json")
        url = f"{address}/v1/models/{manifest['model']}/versions/{manifest['version']}"
        try:
            ask = http.session()
            status = ask.get(url, timeout=_TIMEOUT).json()
            metadata = ask.get(f"{url}/metadata", timeout=_TIMEOUT).json()
            begin = time.perf_counter()
            body = json.dumps({"instances": sent(golden["instances"])})
            answer = ask.post(f"{url}:predict", data=body, timeout=_TIMEOUT).json()
            seconds = time.perf_counter() - begin
            served = answer.get("predictions", answer)
            tolerance = self.settings.golden_tolerance
            signature, predictions = manifest["signature"], golden["predictions"]
            problem = smoke_problem(signature, status, metadata, predictions, served, tolerance)
        except requests.ConnectionError as error:
            raise _Unreachable(f"{url} cannot be reached: {error!r}") from None
        except (requests.RequestException, LookupError, AttributeError, TypeError) as error:
            raise StageError(f"{url} does not answer as TensorFlow Serving does: {error!r}") from None
        if problem:
            raise StageError(f"version {manifest['version']}: {problem}")
        difference = max((abs(a - b) for a, b in zip(predictions, served, strict=True)), default=0.0)
        return {"golden": len(served), "largest_difference": difference, "seconds_predicting": round(seconds, 4)}

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


def _insist(act: Callable[[], Any]) -> Any:
    """Do something that begins by looking, again while others write in between; return what it returns."""
    for attempt in range(_CONFLICTS):
        try:
            return act()
        except Conflict:
            if attempt + 1 == _CONFLICTS:
                raise
            time.sleep(0.2 * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311 - so that two do not meet again
    raise AssertionError("the last attempt returns or raises")
