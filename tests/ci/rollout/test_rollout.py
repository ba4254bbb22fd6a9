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
from ci.rollout.decision import TRIES, Phase
from ci.rollout.rollout import Rollout
from ci.settings import Rollout as Settings

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
    with pytest.raises(StageError, match="was taken 5 times"):
        rollout.run()
