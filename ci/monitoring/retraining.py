"""The decision whether to retrain: what asks for it, and the brakes against it. A pure function of what is recorded.

What asks for a retraining, the first that applies: somebody by hand, performance that fell, predictions that drifted,
many features that drifted, age, new labelled rows. The brakes, in the order in which they are tried: data that cannot
be trusted (`broken`), a build that waits or runs, the data of the last try, too few windows in a row, the cooldown,
which doubles with every try that did not replace the champion, and the number of tries a day. By hand only the first
three hold. Performance that fell after the last try's data is new evidence: then nothing is doubled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import takewhile

from ci.results.data import Window
from ci.results.monitoring import Attempt, Brake, Cause, Check, Monitoring, Watched
from ci.results.report import Record
from ci.settings.watching import Retraining

_DOUBLED = 4
"""How often the cooldown doubles at most."""
_DRIFT: tuple[Cause, ...] = ("performance", "predictions", "features")
"""Causes that a single window may show by chance."""


@dataclass(frozen=True)
class Facts:
    """What is known when it is decided.

    Attributes:
        monitoring: the monitor stage's result.
        release: digest of the image that serves.
        trained_as_of: until when the serving model knows the data.
        as_of: until when a new build would know them.
        now: the time.
        watched: the windows that were watched, in any order; this one may be among them.
        attempts: the retrainings that were asked for, the oldest first.
        builds: the finished builds of this model.
        running: the build that waits or runs, in words; None if there is none.
        labelled: rows that were labelled since the serving model was trained.
        by_hand: whether somebody asks.
    """

    monitoring: Monitoring
    release: str
    trained_as_of: date
    as_of: date
    now: datetime
    watched: Sequence[Watched] = ()
    attempts: Sequence[Attempt] = ()
    builds: Sequence[Record] = ()
    running: str | None = None
    labelled: int = 0
    by_hand: bool = False

    @property
    def request(self) -> str:
        """What names the retraining that these facts may lead to: the same finding has the same name."""
        return f"retrain-{self.release.removeprefix('sha256:')[:12]}-{self.as_of}"


@dataclass(frozen=True)
class Decision:
    """Whether to retrain, and why or why not: what asks for it, and which brake holds."""

    retrain: bool
    reason: str
    cause: Cause | None = None
    brake: Brake | None = None

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{'retrain because' if self.retrain else 'not now because'} {self.reason}"


def decide(facts: Facts, settings: Retraining) -> Decision:
    """Return the decision; the first rule that applies decides."""
    if facts.monitoring.verdict == "broken":
        return Decision(False, f"what is watched cannot be trusted: {facts.monitoring.reason}", None, "broken")
    cause, reason = _cause(facts, settings)
    if cause is None:
        return Decision(False, reason)
    for brake, why in _brakes(facts, settings, cause):
        return Decision(False, f"{why}, though {reason}", cause, brake)
    return Decision(True, reason, cause)


def asks(monitoring: Monitoring, settings: Retraining) -> tuple[Cause | None, str]:
    """Return what in one window asks for a retraining, and why; or None, and why nothing does."""
    if monitoring.verdict == "too few rows":
        return None, f"the window has only {monitoring.rows} rows"
    if worse := _fallen(monitoring):
        return "performance", f"performance fell: {worse[0].sentence}"
    if monitoring.prediction.verdict == "drifted":
        return "predictions", f"the predictions drifted (PSI {monitoring.prediction.psi:.3f})"
    verdicts = [feature.verdict for feature in monitoring.features]
    share = verdicts.count("drifted") / len(verdicts) if verdicts else 0.0
    if share >= settings.drifted_features:
        return (
            "features",
            f"{share:.0%} of the features drifted, {settings.drifted_features:.0%} ask for a retraining",
        )
    return None, f"the predictions have not drifted and only {share:.0%} of the features have"


def _fallen(monitoring: Monitoring) -> list[Check]:
    """Return the checks that say that performance fell."""
    return [check for check in monitoring.checks if check.kind == "performance" and check.verdict == "drift"]


def _cause(facts: Facts, settings: Retraining) -> tuple[Cause | None, str]:
    if facts.by_hand:
        return "by hand", "somebody asked for it"
    cause, reason = asks(facts.monitoring, settings)
    age = (facts.as_of - facts.trained_as_of).days
    if cause is None and settings.max_age_days is not None and age >= settings.max_age_days:
        return "age", f"the model is {age} days old, {settings.max_age_days} are the most (retraining.max_age_days)"
    if cause is None and settings.new_labels is not None and facts.labelled >= settings.new_labels:
        return "labels", f"{facts.labelled} rows were labelled since, {settings.new_labels} ask for a retraining"
    return cause, reason


def _brakes(facts: Facts, settings: Retraining, cause: Cause) -> Iterator[tuple[Brake, str]]:
    """Yield each brake that holds, with the reason."""
    if facts.running is not None:
        yield "running", facts.running
    unfinished = any(each.request == facts.request and not each.done for each in facts.attempts)
    tries = [] if unfinished else _tries(facts)  # what was broken off while it was asked for is asked for again
    last = max([facts.trained_as_of, *tries])
    if facts.as_of <= last:
        yield "same data", f"the last build knows the data until {last} already"
    if facts.by_hand:
        return
    if cause in _DRIFT and (row := _in_a_row(facts)) < settings.windows:
        yield "windows", f"{row} window{'s' * (row > 1)} in a row asked for it, {settings.windows} are required"
    needed = settings.cooldown_days
    waits = bool(tries) and not _fell_after(facts.monitoring, last)
    if waits:
        needed = max(needed, 1) * 2 ** min(len(tries), _DOUBLED)
    if (new := (facts.as_of - last).days) < needed:
        why = f"there are {new} days of new data, {needed} are required"
        if waits:
            yield "no help", f"{why} after {_outcome(facts, tries)}"
        yield "cooldown", why
    begun = len({each.request for each in facts.attempts if each.time > facts.now - timedelta(days=1)})
    if not unfinished and begun >= settings.daily_budget:
        yield "budget", f"{begun} retrainings began within a day, {settings.daily_budget} are the most"


def _fell_after(monitoring: Monitoring, last: date) -> bool:
    """Tell whether performance fell on days that all come after the data of the last try.

    The verdict takes two windows in a row (see `checks.settled`), so the days of both must. Those of the one before are
    not known here; they are as much older as a window is long, or a period where windows are shorter.
    """
    window = monitoring.window.end - monitoring.window.first
    known = [check.days for check in _fallen(monitoring) if check.days]
    return any(days.first - max(window, days.end - days.first) >= last for days in known)


def _tries(facts: Facts) -> list[date]:
    """Return the `as_of` of every build and attempt that is newer than what serves: none of them replaced it."""
    known = {*(each.as_of for each in facts.attempts), *(each.as_of for each in facts.builds)}
    return sorted(as_of for as_of in known if as_of > facts.trained_as_of)


def _outcome(facts: Facts, tries: Sequence[date]) -> str:
    """Say how the tries ended."""
    verdicts = {each.as_of: each.verdict for each in facts.builds}
    how = verdicts.get(tries[-1], "no verdict")
    return f"{len(tries)} that did not replace the champion, the last of {tries[-1]} ({how})"


def apart(watched: Sequence[Watched], window: Window) -> Iterator[Watched]:
    """Yield the windows before a window, the newest first, each of which ends before the one counted last begins.

    Windows that overlap hold partly the same rows, and show the same thing only once.

    Args:
        watched: windows of one release, in any order.
        window: counted first.
    """
    first = window.first
    for each in sorted(watched, key=lambda each: (each.window.end, each.window.first), reverse=True):
        if each.window.end < window.end and each.window.end <= first:
            first = each.window.first
            yield each


def _in_a_row(facts: Facts) -> int:
    """Return how many of the last windows of this release, apart from each other, asked; this window is the last."""
    same = [each for each in facts.watched if each.release == facts.release]
    return 1 + sum(1 for _ in takewhile(lambda each: each.asks, apart(same, facts.monitoring.window)))
