"""Delete what builds of the past left and nothing needs any more, and say how much that frees.

Images of all but the last `retention.releases` releases go; what runs, the last verified release and its champion
stay; on a cluster their evidence goes too, if the account may delete it. DVC's cache keeps what any commit tracks (with
--tips: the tips of branches and tags) and the last build's results; its remote is left alone. Where Git cannot name
each commit, the cache is not touched. The history of builds is kept short by `history.keep` as it is written.

With --remote DAYS only the DVC remote is pruned, where it is a folder: results that are older, that no commit names,
and that no later result was made from. The newest result of each stage stays. Do it while no build runs.
"""

import argparse
import sys
import time
from typing import TYPE_CHECKING

from ci.command import parser, run

if TYPE_CHECKING:
    from pathlib import Path

    from ci.settings import Settings


_LONGEST = 36_600
"""Days."""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "prune")
    arguments.add_argument("--dry-run", action="store_true", help="say what would be deleted and stop")
    arguments.add_argument("--tips", action="store_true", help="data that only older commits track may go too")
    arguments.add_argument("--remote", type=days, metavar="DAYS", help="prune the DVC remote, and nothing else")
    options = arguments.parse_args(argv)
    if options.remote is not None:
        return run(lambda: remote(options.remote, dry_run=options.dry_run))
    return run(lambda: prune(dry_run=options.dry_run, tips=options.tips))


def days(text: str) -> float:
    """Return a command-line argument as a number of days, 1 or more."""
    value = float(text)
    if not 1 <= value <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text} is no age: give days, 1 to {_LONGEST}")
    return value


def remote(age: float, *, dry_run: bool) -> None:
    """Delete old results of the DVC remote, or say what would be."""
    from ci.run import remote

    print(f"prune: DVC remote: {remote.retire(age, time.time(), dry_run=dry_run)}")


def prune(*, dry_run: bool, tips: bool) -> None:
    """Delete, or say what would be."""
    from ci import configuration
    from ci.kube.api import Denied
    from ci.run import dvc

    settings = configuration.effective()
    paths, freed = images(settings, dry_run=dry_run)
    for path in paths:
        print(f"prune: {'would delete' if dry_run else 'deleted'} {path}")
    try:
        for name in evidence(settings, dry_run=dry_run):
            print(f"prune: {'would delete' if dry_run else 'deleted'} {name}")
    except Denied as error:
        print(f"prune: evidence on the cluster: not touched: {error}")
    print(f"prune: images: {freed / 1e6:.1f} MB {'to free' if dry_run else 'freed'}")
    collected = dvc.collect(dry_run=dry_run, tips=tips)
    if isinstance(collected, str):
        print(f"prune: DVC's cache: not touched: {collected}")
    elif not dry_run:
        print(f"prune: DVC's cache: {collected / 1e6:.1f} MB freed")


def images(settings: "Settings", *, dry_run: bool) -> tuple[list["Path"], int]:
    """Delete the images that nothing needs any more, here or on the cluster; return the paths and their bytes."""
    from ci.releases import machine, retention
    from ci.rollout import backup
    from ci.rollout import place as places

    with machine.all_alone():
        count, keep = settings.retention.releases, set[str]()
        for each in backup.everywhere(settings):
            keep |= places.here(each).needed(count) | places.look(each).needed(count)
        return retention.prune(keep, dry_run=dry_run)


def evidence(settings: "Settings", *, dry_run: bool) -> list[str]:
    """Delete the evidence of such images that the cluster keeps, and return its names."""
    from ci.rollout import backup
    from ci.rollout import place as places

    found = []
    for place in [places.look(each) for each in backup.everywhere(settings)]:
        found += place.forget(place.needed(settings.retention.releases), dry_run=dry_run)
    return found


if __name__ == "__main__":
    sys.exit(main())
