"""Releases: one record for each version that was verified while it served, the last of which is the champion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ci import workspace
from ci.errors import InputError, StageError
from ci.results.rollout import RELEASES

FOLDER = workspace.STATE / "serving"
RECORDS = RELEASES.path

Release = dict[str, Any]
"""As JSON values; `ci.results.rollout.Release` has its keys."""


def read() -> list[Release]:
    """Return every release, the oldest first."""
    try:
        return RELEASES.plain_all()
    except InputError as error:  # nobody but the pipeline writes it
        raise StageError(f"{error}, or delete it to begin anew") from None


def last() -> Release | None:
    """Return the last verified release."""
    releases = read()
    return releases[-1] if releases else None


def add(release: Mapping[str, Any]) -> Release:
    """Record a release under the next number."""
    releases = read()
    record = {"release": len(releases) + 1, **release}
    workspace.write_text(RELEASES.path, RELEASES.text([*releases, record]))
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


def evidence(digest: str) -> Path:
    """Return the folder that keeps a released package's manifest, golden predictions and reference statistics."""
    return FOLDER / "releases" / digest.removeprefix("sha256:")
