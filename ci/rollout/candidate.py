"""Which release goes on to the next environment, and why one does not: functions of both ledgers, without I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ci.releases.ledger import champion, withdrawn
from ci.rollout.decision import Decision

Record = Mapping[str, Any]
APPROVAL = ("approved_by", "promoted_from")
"""Keys of a release that say how it came to its environment."""


@dataclass(frozen=True)
class Stand:
    """An environment.

    Attributes:
        name: what people call it.
        releases: every release there, the oldest first.
    """

    name: str
    releases: Sequence[Record]

    def newest(self, digest: str) -> Record | None:
        """Return the newest release of an image, None if it has none."""
        return next((each for each in reversed(self.releases) if each["digest"] == digest), None)


@dataclass(frozen=True)
class Approval:
    """What an environment asks for, and who has approved.

    Attributes:
        needed: somebody must approve.
        may: names of those who may; empty: anybody.
        by: who has approved, None if nobody has.
    """

    needed: bool = False
    may: Sequence[str] = ()
    by: str | None = None

    def lacking(self, environment: str) -> str | None:
        """Return why the approval is not enough, None if it is."""
        if self.needed and self.by is None:
            return f"{environment} needs an approval: name who gave it with --approved-by"
        if self.needed and self.may and self.by not in self.may:
            return (
                f"{self.by} may not approve for {environment}: {', '.join(self.may)} may (environments.{environment})"
            )
        return None


def chosen(before: Stand, digest: str | None) -> tuple[Record | None, str]:
    """Return the release that is to be promoted, or None and why there is none.

    Args:
        before: the environment that it was verified in.
        digest: of its image; None: the last one there.
    """
    if not before.releases:
        return None, f"nothing was released in {before.name} yet"
    found = before.newest(digest) if digest else before.releases[-1]
    if found is None:
        return None, f"{digest} was never verified in {before.name}: `python -m scripts.status` lists what was"
    if number := withdrawn(before.releases).get(found["digest"]):
        return None, f"release {number} of {before.name} was rolled back there"
    return found, ""


def promotable(found: Record, before: Stand, target: Stand, approval: Approval, best: Record | None) -> Decision:
    """Decide about a release that was verified in the environment before.

    Args:
        found: the release there.
        before: that environment.
        target: the environment that it is to go to.
        approval: what that one asks for.
        best: the last release of the last environment, which its evaluation must have been about.
    """
    last = target.releases[-1] if target.releases else None
    if last and last["digest"] == found["digest"]:
        return Decision("nothing", f"this image is already serving as release {last['release']} of {target.name}")
    if there := target.newest(found["digest"]):
        command = f"`python -m scripts.rollback --environment {target.name} --to {there['release']}`"
        return Decision(
            "refuse", f"this image was release {there['release']} of {target.name}: {command} brings it back"
        )
    serves = before.newest(last["digest"]) if last else None
    if last and serves and serves["release"] > found["release"]:
        what = f"{target.name} serves release {serves['release']} of it"
        return Decision("refuse", f"release {found['release']} of {before.name} is older than what serves: {what}")
    if why := overtaken(found["champion"], champion(dict(best) if best else None, found["inputs"])):
        return Decision("refuse", why)
    if why := approval.lacking(target.name):
        return Decision("refuse", why)
    by = f", and approved by {approval.by}" if approval.by else ""
    return Decision("deploy", f"it was verified as release {found['release']} of {before.name}{by}")


def overtaken(recorded: Record | None, found: Record | None) -> str | None:
    """Return why a verdict no longer counts: it is about another champion than there is now; None if it counts."""
    was, now = (champion and (champion["release"], champion["digest"]) for champion in (recorded, found))
    if was == now:
        return None
    alike = was and now and was[0] == now[0]  # the record was begun anew, so numbers say nothing
    names = [f"release {each[0]}{f' ({each[1][:19]})' * bool(alike)}" if each else "nothing" for each in (was, now)]
    told, there = names
    return (
        f"this model was compared with {told}, but {there} serves now: rebuild, or run "
        "`python -m scripts.pipeline champion test package deploy`"
    )
