"""What a ledger of releases is, wherever it is kept, and what can be read off its releases.

A release is a version that was verified while it served. The last one is the champion.
"""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ci.releases.version import Version

Release = dict[str, Any]
"""As JSON values; `ci.results.rollout.Release` has its keys."""


class Ledger(ABC):
    """The releases of one place, with the evidence of each."""

    def __init__(self) -> None:
        self._versions: dict[str, Version] = {}

    @abstractmethod
    def read(self) -> list[Release]:
        """Return every release, the oldest first.

        Raises:
            StageError: the record is damaged.
        """

    @abstractmethod
    def add(self, release: Release) -> Release:
        """Record a release under the next number, and return it with that number."""

    @abstractmethod
    def keep(self, digest: str, files: dict[str, str]) -> None:
        """Store a version's evidence: file names with their text."""

    @abstractmethod
    def restore(self, releases: list[Release]) -> None:
        """Put these releases in the place of what is recorded."""

    @abstractmethod
    def evidence(self, digest: str) -> Path:
        """Return the folder with a version's manifest, golden predictions and reference statistics."""

    def last(self) -> Release | None:
        """Return the last verified release, None if there is none."""
        releases = self.read()
        return releases[-1] if releases else None

    def version(self, digest: str) -> Version:
        """Return the version with this image, as its evidence describes it; it is read once."""
        if digest not in self._versions:
            self._versions[digest] = Version.load(self.evidence(digest))
        return self._versions[digest]


def champion(serving: Release | None, inputs: str) -> dict[str, Any] | None:
    """Return what this build is to be compared with, as `build/champion.json` holds it.

    A build from the same inputs as the serving release is that release again, so it is compared with what that one was
    compared with: a rerun after a deployment changes nothing.

    Args:
        serving: the last verified release.
        inputs: digest of the inputs that are checked out.
    """
    if serving is None:
        return None
    if serving["inputs"] == inputs:
        found: dict[str, Any] | None = serving["champion"]
        return found
    return {key: serving[key] for key in ("digest", "version", "as_of", "release")}


def kept(releases: Sequence[Release], count: int) -> set[str]:
    """Return the digests of the images that stay: of the last releases, and of what the last one was compared with.

    The last verified release is always among them, as it is what a rollout goes back to.

    Args:
        releases: every release, the oldest first.
        count: how many of the last images to keep, at least 1; an image released twice counts once.
    """
    newest_first = list(dict.fromkeys(release["digest"] for release in reversed(releases)))
    champion = releases[-1]["champion"] if releases else None
    return {*newest_first[:count], *([champion["digest"]] if champion else [])}


def compacted(releases: Sequence[Release], most: int) -> list[Release]:
    """Return releases without the oldest that nobody needs, so that they have at most so many bytes as JSON.

    These stay: the release that serves, and the one that a rollback goes back to. First go records of images that were
    released again later, but not a record that rolled another image back for good. Then other records go, the oldest
    first. Those that are left keep their numbers.

    Args:
        releases: every release, the oldest first.
        most: bytes that the JSON of them all may have.
    """
    if not releases:
        return []
    back, undone = target(releases, None), {*withdrawn(releases).values()}
    needed = {releases[-1]["release"], *([back["release"]] if back else [])}
    later = Counter(release["digest"] for release in releases)
    again = []
    for release in releases:
        later[release["digest"]] -= 1
        if later[release["digest"]] and release["release"] not in needed and release.get("instead_of") not in undone:
            again.append(release["release"])
    first = {*needed, *again}
    others = [release["release"] for release in releases if release["release"] not in first]
    sizes = {release["release"]: len(json.dumps(release).encode()) + 2 for release in releases}
    total, gone = sum(sizes.values()) + 2, set()
    for number in [*again, *others]:
        if total <= most:
            break
        gone.add(number)
        total -= sizes[number]
    return [release for release in releases if release["release"] not in gone]


def withdrawn(releases: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the digests of images that were rolled back and not brought back since, each with its release's number.

    Args:
        releases: every release, the oldest first; `instead_of` is the number of the one that was rolled back by it.
    """
    gone: dict[str, int] = {}
    numbered = {release["release"]: release["digest"] for release in releases}
    for release in releases:
        number = release.get("instead_of")
        if number is not None and number in numbered:  # an old record may have been dropped
            gone[numbered[number]] = number
        gone.pop(release["digest"], None)
    return gone


def target(releases: Sequence[Mapping[str, Any]], to: int | None) -> Mapping[str, Any] | None:
    """Return the release that a rollback goes back to; None if there is no such one.

    Without a number it is the newest one of another image that was not rolled back itself, so that rolling back twice
    goes back twice.

    Args:
        releases: every release, the oldest first.
        to: a release's number.
    """
    if to is not None:
        return next((release for release in releases if release["release"] == to), None)
    gone = {*withdrawn(releases), releases[-1]["digest"]} if releases else set()
    return next((release for release in reversed(releases) if release["digest"] not in gone), None)
