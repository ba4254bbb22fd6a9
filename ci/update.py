"""A newer version of the template is merged into a fork: what is the fork's own stays exactly as it is.

Git merges; this adds what it cannot know: that a fork's `model/` has nothing to do with the template's, and that what a
fork took away stays away.
"""

from pathlib import PurePosixPath

from ci import git
from ci.errors import InputError

OWN = ("model", "tests/model", "pipeline.yaml", "README.md")
"""What is the fork's alone; docs/updating.md names it."""


def merge(revision: str) -> list[str] | None:
    """Merge a commit, without committing, and return the files with conflicts; None if there was nothing to merge.

    Raises:
        InputError: there is no such commit or no common history, or something is not committed.
    """
    git.require_clean()
    try:
        theirs = git.output("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()
    except InputError as error:
        raise InputError(
            f"--from {revision}: there is no such commit here: `git remote add upstream URL` and `git fetch upstream` "
            f"bring those of upstream ({error})"
        ) from None
    try:
        base = git.output("merge-base", "HEAD", theirs).strip()
    except InputError:
        raise InputError(
            f"{revision} and this repository have no common commit: `git fetch --unshallow` if it is a shallow clone; "
            "docs/updating.md says what to do with a copy"
        ) from None
    if base == theirs:
        return None
    before, ours = _paths(base), _paths("HEAD")
    stay_away = [path for path in _paths(theirs) if path not in ours and _taken_away(path, before, ours)]
    try:
        git.output("merge", "--no-commit", "--no-ff", "--quiet", theirs)
    except InputError:
        if not _conflicts():
            raise
    for paths in (stay_away, OWN):
        _remove(paths)
    git.output("checkout", "HEAD", "--", *[path for path in OWN if path in ours or f"{path}/" in _folders(ours)])
    return _conflicts()


def _taken_away(path: str, before: set[str], ours: set[str]) -> bool:
    """Return whether the fork took a file away, or a folder that it would be in."""
    return path in before or bool(_folders({path}) & _folders(before) - _folders(ours))


def _folders(paths: set[str]) -> set[str]:
    """Return every folder that files are in, each with `/` at its end."""
    return {f"{folder}/" for path in paths for folder in PurePosixPath(path).parents[:-1]}


def _paths(revision: str) -> set[str]:
    return {path for path in git.output("ls-tree", "-r", "--name-only", "-z", revision).split("\0") if path}


def _remove(paths: list[str] | tuple[str, ...]) -> None:
    """Take files or folders out of index and working tree, also where they conflict."""
    given = "".join(f"{path}\0" for path in paths).encode()
    if given:
        listed = ("--pathspec-from-file=-", "--pathspec-file-nul")
        git.output("--literal-pathspecs", "rm", "-rqf", "--ignore-unmatch", *listed, given=given)


def _conflicts() -> list[str]:
    found = git.output("diff", "--name-only", "--diff-filter=U", "-z").split("\0")
    return sorted({path for path in found if path})
