"""Releases: one record for each version that was verified while it served, the last of which is the champion."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ci import workspace
from ci.errors import StageError

FOLDER = workspace.STATE / "serving"
RECORDS = FOLDER / "releases.jsonl"

_KEYS = {"release", "digest", "version", "as_of", "inputs", "champion"}
Release = dict[str, Any]
"""Keys: `release` (counted from 1), `time`, `digest`, `version`, `as_of`, `model`, `inputs`, `commit`, `champion`; on a
cluster also `revision`, the name of the pod template that was verified."""


def read() -> list[Release]:
    """Return every release, the oldest first."""
    try:
        lines = RECORDS.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            release = json.loads(line)
            problem = f"no {', '.join(missing)}" if (missing := sorted(_KEYS - {*release})) else None
        except (ValueError, TypeError) as error:
            problem = str(error)
        if problem:
            raise StageError(f"{RECORDS}:{number} is damaged ({problem}): restore it, or delete it to begin anew")
        found.append(release)
    return found


def last() -> Release | None:
    """Return the last verified release."""
    releases = read()
    return releases[-1] if releases else None


def add(release: Mapping[str, Any]) -> Release:
    """Record a release under the next number."""
    releases = read()
    record = {"release": len(releases) + 1, **release}
    lines = [json.dumps(entry, sort_keys=True, ensure_ascii=False) + "\n" for entry in [*releases, record]]
    workspace.write_text(RECORDS, "".join(lines))
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
