"""Hand the build over to a pod that starts empty: pack writes build/handoff.json, restore puts its files in place.

`pack` takes the commit, the effective settings and their overrides, the data source's digest, the model card's words,
the champion, and, where they are there, the training pod, why cached stages ran, and dvc.lock. Pack again once a pod
has added to them. Data, models and results travel by the DVC remote instead, images by the registry.

`restore` first checks out the commit that was packed, in the clone that it runs in. Then it checks every file, and only
if all are as they should be does it put them in their places. It needs no other command before it but the one that
cloned the repository, and `dvc pull` after it.
"""

import subprocess
import sys
from pathlib import Path

from ci.command import parser, run


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = parser(__doc__, "handoff")
    actions = arguments.add_subparsers(dest="action", required=True, metavar="pack|restore")
    actions.add_parser("pack", help="write build/handoff.json")
    restored = actions.add_parser("restore", help="check out its commit and put its files in place")
    restored.add_argument("file", nargs="?", type=Path, help="the hand-over (build/handoff.json)")
    options = arguments.parse_args(argv)
    return run(pack if options.action == "pack" else lambda: restore(options.file))


def pack() -> None:
    """Write the hand-over."""
    from ci import git, workspace
    from ci.run import handoff

    packed = handoff.pack()
    if changed := git.changed_since("HEAD"):
        print(f"handoff: changes that are not committed stay behind: {', '.join(changed)}")
    size = workspace.size(workspace.HANDOFF)
    print(f"handoff: commit {packed.commit[:12]} and {len(packed.files)} texts, {size:,} bytes -> {workspace.HANDOFF}")


def restore(file: Path | None) -> int:
    """Put the files of the hand-over in their places and return the exit code."""
    from ci import git, workspace
    from ci.run import handoff

    file = file or workspace.HANDOFF
    if git.check_out(handoff.commit(file)):  # from here on its own code reads what it has packed
        command = [sys.executable, "-m", "scripts.handoff", "restore", "--", str(file)]
        return subprocess.run(command, check=False).returncode
    restored = handoff.restore(file)
    print(f"handoff: {file} -> commit {restored.commit[:12]}, {', '.join(restored.files)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
