"""Merge a newer version of the template into this fork; docs/updating.md explains it.

`git fetch upstream && make update FROM=upstream/main`. What is yours alone (model/, tests/model/, pipeline.yaml,
README.md) stays as it is, and what you took away stays away. Nothing is committed: `git merge --abort` undoes it. Exit
code 0: ready to be tested and committed; 1: some files have conflicts, which are named; 2: it cannot be merged.
"""

import sys

from ci.command import parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "update")
    arguments.add_argument("--from", dest="revision", default="upstream/main", help="commit, tag or branch to merge")
    options = arguments.parse_args(argv)
    return run(lambda: update(options.revision))


def update(revision: str) -> None:
    """Merge, and say what comes next."""
    from ci import update
    from ci.errors import StageError

    conflicts = update.merge(revision)
    if conflicts is None:
        print(f"update: nothing to do: this fork has all of {revision}")
        return
    after = "`python -m scripts.configure --migrate`, `make setup check test`, `git commit`; or `git merge --abort`"
    if conflicts:
        raise StageError(f"both changed {', '.join(conflicts)}: mend and `git add` them, then {after}")
    print(f"update: {revision} is merged, not committed; next: {after}")


if __name__ == "__main__":
    sys.exit(main())
