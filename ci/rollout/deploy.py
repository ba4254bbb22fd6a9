"""From a package to a release: decide, roll out, record; also rolling back, and starting the last release again."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from ci import git, lineage, workspace
from ci.capture import skew
from ci.errors import InputError, StageError
from ci.packaging import package
from ci.releases.ledger import Release, champion, target, withdrawn
from ci.releases.version import Version
from ci.results.build import CHAMPION
from ci.results.evaluation import EVALUATION
from ci.results.rollout import SUMMARY
from ci.rollout import attempt, outcome
from ci.rollout import place as places
from ci.rollout.attempt import Clock
from ci.rollout.candidate import APPROVAL, overtaken
from ci.rollout.decision import Decision, Phase, admit
from ci.rollout.place import Place
from ci.settings import Settings


def deploy(settings: Settings, clock: Clock, context: str | None = None, wait: float = 0.0) -> str:
    """Roll out `build/package` if its evaluation says so, and return what was done in one line.

    Whatever is decided, the last verified release serves afterwards.

    Args:
        settings: the fork's.
        clock: the time for the records.
        context: of a kubeconfig (`-`: the current one) in place of the settings'.
        wait: for another deployment there to end; seconds.

    Raises:
        StageError: the package was changed, lacks the signature it must have, is blocked, or failed a check on its way;
            what served before serves.
        InputError: the port or the key cannot be had.
    """
    with ExitStack() as held:
        begin = held.enter_context(outcome.written())
        manifest = package.verify(workspace.PACKAGE, settings.packaging.verify_key)
        digest = manifest["image"]["digest"]
        place = held.enter_context(places.locked(settings, context, wait))
        begin()
        before, decision = _decide(settings, place, manifest)
        summary = attempt.summarised(settings, decision.action, decision.reason, digest, manifest["version"], before)
        again = ""
        with attempt.written_down(settings, place, clock, summary):
            place.require_agreement(digest)
            if decision.action == "refuse":
                raise StageError(f"not deployed: {decision.reason}")
            if place.where.shares and (changed := place.where.changed(digest)):
                raise StageError(f"not deployed: {changed}")
            if decision.action == "deploy":
                place.keep(Version.load(workspace.PACKAGE))
                record, rescore = _recorder(place, manifest, clock), _rescorer(settings, place, manifest)
                attempt.rollout(settings, place, digest, clock, record, rescore).run()
            elif before and not place.settled(before["digest"]):
                attempt.rollout(settings, place, before["digest"], clock).run()
                again = f"; release {before['release']} was not all that serves, and is now"
            elif place.where.shares and before and (rescaled := place.where.rescale()):
                again = f"; serving.replicas has changed: {rescaled}"
        last = place.ledger.last()
    if decision.action == "nothing" or last is None:
        return f"nothing to do: {decision.reason}{again}"
    return f"version {last['version']} serves on {place.name} as release {last['release']}"


def preview(settings: Settings, clock: Clock, context: str | None = None) -> str:
    """Return what `deploy` would do, changing nothing."""
    manifest = package.verify(workspace.PACKAGE, settings.packaging.verify_key)
    digest, place = manifest["image"]["digest"], places.look(settings, context)
    place.require_agreement(digest)
    _, decision = _decide(settings, place, manifest)
    steps = ""
    if decision.action == "deploy":
        steps = f"\nsteps: {' -> '.join(attempt.rollout(settings, place, digest, clock).plan())}"
        if place.where.shares:
            steps = f"{steps}\n{place.where.difference(Version.load(workspace.PACKAGE))}".rstrip()
    return f"would {decision.action} version {manifest['version']}: {decision.reason}{steps}"


def rollback(
    settings: Settings,
    clock: Clock,
    to: int | None = None,
    context: str | None = None,
    wait: float = 0.0,
    *,
    dry_run: bool = False,
) -> str:
    """Bring an earlier release back and record that, and return what was done in one line.

    It is smoke-tested beside what serves, and takes over without an analysis of traffic: it was verified before, and is
    needed now.

    Args:
        settings: the fork's.
        clock: the time for the records.
        to: number of the release; None means the newest of another image that was not rolled back itself.
        context: of a kubeconfig (`-`: the current one) in place of the settings'.
        wait: for another deployment there to end; seconds.
        dry_run: say what would be done, and change nothing.

    Raises:
        InputError: there is no release of that number.
        StageError: there is none to go back to, or it failed a check on its way; what served before serves.
    """
    if dry_run:
        place = places.look(settings, context)
        found = _earlier(place, to)
        steps = attempt.rollout(settings, place, found["digest"], clock, trusted=True).plan()
        return f"would bring back release {found['release']}, version {found['version']}\nsteps: {' -> '.join(steps)}"
    with outcome.written() as begin, places.locked(settings, context, wait) as place:
        begin()
        found, before = _earlier(place, to), place.ledger.last()
        assert before is not None  # noqa: S101 - there is one at least, the one that is gone back to

        def record() -> None:
            instead = {**found, "time": clock().isoformat(timespec="seconds"), "instead_of": before["release"]}
            for key in ("release", *APPROVAL):  # nobody has approved this one
                instead.pop(key, None)
            place.add(instead)

        reason = f"somebody asked for release {found['release']}"
        summary = attempt.summarised(settings, "roll back", reason, found["digest"], found["version"], before)
        if found["digest"] == before["digest"] and place.settled(found["digest"]):
            why = f"release {before['release']} serves on {place.name}, which is that image"
            SUMMARY.write({**summary, "action": "nothing", "reason": why, "release": before["release"]})
            return f"nothing to do: {why}"
        with attempt.written_down(settings, place, clock, summary):
            attempt.rollout(settings, place, found["digest"], clock, record, trusted=True).run()
        last = place.ledger.last()
        number = last["release"] if last else 1
    return f"version {found['version']} of release {found['release']} serves on {place.name} again, as release {number}"


def _earlier(place: Place, to: int | None) -> Release:
    recorded = place.ledger.read()
    if not recorded:  # an empty record may be a lost one; one that only lacks its end still has what is asked for
        place.require_agreement()
    found = target(recorded, to)
    if found is None and to is not None:
        known = f"releases are {recorded[0]['release']} to {recorded[-1]['release']}" if recorded else "there is none"
        raise InputError(f"--to: there is no release {to}: {known}, see `scripts.status`")
    if found is None and not recorded:
        raise StageError("nothing was released yet, so there is nothing to go back to")
    if found is None:
        raise StageError(
            f"no release is earlier than release {recorded[-1]['release']} and was not rolled back itself, so that one "
            "keeps serving: name one with --to, see `python -m scripts.status`"
        )
    return dict(found)


def serve(settings: Settings, clock: Clock) -> Release:
    """Make sure that the last verified release serves, and return it.

    Raises:
        StageError: there is none, or it fails its smoke test.
    """
    with places.locked(settings) as place:
        place.require_agreement()
        last = place.ledger.last()
        if last is None:
            raise StageError("nothing was released yet: run `make ci`, or `python -m scripts.deploy` after packaging")
        if not place.settled(last["digest"]):
            attempt.rollout(settings, place, last["digest"], clock).run()
    return last


def served(settings: Settings) -> tuple[int, bool] | None:
    """Return the number of the last release and whether it serves now; None if there is no release."""
    place = places.look(settings)
    last = place.ledger.last()
    if last is None:
        return None
    return last["release"], place.where.phases().get(last["digest"]) is Phase.SERVING


def _decide(settings: Settings, place: Place, manifest: dict[str, Any]) -> tuple[Release | None, Decision]:
    known = place.ledger.read()
    last = known[-1] if known else None
    recorded, evaluation, file = CHAMPION.plain(), EVALUATION.read(), EVALUATION.path
    if (manifest.get("digests") or {}).get("evaluation") != lineage.file_digest(file):
        raise StageError(
            f"{workspace.PACKAGE} was not made from {file}, so its verdict is about another model: "
            "run `python -m scripts.pipeline package`, then deploy again"
        )
    digest = manifest["image"]["digest"]
    same, gone = last is not None and last["digest"] == digest, withdrawn(known).get(digest)
    final = settings.last()
    newest = last if final.environment == settings.environment else places.look(final).ledger.last()
    why = overtaken(recorded, champion(newest, lineage.inputs_digest()))
    verdict, reason = evaluation.verdict, evaluation.reason
    return last, admit(verdict, reason, same=same, withdrawn=gone, overtaken=why, option=settings.option)


def _recorder(place: Place, manifest: Mapping[str, Any], clock: Clock) -> Callable[[], None]:
    """Return a callback that records the release of a new package."""

    def record() -> None:
        place.add(
            {
                "time": clock().isoformat(timespec="seconds"),
                "digest": manifest["image"]["digest"],
                **{key: manifest[key] for key in ("version", "as_of", "model")},
                "inputs": lineage.inputs_digest(),
                "commit": git.checkout().commit,
                "champion": CHAMPION.plain(),
            }
        )

    return record


def _rescorer(settings: Settings, place: Place, manifest: Mapping[str, Any]) -> Callable[[], dict[str, Any]]:
    """Return a callback that compares what a new version answered with its SavedModel, where requests are captured."""

    def rescore() -> dict[str, Any]:
        if not place.where.shares:
            return {}
        captured = place.where.captured(manifest["image"]["digest"])
        layout, tolerance = workspace.PACKAGE / package.IMAGE, settings.rollout.golden_tolerance
        return {"skew": skew.check(captured, manifest, layout, tolerance)}

    return rescore
