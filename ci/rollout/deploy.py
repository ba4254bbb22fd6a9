"""From a package to a release: admit it, roll it out, record it; and starting again what was released before."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from typing_extensions import TypedDict

from ci import lineage, workspace
from ci.errors import InputError, StageError
from ci.packaging import package
from ci.rollout import outcome, releases
from ci.rollout import place as places
from ci.rollout.decision import Decision, Phase, admit
from ci.rollout.place import Place
from ci.rollout.rollout import SUMMARY, Rollout
from ci.settings import Settings


class _Evaluation(TypedDict):
    verdict: str
    reason: str


class _Champion(TypedDict):
    digest: str
    version: str
    as_of: date
    release: int


Clock = Callable[[], datetime]


def deploy(settings: Settings, clock: Clock, context: str | None = None, wait: float = 0.0) -> str:
    """Roll out `build/package` if its evaluation says so, and return what was done in one line.

    Whatever is decided, the last verified release serves afterwards.

    Args:
        settings: the fork's.
        clock: the time for the records.
        context: of a kubeconfig (`-`: the current one); None means this machine.
        wait: for another deployment there to end; seconds.

    Raises:
        StageError: the package was changed, lacks the signature it must have, is blocked, or failed a check on its way;
            what served before serves.
        InputError: the port or the key cannot be had.
    """
    with places.locked(settings, context, wait) as place, outcome.written():
        manifest = package.verify(workspace.PACKAGE, settings.packaging.verify_key)
        before, decision = _decide(place, manifest)
        summary: dict[str, Any] = {
            "action": decision.action,
            "reason": decision.reason,
            "digest": manifest["image"]["digest"],
            "version": manifest["version"],
            "before": before and {key: before[key] for key in ("digest", "version", "release")},
        }
        again = ""
        try:
            if decision.action == "refuse":
                raise StageError(f"not deployed: {decision.reason}")
            if decision.action == "deploy":
                place.keep(manifest)
                _rollout(settings, place, manifest["image"]["digest"], clock, manifest).run()
            elif before and place.where.phases() != {before["digest"]: Phase.SERVING}:
                _rollout(settings, place, before["digest"], clock).run()
                again = f"; release {before['release']} was not serving and was started again"
        except (InputError, StageError) as error:
            start = decision.action != "nothing" and not isinstance(error, InputError)
            message = f"{error}; {_serving(settings, place, clock, start=start)}"
            workspace.write_json(SUMMARY, {**summary, "failed": message})
            raise type(error)(message) from None
        last = place.ledger.last()
        workspace.write_json(SUMMARY, {**summary, "release": last and last["release"]})
    if decision.action == "nothing" or last is None:
        return f"nothing to do: {decision.reason}{again}"
    return f"version {last['version']} serves on {place.name} as release {last['release']}"


def preview(settings: Settings, clock: Clock, context: str | None = None) -> str:
    """Return what `deploy` would do, changing nothing."""
    manifest = package.verify(workspace.PACKAGE, settings.packaging.verify_key)
    place = places.look(settings, context)
    _, decision = _decide(place, manifest)
    steps = ""
    if decision.action == "deploy":
        plan = _rollout(settings, place, manifest["image"]["digest"], clock, manifest).plan()
        steps = f"\nsteps: {' -> '.join(plan)}"
    return f"would {decision.action} version {manifest['version']}: {decision.reason}{steps}"


def serve(settings: Settings, clock: Clock) -> releases.Release:
    """Make sure that the last verified release serves, and return it.

    Raises:
        StageError: there is none, or it fails its smoke test.
    """
    with places.locked(settings, None) as place:
        last = place.ledger.last()
        if last is None:
            raise StageError("nothing was released yet: run `make ci`, or `python -m scripts.deploy` after packaging")
        if place.where.phases() != {last["digest"]: Phase.SERVING}:
            _rollout(settings, place, last["digest"], clock).run()
    return last


def served(settings: Settings) -> tuple[int, bool] | None:
    """Return the number of the last release of this machine and whether it serves now; None if there is no release."""
    last = releases.last()
    if last is None:
        return None
    phases = places.here(settings).where.phases()
    return last["release"], phases.get(last["digest"]) is Phase.SERVING


def _decide(place: Place, manifest: dict[str, Any]) -> tuple[releases.Release | None, Decision]:
    last = place.ledger.last()
    recorded = workspace.read_json(workspace.CHAMPION, _Champion | None)
    file = workspace.EVALUATION / "evaluation.json"
    evaluation = workspace.read_json(file, _Evaluation)
    if (manifest.get("digests") or {}).get("evaluation") != lineage.file_digest(file):
        raise StageError(
            f"{workspace.PACKAGE} was not made from {file}, so its verdict is about another model: "
            "run `python -m scripts.pipeline package`, then deploy again"
        )
    same = last is not None and last["digest"] == manifest["image"]["digest"]
    overtaken = _overtaken(recorded, releases.champion(last, lineage.inputs_digest()))
    return last, admit(evaluation["verdict"], evaluation["reason"], same=same, overtaken=overtaken)


def _overtaken(recorded: Mapping[str, Any] | None, found: Mapping[str, Any] | None) -> str | None:
    """Return why a verdict no longer counts: it is about another champion than there is now; None if it counts."""
    was, now = (champion and (champion["release"], champion["digest"]) for champion in (recorded, found))
    if was == now:
        return None
    told, there = (f"release {each[0]}" if each else "nothing" for each in (was, now))
    return (
        f"this model was compared with {told}, but {there} serves now: rebuild, or run "
        "`python -m scripts.pipeline champion test package deploy`"
    )


def _serving(settings: Settings, place: Place, clock: Clock, *, start: bool) -> str:
    """Return what serves after a failure, in a clause; `start` the last verified release first if it does not."""
    last = place.ledger.last()
    if last is None:
        return "nothing is serving"
    name = f"version {last['version']} of release {last['release']}"
    if place.where.phases().get(last["digest"]) is Phase.SERVING:
        return f"{name} serves"
    if not start:
        return f"{name} does not serve: `make serve` starts it"
    try:
        _rollout(settings, place, last["digest"], clock).run()
    except (InputError, StageError) as error:
        return f"{name} had ended and could not be started again: {error}"
    return f"{name} had ended, was started again and serves"


def _rollout(
    settings: Settings, place: Place, digest: str, clock: Clock, manifest: dict[str, Any] | None = None
) -> Rollout:
    """Return the rollout of a version: with the manifest of a new one, which is recorded, or of a released one."""

    def record() -> None:
        assert manifest is not None  # noqa: S101 - a released version is recorded already
        place.add(
            {
                "time": clock().isoformat(timespec="seconds"),
                "digest": digest,
                **{key: manifest[key] for key in ("version", "as_of", "model")},
                "inputs": lineage.inputs_digest(),
                "commit": lineage.commit(),
                "champion": workspace.read_json(workspace.CHAMPION),
            }
        )

    return Rollout(place.where, digest, place.ledger, record, settings.rollout, clock)
