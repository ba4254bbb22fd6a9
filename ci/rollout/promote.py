"""Promotion: the very image that one environment has verified is rolled out in the next; nothing is built again."""

from typing import Any

from ci.errors import InputError, StageError
from ci.releases.ledger import Release
from ci.releases.version import Version
from ci.rollout import attempt, outcome
from ci.rollout import place as places
from ci.rollout.attempt import Clock
from ci.rollout.candidate import APPROVAL, Approval, Stand, chosen, promotable
from ci.rollout.decision import Decision
from ci.rollout.place import Place
from ci.settings import Settings


def promote(
    settings: Settings,
    clock: Clock,
    to: str,
    digest: str | None = None,
    approved_by: str | None = None,
    wait: float = 0.0,
    *,
    dry_run: bool = False,
) -> str:
    """Roll a release of the environment before out in another one, and return what was done in one line.

    Args:
        settings: the fork's.
        clock: the time for the records.
        to: the environment.
        digest: of the image; None means what was verified last in the environment before.
        approved_by: who has approved it.
        wait: for another deployment there to end; seconds.
        dry_run: say what would be done, and change nothing.

    Raises:
        InputError: there is no such environment, or builds release to it.
        StageError: it may not be promoted, or failed a check on its way; what served before serves.
    """
    source, target = _both(settings, to)
    before = places.look(source)
    before.require_agreement()
    if dry_run:
        place = places.look(target)
        found, decision = _decide(before, place, source, target, digest, approved_by)
        return f"would {_preview(before, place, target, clock, found, decision)}"
    with outcome.written() as begin, places.locked(target, None, wait) as place:
        begin()
        found, decision = _decide(before, place, source, target, digest, approved_by)
        last, again = place.ledger.last(), ""
        summary = attempt.summarised(target, decision.action, decision.reason, found["digest"], found["version"], last)
        with attempt.written_down(target, place, clock, summary):
            place.require_agreement(found["digest"])
            if decision.action == "refuse":
                raise StageError(f"not promoted: {decision.reason}")
            if place.where.shares and (changed := place.where.changed(found["digest"])):
                raise StageError(f"not promoted: {changed}")
            if decision.action == "deploy":
                place.adopt(before.ledger.version(found["digest"]), before.ledger.evidence(found["digest"]))
                origin = {"environment": source.environment, "release": found["release"]}

                def record() -> None:
                    kept = {key: value for key, value in found.items() if key not in _OWN}
                    by = {"approved_by": approved_by} if approved_by else {}
                    time = clock().isoformat(timespec="seconds")
                    place.add({**kept, "time": time, "promoted_from": origin, **by})

                attempt.rollout(target, place, found["digest"], clock, record).run()
            elif last and not place.settled(last["digest"]):
                attempt.rollout(target, place, last["digest"], clock).run()
                again = f"; release {last['release']} was not all that serves, and is now"
        now = place.ledger.last()
    if decision.action == "nothing" or now is None:
        return f"nothing to do: {decision.reason}{again}"
    what = f"version {found['version']} of release {found['release']} of {source.environment}"
    return f"{what} serves on {place.name} as release {now['release']}"


def candidate(settings: Settings, to: str, digest: str | None = None) -> Release:
    """Return the release that a promotion would take, whatever becomes of it there.

    Args:
        settings: the fork's.
        to: the environment that it would go to.
        digest: of the image; None means what was verified last in the environment before.

    Raises:
        InputError: there is no such environment, or builds release to it.
        StageError: nothing was verified, or it was rolled back.
    """
    source, _ = _both(settings, to)
    before = places.look(source)
    before.require_agreement()
    return _meant(Stand(str(source.environment), before.ledger.read()), digest)


_OWN = ("release", "revision", "instead_of", *APPROVAL)
"""What a record says of its own environment."""


def _both(settings: Settings, to: str) -> tuple[Settings, Settings]:
    """Return the settings of the environment before, and those of the one that is meant."""
    names = [*settings.environments]
    if not names:
        raise InputError("pipeline.yaml names no `environments`, so there is nothing to promote to")
    if to not in names[1:]:
        what = f"builds release to {to}" if to in names else f"there is no environment {to[:80]!r}"
        raise InputError(
            f"--to: {what}; what can be promoted to: {', '.join(names[1:]) or 'nothing, there is only one'}"
        )
    return settings.at(names[names.index(to) - 1]), settings.at(to)


def _decide(
    before: Place, place: Place, source: Settings, target: Settings, digest: str | None, approved_by: str | None
) -> tuple[Release, Decision]:
    """Return the release that is meant, and what to do about it.

    Raises:
        StageError: there is no such release.
    """
    first = Stand(str(source.environment), before.ledger.read())
    then = Stand(str(target.environment), place.ledger.read())
    found = _meant(first, digest)
    asked = target.environments[then.name]
    approval = Approval(asked.approval, asked.approvers, approved_by)
    final = target.last()
    last = place if final.environment == target.environment else places.look(final)
    return found, promotable(found, first, then, approval, last.ledger.last())


def _meant(first: Stand, digest: str | None) -> Release:
    found, why = chosen(first, digest)
    if found is None:
        raise StageError(f"not promoted: {why}")
    return dict(found)


def _preview(
    before: Place, place: Place, target: Settings, clock: Clock, found: dict[str, Any], decision: Decision
) -> str:
    told = f"{decision.action} version {found['version']} on {place.name}: {decision.reason}"
    if decision.action != "deploy":
        return told
    version: Version = before.ledger.version(found["digest"])
    steps = attempt.rollout(target, place, found["digest"], clock).plan()
    told = f"{told}\nsteps: {' -> '.join(steps)}"
    return f"{told}\n{place.where.difference(version)}".rstrip() if place.where.shares else told
