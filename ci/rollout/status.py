"""What serves in a place, in words: a function of what runs there and of its releases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ci.releases.ledger import Release, withdrawn
from ci.rollout.decision import Phase

SHOWN = 10
"""Of the releases, the newest so many."""


@dataclass(frozen=True)
class Status:
    """Lines for people, and whether the last verified release is all that runs."""

    lines: list[str]
    well: bool


def describe(
    name: str,
    phases: Mapping[str, Phase],
    releases: Sequence[Release],
    *,
    waiting: Mapping[str, str],
    leftover: bool = False,
    lacking: str | None = None,
    changed: str | None = None,
    disagrees: str | None = None,
    busy: str | None = None,
    command: str = "python -m scripts.deploy",
) -> Status:
    """Return the status of a place.

    Args:
        name: of the place.
        phases: what each version does, by its image's digest.
        releases: every release, the oldest first.
        waiting: for versions that neither serve nor are paused, what they wait for.
        leftover: the last release's canary still runs.
        lacking: in a sentence, how many pods of the last release are ready, where that is not all of them.
        changed: in a sentence, what was changed by hand.
        disagrees: in a sentence, what serves though it is not recorded.
        busy: who deploys there now.
        command: the one that releases there.
    """
    last = releases[-1] if releases else None
    well = last is not None and phases == {last["digest"]: Phase.SERVING} and not (changed or leftover or disagrees)
    lines = [_headline(name, phases, last, lacking), *filter(None, (lacking, changed, disagrees))]
    if leftover:
        lines.append(f"its canary still runs: `{command}` ends it")
    if busy:
        lines.append(f"{busy} is deploying there now")
    for digest, phase in phases.items():
        if last is None or digest != last["digest"] or phase is not Phase.SERVING:
            more = f": {waiting[digest]}" if digest in waiting else ""
            lines.append(f"{_called(digest, releases)} is {phase}{more}")
    gone, shown = withdrawn(releases), releases[-SHOWN:]
    for release in reversed(shown):
        what = f"release {release['release']:>3}  {release['time']}  version {release['version']}"
        if number := release.get("instead_of"):
            what += f"  in place of release {number}"
        if origin := release.get("promoted_from"):
            what += f"  from release {origin['release']} of {origin['environment']}"
        if by := release.get("approved_by"):
            what += f", approved by {by}"
        if gone.get(release["digest"]) == release["release"]:
            what += "  (rolled back)"
        lines.append(what)
    if shown and (before := shown[0]["release"] - 1):
        lines.append(f"and {before} before")
    return Status(lines, well)


def _headline(name: str, phases: Mapping[str, Phase], last: Release | None, lacking: str | None) -> str:
    if last is None:
        return f"{name}: nothing was released yet"
    does = phases.get(last["digest"], Phase.ABSENT)
    of = f"release {last['release']}, version {last['version']}"
    if does is Phase.SERVING:
        return f"{name}: {of}, serves"
    if does is Phase.ROLLING and lacking:
        return f"{name}: {of}, serves, and its pods are being replaced"
    return f"{name}: {of}, does not serve: it is {does}"


def _called(digest: str, releases: Sequence[Release]) -> str:
    found = next((release for release in reversed(releases) if release["digest"] == digest), None)
    return (
        f"release {found['release']}, version {found['version']},"
        if found
        else f"a version not released, {digest[:19]},"
    )
