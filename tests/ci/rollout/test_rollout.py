"""How long a rollout waits for what it observes."""

import contextlib
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ci.errors import StageError
from ci.kube.api import Conflict
from ci.releases.version import Version
from ci.rollout.decision import TRIES, Phase
from ci.rollout.rollout import Rollout
from ci.settings.cluster import Rollout as Settings

NEW, OLD, LIMIT = "sha256:new", "sha256:old", 0.4


class Cluster:
    """A place whose phases are told in advance; its canary is promoted into an error that says so."""

    shares, interval = True, 0.01

    def __init__(self, analysis: float, *phases: Phase):
        self.analysis, self.coming, self.facts = analysis, list(phases), {"smoked"}

    def phases(self) -> dict[str, Phase]:
        now = self.coming.pop(0) if len(self.coming) > 1 else self.coming[0]
        return {NEW: now, OLD: Phase.SERVING}

    def analyse(self, _: str, __: Callable[..., None]) -> dict[str, Any]:
        time.sleep(self.analysis)
        return {"verdict": "pass"}

    def passed(self, _: str) -> set[str]:
        return self.facts

    def note(self, _: str, fact: str) -> None:
        self.facts = self.facts | {fact}

    def promote(self, _: str) -> None:
        raise StageError("it was promoted")

    def waiting(self, _: str) -> str:
        return "it is loading"

    def addresses(self, digest: str, *, public: bool) -> NoReturn:
        assert (digest, public) == (OLD, True)  # what serves again is asked whether it answers as it did
        raise StageError("no pod of stable is ready")

    def leftover(self, _: str) -> bool:
        return False

    def reserve(self, _: str, *, force: bool) -> None:
        pass

    def retire(self, _: str) -> str:
        return "gone"

    def by_hand(self, release: int) -> str:
        return f"bring release {release} back"

    def disturbed(self, _: str) -> str:
        return "somebody undoes it"


class Releases:
    """One release serves."""

    def last(self) -> dict[str, Any]:
        return {"release": 1, "digest": OLD}

    def version(self, digest: str) -> Version:
        return Version(
            digest, number="1", model="m", reference="m:1", base=None, signature={}, instances=[], predictions=[]
        )


