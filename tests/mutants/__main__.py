"""`make mutants`: change one line at a time, run the fast tests beside it, and print which changes they did not notice.

It works on copies of the repository, one for each processor, so files may be edited meanwhile.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db

from tests.mutants import run, whens
from tests.mutants.table import BESIDE, CAP, LEAST, OPERATORS, SEED, SLOW, WHENS, left_alone

REPOSITORY = Path(__file__).parents[2]
JENKINSFILE = "Jenkinsfile"


@dataclass(frozen=True)
class Change:
    """One change of a file.

    Attributes:
        file: the changed file.
        line: where, counted from 1.
        before: the line.
        after: what stands there instead.
        text: the whole file with the change.
    """

    file: str
    line: int
    before: str
    after: str
    text: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and return 1 if too few changes were noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("files", nargs="*", default=[*BESIDE, JENKINSFILE], help="measure these only (all)")
    parser.add_argument("--cap", type=int, default=CAP, help=f"changes in one file at most ({CAP})")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="changes tried at a time (one a processor)")
    given = parser.parse_args(arguments)
    os.environ["CI"] = "true"  # tests that draw draw the same each time, and none is skipped for a missing program
    begun, seen = time.monotonic(), {}
    run.preload()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        _copy(Path(folder) / "0")
        for file in given.files:
            tests = (*(WHENS if file == JENKINSFILE else BESIDE[file]), "-k", f"not ({' or '.join(SLOW)})")
            started = time.monotonic()
            if run.fails(tests, Path(folder) / "0", inf, quiet=False):
                sys.exit(f"mutants: the tests of {file} fail without any change")
            seen[file] = (tests, 20 + 5 * (time.monotonic() - started))
        for number in range(1, given.jobs):
            shutil.copytree(Path(folder) / "0", Path(folder) / str(number))
        changes = [change for file in given.files for change in _changes(Path(folder) / "0", file, given.cap)]
        print(f"{len(changes)} changes", flush=True)
        ready: multiprocessing.SimpleQueue[Path] = multiprocessing.SimpleQueue()
        for number in range(given.jobs):
            ready.put(Path(folder) / str(number))
        missed: list[Change] = []
        with multiprocessing.Pool(given.jobs, _enter, (ready,)) as pool:
            jobs = [(change, *seen[change.file]) for change in changes]
            for number, (change, noticed) in enumerate(pool.imap(_try, jobs), 1):
                if not noticed:
                    missed.append(change)
                    _tell(change)
                if number == len(changes) or changes[number].file != change.file:
                    print(_share(change.file, changes, missed), flush=True)
    return _sum(changes, missed, time.monotonic() - begun)


def _copy(folder: Path) -> None:
    """Copy what Git knows or would take, as it is now, times included: so that compiled Python stays right."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)


def _changes(folder: Path, file: str, cap: int) -> list[Change]:
    """Return the changes that are to be made in a file below a folder."""
    text = (folder / file).read_text(encoding="utf-8")
    if file == JENKINSFILE:
        return [Change(file, *each) for each in whens.changed(text)]
    with tempfile.TemporaryDirectory() as scratch, use_db(f"{scratch}/all", WorkDB.Mode.create) as database:
        init([folder / file], database, {})
        found = [item.mutations[0] for item in database.pending_work_items]
    lines = text.splitlines()
    found = [each for each in found if each.operator_name in OPERATORS and not left_alone(lines[each.start_pos[0] - 1])]
    found.sort(key=lambda each: (each.operator_name, each.occurrence))
    changes = []
    for each in random.Random(f"{SEED} {file}").sample(found, min(cap, len(found))):
        changed = mutate_code(text, get_operator(each.operator_name)(), each.occurrence)
        before, after = _difference(lines, changed.splitlines())
        changes.append(Change(file, each.start_pos[0], before, after, changed))
    return sorted(changes, key=lambda change: (change.line, change.after))


def _difference(before: list[str], after: list[str]) -> tuple[str, str]:
    """Return the lines in which two texts differ, without those that they begin and end with alike."""
    while before and after and before[0] == after[0]:
        before, after = before[1:], after[1:]
    while before and after and before[-1] == after[-1]:
        before, after = before[:-1], after[:-1]
    return (" ".join(line.strip() for line in lines) for lines in (before, after))


def _enter(ready: "multiprocessing.SimpleQueue[Path]") -> None:
    """Make a copy of the repository this process's own."""
    os.chdir(ready.get())


def _try(job: tuple[Change, Sequence[str], float]) -> tuple[Change, bool]:
    """Make a change in the current folder, run the tests, and take it back; return whether they noticed."""
    change, tests, timeout = job
    path = Path(change.file)
    before, times = path.read_bytes(), path.stat()
    path.write_text(change.text, encoding="utf-8")
    try:
        return change, run.fails(tests, Path.cwd(), timeout)
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def accepted() -> dict[tuple[str, str, str], str]:
    """Return the reason of each change that need not be noticed, by file, line before and line after."""
    listed = tomllib.loads((Path(__file__).parent / "accepted.toml").read_text(encoding="utf-8"))
    return {(each["file"], each["before"], each["after"]): each["reason"] for each in listed.get("change", [])}


def _tell(change: Change) -> None:
    reason = accepted().get((change.file, change.before, change.after))
    said = f"accepted: {reason}" if reason else "NOT NOTICED, and not in accepted.toml"
    print(f"{change.file}:{change.line}: {said}\n  - {change.before}\n  + {change.after}", flush=True)


def _share(file: str | None, changes: list[Change], missed: list[Change]) -> str:
    """Return how many of the changes of a file, or of all, were noticed."""
    made, lost = (sum(file in (None, each.file) for each in some) for some in (changes, missed))
    return f"{file or 'all':36} {made:4} changes, {made - lost:4} noticed, {lost:3} not: {(made - lost) / made:.1%}"


def _sum(changes: list[Change], missed: list[Change], seconds: float) -> int:
    print("", *(_share(file, changes, missed) for file in dict.fromkeys(change.file for change in changes)), sep="\n")
    enough = 100 * (len(changes) - len(missed)) >= LEAST * len(changes)
    print(_share(None, changes, missed))
    print(f"{seconds / 60:.0f} minutes; at least {LEAST} % must be noticed: {'passed' if enough else 'FAILED'}")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
