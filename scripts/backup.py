"""Write one file with all that is lost with a cluster or a disk: releases, their evidence, the history of builds.

It has the ledger of each environment, with golden predictions and reference statistics of the images that are kept,
the history of builds, and what monitoring remembers: windows, retrainings, requests with their outcomes. Images are in
the registry, data and results in the DVC remote: these need backups of their own.
`python -m scripts.restore FILE` puts back what is lost. A ledger that does not tell what serves is not written.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from ci.command import parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "backup")
    arguments.add_argument("file", type=Path, help="the file to write, such as backup.json")
    options = arguments.parse_args(argv)
    return run(lambda: backup(options.file))


def backup(file: Path) -> None:
    """Write the backup and say what is in it."""
    from ci import configuration, workspace
    from ci.errors import InputError
    from ci.monitoring import memory
    from ci.rollout import backup

    if file.is_dir():
        raise InputError(f"{file} is a folder: name a file, such as {file / 'backup.json'}")
    settings = configuration.effective()
    for line in backup.save(settings, datetime.now(UTC), file, memory.saved(settings.history)):
        print(f"backup: {line}")
    print(f"backup: {workspace.size(file):,} bytes -> {file}")


if __name__ == "__main__":
    sys.exit(main())