@pytest.mark.parametrize(
    ("analysis", "phases", "end"),
    [
        (0.0, (Phase.LOADING,), "the new version had not loaded its model after 0.4 s: it is loading"),
        (0.0, (Phase.LOADING, Phase.SHARING), "it was promoted"),
        # A node is drained after a long analysis: the pod that takes over has all the time again, and no more.
        (1.5 * LIMIT, (Phase.SHARING, Phase.LOADING, Phase.LOADING, Phase.SHARING), "it was promoted"),
        (1.5 * LIMIT, (Phase.SHARING, Phase.LOADING), "the new version had not loaded its model after 0.4 s"),
    ],
)
def test_a_version_has_its_time_to_load_each_time_it_has_to(
    analysis: float, phases: tuple[Phase, ...], end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place: Any = Cluster(analysis, *phases)
    ledger: Any = Releases()
    rollout = Rollout(
        where=place,
        digest=NEW,
        ledger=ledger,
        record=lambda: None,
        settings=Settings(startup_timeout=LIMIT),
        clock=lambda: datetime(2013, 4, 1, tzinfo=UTC),
    )
    with pytest.raises(StageError, match=f"^{end}.*; on the way back: no pod of stable is ready; once"):
        rollout.run()


class Crowded(Cluster):
    """A canary shares the traffic and is worse; a pod of the stable version has no node, and never will."""

    def __init__(self) -> None:
        super().__init__(0.0, Phase.SHARING)
        self.done: list[str] = []

    def phases(self) -> dict[str, Phase]:
        return {OLD: Phase.ROLLING} | ({} if "retire" in self.done else {NEW: Phase.SHARING})

    def analyse(self, _: str, __: Callable[..., None]) -> NoReturn:
        raise StageError("it is worse")

    def restore(self, _: str) -> None:
        self.done.append("restore")

    def retire(self, _: str) -> str:
        self.done.append("retire")
        return "gone"

    def addresses(self, digest: str, *, public: bool) -> Any:
        assert (digest, public) == (OLD, True)
        return contextlib.nullcontext(["http://there"])


def test_a_bad_canary_leaves_the_traffic_before_anything_is_waited_for_and_the_wait_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place, ledger = Crowded(), Releases()
    where: Any = place
    known: Any = ledger
    rollout = Rollout(
        where=where,
        digest=NEW,
        ledger=known,
        record=lambda: None,
        settings=Settings(startup_timeout=0.05),
        clock=lambda: datetime(2013, 4, 1, tzinfo=UTC),
    )
    back = r"release 1 is not back after \d+ s: it is loading; once that is mended, bring release 1 back$"
    with pytest.raises(StageError, match=f"^it is worse; on the way back: {back}"):
        rollout.run()
    assert place.done == ["retire", "restore"]


class Undone(Cluster):
    """A place where a step leads nowhere: whatever is done, the same is seen."""

    def __init__(self, phase: Phase, *facts: str) -> None:
        super().__init__(0.0, phase)
        self.facts, self.did = {*facts}, 0
        self.interval = 0.0

    def do(self, *_: object, **__: object) -> str:
        self.did += 1
        return ""

    join = promote = restore = start = do

    def leftover(self, _: str) -> bool:
        return "leftover" in self.facts

    def retire(self, _: str) -> str:
        return self.do()

    def addresses(self, *_: object, **__: object) -> Any:
        raise StageError("not asked")


class Forgetful(Releases):
    """A ledger that records nothing."""

    def add(self) -> None:
        self.added = getattr(self, "added", 0) + 1


@pytest.mark.parametrize(
    ("step", "phase", "facts"),
    [
        ("join", Phase.READY, {"smoked"}),
        ("promote", Phase.READY, {"smoked", "analysed"}),
        ("promote", Phase.SHARING, {"smoked", "analysed"}),
        ("record", Phase.SERVING, {"smoked", "analysed", "verified"}),
    ],
)
def test_a_step_that_changes_nothing_ends_the_rollout_with_the_reason(
    step: str, phase: Phase, facts: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place, known = Undone(phase, *facts), Forgetful()
    where: Any = place
    ledger: Any = known
    if phase is Phase.SERVING:
        monkeypatch.setattr(place, "phases", lambda: {NEW: phase})
    rollout = Rollout(
        where=where,
        digest=NEW,
        ledger=ledger,
        record=known.add,
        settings=Settings(startup_timeout=LIMIT),
        clock=lambda: datetime(2013, 4, 1, tzinfo=UTC),
        facts={"started": False, "verified": "verified" in facts},
    )
    said = f"^step {step} was taken {TRIES} times, and the version is still {phase} as before it: somebody undoes it"
    with pytest.raises(StageError, match=said):
        rollout.run()
    assert getattr(known, "added", place.did - 1) == TRIES  # and the canary was ended once


def test_a_version_that_is_ready_and_loading_by_turns_ends_the_rollout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    turn = itertools.cycle([Phase.READY, Phase.LOADING])
    place = Undone(Phase.READY, "smoked")
    monkeypatch.setattr(place, "phases", lambda: {NEW: next(turn), OLD: Phase.SERVING})
    where: Any = place
    ledger: Any = Releases()
    rollout = Rollout(
        where=where,
        digest=NEW,
        ledger=ledger,
        record=lambda: None,
        settings=Settings(startup_timeout=LIMIT),
        clock=lambda: datetime(2013, 4, 1, tzinfo=UTC),
    )
    with pytest.raises(StageError, match=r"^step (join|wait) was taken (5|20) times"):
        rollout.run()


def rollout(place: Cluster, **more: Any) -> Rollout:
    """A rollout of the new version beside release 1."""
    where: Any = place
    ledger: Any = Releases()
    usual: dict[str, Any] = {"ledger": ledger, "settings": Settings(startup_timeout=LIMIT), "record": lambda: None}
    return Rollout(where=where, digest=NEW, clock=lambda: datetime(2013, 4, 1, tzinfo=UTC), **{**usual, **more})


class Moved(Cluster):
    """A canary whose pod is moved some times while it is watched."""

    def __init__(self, times: int) -> None:
        super().__init__(0.0, Phase.SHARING)
        self.left, self.watched = times, 0

    def analyse(self, _: str, __: Callable[..., None]) -> dict[str, Any]:
        self.watched += 1
        self.left -= 1
        return {"interrupted": "its node is drained"} if self.left >= 0 else {"requests": 1, "measures": []}


@pytest.mark.parametrize(
    ("times", "watched", "end"),
    [
        (0, 1, "it was promoted"),
        (1, 2, "it was promoted"),
        (3, 4, "it was promoted"),
        (4, 4, "moved 4 times while it was"),
    ],
)
def test_a_watch_that_was_interrupted_begins_anew_some_times_and_never_counts_as_passed(
    times: int, watched: int, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = Moved(times)
    with pytest.raises(StageError, match=end):
        rollout(place).run()
    assert place.watched == watched
    assert ("analysed" in place.facts) is (end == "it was promoted")


def test_a_release_that_is_brought_back_is_not_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = Moved(0)
    place.coming = [Phase.READY]
    with pytest.raises(StageError, match="it was promoted"):
        rollout(place, trusted=True).run()
    assert place.watched == 0


class Rolling(Cluster):
    """A version whose pods take over for some time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(0.0, Phase.ROLLING)
        self.end = time.monotonic() + seconds

    def phases(self) -> dict[str, Phase]:
        return {NEW: Phase.ROLLING if time.monotonic() < self.end else Phase.SERVING}

    def restore(self, _: str) -> None:
        raise StageError("it is put back")

    def addresses(self, digest: str, *, public: bool) -> NoReturn:
        raise StageError(f"asked {digest}, public: {public}")


@pytest.mark.parametrize(
    ("seconds", "end"),
    [(0.3, f"asked {NEW}, public: True"), (60.0, "the new version's pods have not taken over: it is")],
)
def test_a_roll_has_ten_times_the_time_to_load(
    seconds: float, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageError, match=f"^{end}"):
        rollout(Rolling(seconds), settings=Settings(startup_timeout=0.05)).run()


class Contested(Cluster):
    """A place where somebody else writes too, some times."""

    def __init__(self, times: int) -> None:
        super().__init__(0.0, Phase.READY)
        self.left, self.met = times, 0

    def join(self, _: str) -> None:
        self.left -= 1
        if self.left >= 0:
            self.met += 1
            raise Conflict("somebody has written it")
        self.coming = [Phase.SHARING]


@pytest.mark.parametrize(
    ("times", "met", "end"), [(1, 1, "promoted"), (5, 5, "promoted"), (9, 6, "somebody has written")]
)
def test_a_conflict_is_met_by_looking_again_some_times(
    times: int, met: int, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    place = Contested(times)
    with pytest.raises(StageError, match=end):
        rollout(place).run()
    assert place.met == met


class Released(Releases):
    """The new version is the last release."""

    def last(self) -> dict[str, Any]:
        return {"release": 2, "digest": NEW}


def test_a_release_that_serves_is_not_ended_when_it_fails_a_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place, ledger = Undone(Phase.SERVING, "smoked"), Released()
    monkeypatch.setattr(place, "phases", lambda: {NEW: Phase.SERVING})
    with pytest.raises(StageError, match=r"^not asked"):
        rollout(place, ledger=ledger).run()
    assert place.did == 0


def test_a_release_that_does_not_serve_is_ended_when_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a record that was made while its pods went: what is left of it holds nothing back."""
    monkeypatch.chdir(tmp_path)
    place, ledger = Undone(Phase.FAILED), Released()
    monkeypatch.setattr(place, "phases", lambda: {NEW: Phase.FAILED})
    monkeypatch.setattr(place, "failure", lambda _: "its image is gone", raising=False)
    with pytest.raises(StageError, match=r"^the new version did not become ready: its image is gone"):
        rollout(place, ledger=ledger).run()
    assert place.did >= 1
