"""What Git says about the current folder. A failure of Git is never mistaken for a missing repository."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ci.errors import InputError

NONE = "not in a Git repository"
_TIMEOUT = 60.0
"""Longest wait for a command of Git; seconds."""
_OF_HOOKS = (
    "GIT_DIR",
    "GIT_COMMON_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
)
"""Variables that Git sets for its hooks and that lead away from the repository of the current folder."""


@dataclass(frozen=True)
class Checkout:
    """What is checked out in the current folder."""

    commit: str | None
    """The commit; None if there is no repository, no commit yet, or Git failed."""
    repository: bool
    """Whether there is a repository. True as well if there is one and Git failed on it."""
    problem: str | None = None
    """Why there is no commit, in Git's own words if it failed; None if there is one."""


class _GitError(Exception):
    """Git's own message."""


def environment() -> dict[str, str]:
    """Return the environment for a command on this folder's repository, without the variables that a Git hook sets."""
    return {name: value for name, value in os.environ.items() if name not in _OF_HOOKS}


def checkout() -> Checkout:
    """Return what is checked out in the current folder."""
    try:
        _git("rev-parse", "--git-dir")
    except _GitError as failed:
        if _marked():
            return Checkout(None, repository=True, problem=f"git failed: {failed}")
        return Checkout(None, repository=False, problem=NONE)
    try:
        return Checkout(_git("rev-parse", "--verify", "--end-of-options", "HEAD").strip(), repository=True)
    except _GitError:
        wrong = _wrong()
        problem = f"git failed: {wrong}" if wrong else "HEAD names no commit yet"
        return Checkout(None, repository=True, problem=problem)


def check_out(commit: str) -> bool:
    """Check out a commit, without a branch, unless it is already; return whether the files changed.

    Raises:
        InputError: this clone does not have it, changes of files are in its way, or Git failed.
    """
    if checkout().commit == commit:
        return False
    try:
        _git("checkout", "--quiet", "--detach", commit, "--")
    except _GitError as failed:
        raise InputError(f"commit {commit[:12]} cannot be checked out: git: {failed}") from None
    return True


def output(*arguments: str, given: bytes | None = None, index: Path | None = None) -> str:
    """Run Git and return what it prints.

    Args:
        arguments: of Git.
        given: what it reads.
        index: a file that takes the place of the repository's index.

    Raises:
        InputError: it failed; the message is Git's own.
    """
    try:
        return _git(*arguments, given=given, index=index)
    except _GitError as failed:
        raise InputError(f"git: {failed}") from None


def hidden(*, tips: bool) -> str | None:
    """Return why DVC cannot see every commit of this folder's repository; None if it can, or there is none.

    Call this before deleting data that no commit names.

    Args:
        tips: of the commits only the tips of branches and tags matter.
    """
    found = checkout()
    if not found.repository:
        return None
    wrong = _wrong()
    if wrong:
        return f"git failed: {wrong}"
    if found.commit is None:  # DVC takes a repository without a commit at HEAD for an empty one
        return None if wrong is None else f"{found.problem}, though there are commits: check one out"
    if _run("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        return "the clone is shallow and lacks older commits: `git fetch --unshallow` fetches them"
    walk = ("--no-walk", "HEAD", "--branches", "--tags") if tips else ("--all",)
    lost = _run("rev-list", "--objects", "--quiet", "--missing=print", *walk)
    if lost.returncode or lost.stdout.strip():  # a clone with --filter, or a damaged one; DVC may wait for ever there
        said = _line(lost.stderr) or lost.stdout.split()[0].removeprefix("?")
        return f"the clone lacks content of its commits, such as {said}: clone it again, without --filter"
    beside = ("--all", "--not", "HEAD", "--branches", "--tags", "--remotes")
    done = _run("log", "--full-history", "-m", "--format=%h", *beside, "--", ":(glob)**/*.dvc", ":(glob)**/dvc.lock")
    if done.stdout.strip() and not tips:
        return (
            f"commit {done.stdout.split()[0]} names data and is on no branch, as a stash is, so DVC would not count it"
        )
    return None


def _wrong() -> str | None:
    """Walk through every commit and return what Git says is wrong: "" if each is there, None if there is none."""
    try:
        done = _run("rev-list", "--all", "--count")
    except _GitError as failed:
        return str(failed)
    said = _line(done.stderr)  # of a broken reference Git only warns
    if done.returncode or said:
        return said or f"exit code {done.returncode}"
    return None if done.stdout.strip() == "0" else ""


def changed_since(revision: str) -> list[str]:
    """Return the files that differ from a commit; none where Git cannot tell."""
    try:
        listed = _git("diff", "--name-only", "-z", "--no-ext-diff", "--end-of-options", revision, "--")
    except _GitError:
        return []
    return [name for name in listed.split("\0") if name]


def require_clean() -> None:
    """Refuse a folder that is not the root of a repository, or has something that is not committed.

    Raises:
        InputError: says which, and what to do.
    """
    root = output("rev-parse", "--show-toplevel").strip()
    if Path(root).resolve() != Path.cwd().resolve():
        raise InputError(f"run it in the repository's folder, {root}")
    # DVC's lock of builds here is no part of the template, and DVC forbids to ignore it.
    if changed := [line for line in output("status", "--porcelain").splitlines() if line != "?? dvc.lock"]:
        raise InputError(
            f"{len(changed)} files are not as committed, such as {changed[0][3:]}: commit or stash them first, so that "
            "Git can undo what this changes"
        )


def _git(*arguments: str, given: bytes | None = None, index: Path | None = None) -> str:
    """Run Git and return what it prints.

    Raises:
        _GitError: Git ended with an error, was not found, or took too long.
    """
    done = _run(*arguments, given=given, index=index)
    if done.returncode:
        raise _GitError(_line(done.stderr) or f"exit code {done.returncode}")
    return done.stdout


def _run(*arguments: str, given: bytes | None = None, index: Path | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", *arguments],
            input=None if given is None else given.decode(errors="surrogateescape"),
            env=environment() | ({"GIT_INDEX_FILE": str(index)} if index else {}),
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _GitError(f"no answer within {_TIMEOUT:g} seconds") from None
    except OSError as error:
        raise _GitError(f"git cannot be run: {error.strerror}; is it installed and on the PATH?") from None


def _line(text: str) -> str:
    return " ".join(text.split())


def _marked() -> bool:
    """Return whether this folder or one above has a `.git`, or a variable says that its repository is elsewhere."""
    if "GIT_DIR" in os.environ:
        return True
    here = Path.cwd()
    ceilings = {Path(ceiling) for ceiling in os.environ.get("GIT_CEILING_DIRECTORIES", "").split(os.pathsep) if ceiling}
    for folder in (here, *here.parents):
        if folder in ceilings and folder != here:
            return False
        if os.path.lexists(folder / ".git"):
            return True
    return False
