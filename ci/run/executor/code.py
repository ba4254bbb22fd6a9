"""The code of a build, as a Git bundle that a pod can clone: a commit with all that came before it."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from ci import git
from ci.errors import InputError

BRANCH = "build"


@dataclass(frozen=True)
class Code:
    """What the pods of a build clone.

    Attributes:
        commit: what they check out.
        bundle: a Git bundle with the branch `build` at that commit.
        note: what is to be said about it; empty if it is what is checked out here.
    """

    commit: str
    bundle: bytes
    note: str


def pack() -> Code:
    """Return the code as it is in the working tree; files that Git does not know are not part of it.

    The repository stays as it is: changes that are not committed become a commit that no branch names.

    Raises:
        InputError: there is no commit, the clone lacks older ones, or Git fails.
    """
    found = git.checkout()
    if found.commit is None:
        raise InputError(f"pods clone a commit: {found.problem}")
    if git.output("rev-parse", "--is-shallow-repository").strip() != "false":
        raise InputError("pods clone this repository, and it lacks older commits: `git fetch --unshallow` fetches them")
    stashed = ""
    if git.output("status", "--porcelain", "--untracked-files=no"):  # without a change Git may refuse to store one
        who = ("-c", "user.name=executor", "-c", "user.email=executor@localhost")
        stashed = git.output(*who, "stash", "create").strip()
    commit = stashed or found.commit
    unknown = [name for name in git.output("ls-files", "--others", "--exclude-standard", "-z").split("\0") if name]
    notes = []
    if stashed:
        notes.append(f"changes that are not committed are part of this build, as commit {commit[:12]}")
    if unknown:
        notes.append(f"files that Git does not know are not ({', '.join(unknown[:5])}{' …' * (len(unknown) > 5)})")
    objects = Path(git.output("rev-parse", "--git-path", "objects").strip()).resolve()
    with tempfile.TemporaryDirectory() as folder:  # so that this repository gets no branch
        git.output("init", "--quiet", "--bare", folder)
        (Path(folder) / "objects/info/alternates").write_text(f"{objects}\n")
        within = ("--git-dir", folder)
        git.output(*within, "update-ref", f"refs/heads/{BRANCH}", commit)
        bundle = Path(folder) / "code.bundle"
        git.output(*within, "bundle", "create", "--quiet", str(bundle), f"refs/heads/{BRANCH}")
        return Code(commit, bundle.read_bytes(), "; ".join(notes))
