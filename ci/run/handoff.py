"""The hand-over: everything that a pod gets as text from the pods before it, in one file.

A pod starts empty. Data, models and results reach it by the DVC remote, images by the registry, and what is left are
a few small texts: the table of stages says which. Jenkins and the executor carry the one file from pod to pod.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ci import configuration, git, reading, stages, workspace
from ci.errors import InputError
from ci.results.build import AGENT, CHAMPION, HANDOFF, OVERRIDES, RUNS, SOURCE, TUNING_JOB, Handoff
from ci.results.training import PRIOR
from ci.run import dvc
from ci.stages import HANDED_OVER, HANDED_OVER_IF_THERE


def pack() -> Handoff:
    """Write down the commit that is checked out and the texts that are handed over.

    Raises:
        InputError: a file is missing or not as its stage writes it, or no commit is checked out.
    """
    found = git.checkout()
    if found.commit is None:
        raise InputError(f"the other pods need a commit to work on: {found.problem}")
    there = [*HANDED_OVER, *(path for path in HANDED_OVER_IF_THERE if path.exists())]
    for path in there:
        _check(path, path)
    handoff = Handoff(commit=found.commit, files={str(path): reading.text(path) for path in there})
    HANDOFF.write(handoff)
    return handoff


def commit(file: Path) -> str:
    """Return the commit that a hand-over is of, whatever else is in it: its own code knows how to read the rest.

    Raises:
        InputError: the file is missing, or names no commit.
    """
    found = stages.read_json(file)
    named = found.get("commit") if isinstance(found, dict) else None
    if not isinstance(named, str):
        raise stages.damaged(file, "commit: expected the digest of a commit")
    try:
        return Handoff(commit=named, files={}).commit
    except ValueError:
        raise stages.damaged(file, f"commit: {named[:80]!r} is not the digest of a commit in full") from None


def restore(file: Path) -> Handoff:
    """Put the texts of a hand-over into their places, after all of them were found to be as their stages write them.

    Raises:
        InputError: something is missing, wrong or not known; no file was touched.
    """
    handoff = HANDOFF.read(file)
    known = {str(path): path for path in (*HANDED_OVER, *HANDED_OVER_IF_THERE)}
    for name in handoff.files:
        if name not in known:
            raise InputError(
                f"{file}: files.{name[:80]}: no such file is handed over; those that are: {', '.join(known)}"
            )
    for path in HANDED_OVER:
        if str(path) not in handoff.files:
            raise InputError(f"{file}: files.{path} is missing: pack it again, after the stage that writes it")
    workspace.BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workspace.BUILD, prefix=".handoff.") as folder:
        for name, text in handoff.files.items():
            copy = Path(folder) / name
            workspace.write_text(copy, text)
            try:
                _check(known[name], copy)
            except InputError as error:
                raise InputError(f"{file}: {str(error).replace(f'{folder}/', '')}: pack it again") from None
    for name, text in handoff.files.items():
        workspace.write_text(known[name], text)
    return handoff


def _check(path: Path, copy: Path) -> None:
    """Make sure that a copy of one of the files can be read as its readers will read it.

    Raises:
        InputError: it cannot.
    """
    reading.text(stages.require(copy))
    if checked := _READERS.get(path):
        checked(copy)


def _lock(path: Path) -> None:
    if not isinstance((dvc.mapping(path) or {}).get("stages"), Mapping):
        raise InputError(f"{path}: not the lock file of DVC: it names no stages")


_READERS: dict[Path, Callable[[Path], Any]] = {
    workspace.SETTINGS: configuration.read,
    workspace.SOURCE: SOURCE.read,
    workspace.OVERRIDES: OVERRIDES.read,
    workspace.CHAMPION: CHAMPION.read,
    workspace.PRIOR: PRIOR.read,
    workspace.AGENT: AGENT.read,
    workspace.TUNING_JOB: TUNING_JOB.read,
    workspace.RUNS: RUNS.read,
    workspace.LOCK: _lock,
}
