"""One attempt to bring a version to serve: its rollout, what is written down of it, and what serves afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from ci.errors import InputError, StageError
from ci.releases.ledger import Release
from ci.results.rollout import SUMMARY
from ci.rollout.decision import Phase
from ci.rollout.place import Place
from ci.rollout.rollout import Rollout
from ci.settings import Settings

Clock = Callable[[], datetime]


def summarised(
    settings: Settings, action: str, reason: str, digest: str, number: str, before: Release | None
) -> dict[str, Any]:
    """Return what was decided, as `build/rollout/rollout.json` has it but for how it ended."""
    last = before and {key: before[key] for key in ("digest", "version", "release")}
    where = {"environment": settings.environment} if settings.environment else {}
    return {"action": action, "reason": reason, "digest": digest, "version": number, "before": last, **where}


@contextmanager
def written_down(settings: Settings, place: Place, clock: Clock, summary: dict[str, Any]) -> Iterator[None]:
    """Write down how the block's rollout ended, and say in its error what serves now."""
    try:
        yield
    except (InputError, StageError) as error:
        start = summary["action"] != "nothing" and not isinstance(error, InputError)
        message = f"{error}; {_serving(settings, place, clock, start=start)}"
        SUMMARY.write({**summary, "failed": message})
        raise type(error)(message) from None
    last = place.ledger.last()
    SUMMARY.write({**summary, "release": last and last["release"]})


def _recorded() -> None:
    raise AssertionError("the last release is recorded already")


def rollout(
    settings: Settings,
    place: Place,
    digest: str,
    clock: Clock,
    record: Callable[[], None] = _recorded,
    rescore: Callable[[], dict[str, Any]] = dict,
    *,
    trusted: bool = False,
) -> Rollout:
    """Return the rollout of a version: of the last release, unless `record` records another that `rescore` tests."""
    return Rollout(place.where, digest, place.ledger, record, settings.rollout, clock, trusted, rescore)


def _serving(settings: Settings, place: Place, clock: Clock, *, start: bool) -> str:
    """Return what serves after a failure, in a clause; `start` the last verified release first if it does not."""
    try:
        last, phases = place.ledger.last(), place.where.phases()
    except (InputError, StageError) as error:
        return f"what serves now cannot be seen: {error}"
    if last is None:
        left = "it stays there, as there is no release to go back to"
        return left if {Phase.SERVING, Phase.ROLLING} & {*phases.values()} else "nothing is serving"
    name = f"version {last['version']} of release {last['release']}"
    if phases.get(last["digest"]) is Phase.SERVING:
        return f"{name} serves"
    if place.where.shares:
        return f"{name} does not serve: see `python -m scripts.status`"
    if not start:
        return f"{name} does not serve: `make serve` starts it"
    try:
        rollout(settings, place, last["digest"], clock).run()
    except (InputError, StageError) as error:
        return f"{name} had ended and could not be started again: {error}"
    return f"{name} had ended, was started again and serves"
