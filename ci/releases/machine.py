"""Releases: one record for each version that was verified while it served, the last of which is the champion."""

import fcntl
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ci import workspace
from ci.errors import InputError, StageError
from ci.results.rollout import RELEASES

FOLDER = workspace.STATE / "serving"
RECORDS = RELEASES.path

Release = dict[str, Any]
"""As JSON values; `ci.results.rollout.Release` has its keys."""


@contextmanager
def alone() -> Iterator[None]:
    """Hold this machine's serving; the lock ends with the process that holds it, however that ends.

    Raises:
        StageError: another command holds it.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StageError("another deploy, serve or stop is under way here: wait for it, then try again") from None
        yield


def read() -> list[Release]:
    """Return every release, the oldest first.

    Raises:
        StageError: the record is damaged; names file, line and key.
    """
    try:
        found: list[Release] = RELEASES.plain_all()
    except InputError as error:  # nobody but the pipeline writes it
        raise StageError(f"{error}, or delete it to begin anew") from None
    for number, release in enumerate(found, 1):
        if release["release"] != number:
            why = f"release: it is {release['release']}, where release {number} should be"
            raise StageError(f"{RECORDS}:{number}: {why}: restore it, or delete it to begin anew")
    return found


def last() -> Release | None:
    """Return the last verified release."""
    releases = read()
    return releases[-1] if releases else None


def add(release: Mapping[str, Any]) -> Release:
    """Record a release under the next number."""
    releases = read()
    record = {"release": len(releases) + 1, **release}
    workspace.write_text(RECORDS, RELEASES.text([*releases, record]))
    return record


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

    Of an image that was released again only the newest record is needed, and that by which another image was rolled
    back for good, so the others go first; then whole images go. What serves and what a rollback goes back to stay.
    Numbers stay as they are.

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


def evidence(digest: str) -> Path:
    """Return the folder that keeps a released package's manifest, golden predictions and reference statistics."""
    return FOLDER / "releases" / digest.removeprefix("sha256:")


def withdrawn(releases: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the digests that were rolled back and not brought back since, with the number of the release it was.

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
