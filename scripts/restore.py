"""Put back what `python -m scripts.backup` has saved and what is lost since: releases, their evidence, the history.

Nothing that is newer than the backup, or that the backup does not know, is overwritten: then nothing at all is
written, and the message says what is newer. What monitoring remembers is put together: what is there stays. The locks
of all environments are held meanwhile. On a cluster the operator's overlay must have been applied before, as it makes
the namespace and the accounts.

Exit codes: 0 restored, or all is there; 1 something is newer, or cannot be written; 2 the file is no backup of this
model and these environments.
"""

import sys
from pathlib import Path

from ci.command import parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "restore")
    arguments.add_argument("file", type=Path, help="what `python -m scripts.backup` wrote")
    arguments.add_argument("--dry-run", action="store_true", help="say what would be restored and stop")
    options = arguments.parse_args(argv)
    return run(lambda: restore(options.file, dry_run=options.dry_run))


def restore(file: Path, *, dry_run: bool) -> None:
    """Restore, and say what."""
    from ci import configuration
    from ci.monitoring import memory
    from ci.rollout import backup

    settings = configuration.effective()
    for line in backup.restore(
        settings, file, lambda found: memory.restore(found, settings.history, dry_run=dry_run), dry_run=dry_run
    ):
        print(f"restore: {'would be: ' * dry_run}{line}")


if __name__ == "__main__":
    sys.exit(main())
