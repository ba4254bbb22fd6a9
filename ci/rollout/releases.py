"""Releases: one record for each version that was verified while it served, the last of which is the champion."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ci import workspace
from ci.errors import InputError, StageError

FOLDER = workspace.STATE / "serving"
RECORDS = FOLDER / "releases.jsonl"

Release = dict[str, Any]
"""Keys: `release` (counted from 1), `time`, `digest`, `version`, `as_of`, `model`, `inputs`, `commit`, `champion`."""


def read() -> list[Release]:
    """Return every release, the oldest first."""
    try:
        lines = RECORDS.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError as error:
        raise StageError(f"{RECORDS} is damaged ({error.msg}): restore it, or delete it to begin anew") from None


def last() -> Release | None:
    """Return the last verified release."""
    releases = read()
    return releases[-1] if releases else None


def serving() -> Release:
    """Return the last verified release.

    Raises:
        InputError: there is none.
    """
    found = last()
    if found is None:
        raise InputError("nothing was released yet: run `python -m scripts.deploy` first")
    return found


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


def evidence(digest: str) -> Path:
    """Return the folder that keeps a released package's manifest, golden predictions and reference statistics."""
    return FOLDER / "releases" / digest.removeprefix("sha256:")
