"""The way back of a rollout that failed: what served before serves again, if that is possible."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ci.command import patient
from ci.errors import InputError, StageError
from ci.kube.api import Conflict
from ci.releases.ledger import Ledger, Release
from ci.rollout import smoke
from ci.rollout.decision import Phase, Step
from ci.rollout.progress import Progress
from ci.rollout.where import Where
from ci.settings.cluster import Rollout as Settings

_CONFLICTS = 6
"""How often a step may meet a write of somebody else before that counts as a failure."""
_ROLLS = 10
"""Times `startup_timeout` that a roll may take, pod after pod, before it counts as stalled. Kubernetes' own deadline
misses a roll that is paused, and replicas that an autoscaler asks for and no node takes."""


@dataclass
class WayBack:
    """What brings the last verified release back in the place of a version that failed.

    Attributes:
        where: where both run.
        digest: the image of the version that failed.
        ledger: the releases of that place.
        settings: timeouts and tolerances.
        progress: tells people how it goes on.
        found: what was seen at the end: `left`, what each version does, and how many `golden` predictions were right.
    """

    where: Where
    digest: str
    ledger: Ledger
    settings: Settings
    progress: Progress
    found: dict[str, Any] = field(default_factory=dict)

    def take(self) -> list[str]:
        """Put back what served before, and return what stood in the way."""
        problems, self.found = [], {}
        with patient("what served before is being put back"):
            first, then = (self._withdraw, self.resume) if self._stands() else (self.resume, self._withdraw)
            for undo in (first, then, self._look_back):
                try:
                    insist(undo)
                except (InputError, StageError) as problem:
                    problems.append(f"on the way back: {problem}")
            if problems and (last := self.last()):
                problems.append(f"once that is mended, {self.where.by_hand(last['release'])}")
        return problems

    def _stands(self) -> bool:
        """Tell whether pods of the last release still take requests, so that the failed version can be ended first."""
        last = self.ledger.last()
        if last is None or last["digest"] == self.digest or not self.where.shares:
            return False
        try:
            with self.where.addresses(last["digest"], public=True):
                return True
        except StageError:
            return False

    def _withdraw(self) -> None:
        """End the version, unless it is a verified release that serves."""
        last, phase = self.ledger.last(), self.where.phases().get(self.digest, Phase.ABSENT)
        released = last is not None and last["digest"] == self.digest
        if phase is not Phase.ABSENT and not (released and phase is Phase.SERVING):
            self.where.retire(self.digest)

    def resume(self) -> None:
        """Let the last verified release take connections again, if it was paused or its pods were replaced."""
        last = self.ledger.last()
        if last is None:
            return
        phase: Phase | None = self.where.phases().get(last["digest"], Phase.ABSENT)
        if phase is Phase.PAUSED or (self.where.shares and phase in (Phase.ABSENT, Phase.ROLLING)):
            self.where.restore(last["digest"])
            since = time.monotonic()
            while self.where.shares and (phase := self.where.phases().get(last["digest"])) is not Phase.SERVING:
                if self.past(phase, since):
                    limit, why = time.monotonic() - since, self.where.waiting(last["digest"])
                    raise StageError(f"release {last['release']} is not back after {limit:.0f} s: {why}")
                self.progress.waits(Step.RESUME, self.where.waiting(last["digest"]))
                time.sleep(self.where.interval)

    def _look_back(self) -> None:
        """Ask the release that serves again, if one does, for the golden predictions."""
        left, last = self.where.phases(), self.ledger.last()
        self.found["left"] = left
        if last is not None and left.get(last["digest"]) is Phase.SERVING:
            version, tolerance = self.ledger.version(last["digest"]), self.settings.golden_tolerance
            self.found["golden"] = smoke.check(self.where, version, tolerance, public=True)["golden"]

    def last(self) -> Release | None:
        """Return the last verified release; None if there is none, or if that cannot be seen."""
        try:
            return self.ledger.last()
        except (InputError, StageError):
            return None

    def past(self, phase: Phase | None, since: float) -> bool:
        """Tell whether a phase that began at a monotonic time has lasted longer than is allowed."""
        limit = self.settings.startup_timeout * (_ROLLS if phase is Phase.ROLLING else 1)
        return time.monotonic() - since > limit


def insist(act: Callable[[], Any]) -> Any:
    """Call a function that looks and then writes; call it again if somebody else wrote in between."""
    for attempt in range(_CONFLICTS):
        try:
            return act()
        except Conflict:
            if attempt + 1 == _CONFLICTS:
                raise
            time.sleep(0.2 * 2**attempt * random.uniform(0.5, 1.5))  # noqa: S311 - so that two do not meet again
    raise AssertionError("the last attempt returns or raises")
