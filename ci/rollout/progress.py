"""What people read while a rollout is under way: a line for each step, and for each change of what is waited for."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

_SILENCE = 30.0
"""After so long a wait says again what it waits for, so that a log shows that it goes on; seconds."""


def _print(line: str) -> None:
    with suppress(OSError):  # nobody reads stderr any more; the rollout goes on
        print(f"  {line}", file=sys.stderr, flush=True)


class Progress:
    """Tells how a rollout goes on, in lines that a terminal and a log show alike.

    Args:
        say: takes a line.
        clock: returns seconds that never go back.
    """

    def __init__(self, say: Callable[[str], None] = _print, clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._began: float | None = None
        self._said, self._spoke = "", 0.0
        self._failed = ""

    def waits(self, step: str, what: str) -> None:
        """Tell what a step waits for, if that has changed."""
        self._wait(what, lambda seconds: f"{step}: {seconds:.0f} s, {what}")

    def watches(self, step: str, measured: Mapping[str, Any]) -> None:
        """Tell what was measured so far, whenever the set of undecided measures has changed."""
        undecided = [measure for measure in measured["measures"] if measure["verdict"] == "wait"]
        reasons = "; ".join(measure["reason"] for measure in undecided)
        what = f"still waiting: {reasons}" if undecided else "no measure is worse so far"
        names = " ".join(measure["name"] for measure in undecided)
        self._wait(names, lambda seconds: f"{step}: {measured['requests']:,} requests in {seconds:.0f} s, {what}")

    def ended(self, entry: Mapping[str, Any]) -> None:
        """Tell how a step ended, as the journal has it."""
        self._began, self._said = None, ""
        took = f"{entry['seconds']:.1f} s"
        if failed := entry.get("failed"):
            self._line(f"{entry['step']}: failed after {took}: {failed}")
            self._failed = failed
        elif reason := entry.get("reason"):
            # Usually it is the reason of the failed step before, which was told already.
            right = f", what serves gives its {entry['golden']} golden predictions" if "golden" in entry else ""
            self._line(f"{entry['step']}: {took}{right}" + (f": {reason}" if reason != self._failed else ""))
        else:
            self._line(", ".join((f"{entry['step']}: {found}" if (found := passed(entry)) else entry["step"], took)))

    def _wait(self, key: str, line: Callable[[float], str]) -> None:
        now = self._clock()
        if self._began is None:
            self._began = now
        elif key == self._said and now - self._spoke < _SILENCE:
            return
        self._said, self._spoke = key, now
        self._line(line(now - self._began))

    def _line(self, text: str) -> None:
        self._say(" ".join(text.split()))


def passed(entry: Mapping[str, Any]) -> str:
    """Return in a few words what a step that did not fail has measured; nothing if it measures nothing."""
    if "golden" in entry:
        servers = f" from {entry['servers']} servers" if entry.get("servers", 1) > 1 else ""
        compared = entry.get("skew", {}).get("compared", 0)
        captured = f", {compared} captured requests" if compared else ""
        placed = f"; {entry['placed']}" if "placed" in entry else ""
        return f"passed, {entry['golden']} golden predictions{captured}{servers}{placed}"
    if "again" in entry:
        return f"to be taken again, {entry['again']}"
    if "interrupted" in entry:
        return f"interrupted, {entry['interrupted']}"
    if "measures" in entry:
        return f"passed, {entry['requests']:,} requests"
    return ""
