"""What is deleted of past releases on this machine: their images, unpacked models, evidence and logs."""

from collections.abc import Set
from pathlib import Path

from ci import workspace
from ci.registry import bases
from ci.registry import local as registry
from ci.releases import machine


def prune(keep: Set[str], *, dry_run: bool) -> tuple[list[Path], int]:
    """Delete what belongs to none of the images to keep, and return what that was and its size in bytes.

    Fetched bases go too: packaging fetches again what it needs. The caller holds `machine.all_alone`.

    Args:
        keep: digests of the images that stay.
        dry_run: delete nothing.

    Raises:
        StageError: an image to keep was changed; nothing was deleted.
    """
    names = {digest.removeprefix("sha256:") for digest in keep}
    places = machine.folders()
    records = [path for place in places for path in (*(place / "releases").glob("*"), *place.glob("*.log"))]
    paths = [*registry.unused(keep), *(path for path in records if path.stem not in names), *bases.CACHE.glob("*")]
    freed = sum(workspace.size(path) for path in paths)
    if not dry_run:
        registry.forget(keep)  # first: an image that is listed is complete, however this run ends
        for path in paths:
            workspace.remove(path)
    return paths, freed
