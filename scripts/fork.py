"""Make this clone a fork of your own: your names, the example that is most like your task, nothing of the template's.

`make fork NAME=digits REGISTRY=registry.company.org/team EXAMPLE=images`. The change is staged, not committed:
`git reset --hard` undoes it. Without --example the task in model/ stays. Exit code 2: something cannot be used, or the
working tree has changes; nothing was changed then.
"""

import sys

from ci.command import parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "fork")
    arguments.add_argument("--name", default="", help="name of the served model")
    arguments.add_argument("--registry", default="", help="your registry of images: HOST[:PORT][/PATH]")
    arguments.add_argument("--example", help="folder of examples/ that takes the place of model/ and pipeline.yaml")
    arguments.add_argument("--dry-run", action="store_true", help="only show the difference")
    options = arguments.parse_args(argv)
    return run(lambda: fork(options.name, options.registry, options.example, options.dry_run))


def fork(name: str, registry: str, example: str | None, dry_run: bool) -> None:
    """Change the files, or show what would change."""
    from ci import fork

    before = fork.tracked()
    after = fork.plan(name, registry, example, before)
    found = fork.tree(before, after)
    if dry_run:
        print(fork.difference(found), end="")
        return
    count = fork.apply(found)
    print(f"fork: {count} files changed and staged; `git diff --cached` shows them, `git reset --hard` undoes it")
    print(f"fork: next: `git commit -m 'Fork: {name}'`, then what model/README.md says, `make check` and `make ci`")


if __name__ == "__main__":
    sys.exit(main())
