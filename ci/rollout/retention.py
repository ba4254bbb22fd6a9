"""What is deleted of past releases: their images, unpacked models, evidence and logs."""

from pathlib import Path

from ci import workspace
from ci.registry import bases
from ci.registry import local as registry
from ci.releases import machine as releases
from ci.rollout import local
from ci.rollout import place as places
from ci.settings import Settings


def prune(settings: Settings, *, dry_run: bool) -> tuple[list[Path], int]:
    """Delete what no release that is kept needs, and return what that was and its size in bytes.

    Whatever runs is kept, released or not. Fetched bases go too: packaging fetches what it needs again.

    Raises:
        StageError: a server does not say what it runs, or runs what is not recorded as released, another command holds
            the releases, or an image to keep was changed; nothing was deleted.
    """
    with local.alone():
        keep: set[str] = set()
        for place in (places.here(settings), places.look(settings)):
            place.require_agreement()
            keep |= releases.kept(place.ledger.read(), settings.retention.releases) | place.where.phases().keys()
        names = {digest.removeprefix("sha256:") for digest in keep}
        records = [*releases.evidence("sha256:*").parent.glob("*"), *releases.FOLDER.glob("*.log")]
        paths = [*registry.unused(keep), *(path for path in records if path.stem not in names), *bases.CACHE.glob("*")]
        freed = sum(workspace.size(path) for path in paths)
        if not dry_run:
            registry.forget(keep)  # first: an image that is listed is complete, however this run ends
            for path in paths:
                workspace.remove(path)
    return paths, freed


def forget(settings: Settings, *, dry_run: bool) -> list[str]:
    """Delete the evidence of past releases that a cluster keeps, of those whose images go, and return its names.

    Raises:
        StageError: the account may not, or what serves is not recorded.
    """
    place = places.look(settings)
    place.require_agreement()
    keep = releases.kept(place.ledger.read(), settings.retention.releases) | place.where.phases().keys()
    return place.forget(keep, dry_run=dry_run)
