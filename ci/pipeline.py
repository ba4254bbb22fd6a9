"""The whole pipeline on one machine: the stage commands in order, the cached ones through DVC."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from typing_extensions import TypedDict

from ci import lineage, workspace
from ci.command import patient
from ci.errors import InputError, StageError
from ci.stages import CACHED, NAMES, named

DVC = (sys.executable, "-m", "dvc")
RWLOCK = Path(".dvc/tmp/rwlock")
LOCK = Path("dvc.lock")
_SEEN = workspace.STATE / "cached.json"
"""Commit and settings of the last build whose cached stages ended well."""
_NOISE = re.compile(
    r"\s*$|Use `dvc push`|To track the changes|To enable auto staging|\s+(git add|dvc config) |Verifying data sources"
    r"|(Updating|Generating) lock file|ERROR: failed to reproduce '\S+': failed to run: |Stage '\S+' didn't change"
)
"""What DVC says that is no matter of a reader of the log: builds commit no `dvc.lock`, and push by themselves."""
_MESSAGE = ("bad input: ", "failed: ")


class Evaluated(TypedDict):
    """What decides whether the pipeline goes on after the test stage."""

    verdict: Literal["promote", "keep", "block"]
    reason: str


def run(stages: Sequence[str], overrides: Sequence[str]) -> dict[str, float]:
    """Run stages in order and return the seconds that each took.

    Raises:
        InputError: a stage was given bad input; the report has been written.
        StageError: a stage failed, or the model is blocked; likewise.
    """
    seconds: dict[str, float] = {}
    # A build that went through every stage is one for the history.
    arguments = {
        "configure": [f"--set={override}" for override in overrides],
        "report": ["--record"] if set(stages) == set(NAMES) else [],
    }
    for group in _groups(stages):
        try:
            if group[0] in CACHED:
                seconds.update(_cached(group))
                if group[-1] in ("test", "package"):
                    go_on(workspace.read_json(workspace.EVALUATION / "evaluation.json", Evaluated))
            else:
                started = time.monotonic()
                _command(group[0], arguments.get(group[0], []))
                seconds[group[0]] = time.monotonic() - started
        except (InputError, StageError):
            if "report" in stages and group[0] not in ("configure", "report"):
                _command("report", arguments["report"])
            raise
    return seconds


def _groups(stages: Sequence[str]) -> Iterator[list[str]]:
    """Yield stages in the pipeline's order, the cached ones together: DVC runs them as one graph."""
    cached = [stage for stage in CACHED if stage in stages]
    for stage in NAMES:
        if stage in stages and stage not in CACHED:
            yield [stage]
        elif cached and stage == cached[0]:
            yield cached


def go_on(evaluation: Evaluated) -> None:
    """Let the pipeline go on after a verdict: `promote` and `keep` are results, a blocked model is a failure.

    Raises:
        StageError: the model is blocked.
    """
    if evaluation["verdict"] == "block":
        raise StageError(f"the model is blocked: {evaluation['reason']}; nothing is deployed")


def _command(stage: str, arguments: list[str]) -> None:
    """Run a stage that is not cached.

    Raises:
        InputError: it was given bad input.
        StageError: it failed.
    """
    code, message = _run([sys.executable, "-m", f"scripts.{named(stage).module or stage}", *arguments], print)
    if code:
        raise _error(stage, code, message)


def _run(command: Sequence[str], hear: Callable[[str], None]) -> tuple[int, str]:
    """Run a command and return its exit code and the message it ended with, which is to be the last word of the log.

    Args:
        command: what to run.
        hear: called with each line that it says, but for the lines of that message.

    Raises:
        KeyboardInterrupt: we were interrupted meanwhile.
    """
    # The stages in dvc.yaml call `python`: it must be this one, activated or not. Unbuffered, lines come in order. What
    # they say comes as UTF-8; our own console shows what it can of it.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}
    message: list[str] = []
    said = False
    # A stage is interrupted together with us, and may have something to put back.
    with patient("the stage that runs is heard out") as interrupted:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            bufsize=1,
            env=environment,
        )
        with process:
            assert process.stdout is not None  # noqa: S101 - asked for above
            for line in map(str.rstrip, process.stdout):
                if _NOISE.match(line):
                    continue
                if message or line.startswith(_MESSAGE):
                    message.append(line)
                else:
                    said = True
                    hear(line)
                    sys.stdout.flush()
    if interrupted():
        print("\n".join(message))
        raise KeyboardInterrupt
    if process.returncode and not said and not message:
        message = [f"failed: ended with exit code {process.returncode} and said nothing"]
    return process.returncode, "\n".join(message)


def _error(stage: str, code: int, message: str) -> InputError | StageError:
    """Return the error of a stage that ended with this code and message."""
    kind = InputError if message.startswith(_MESSAGE[0]) else StageError
    text = message.partition(": ")[2] or f"ended with exit code {code}; what it said is above"
    return kind(f"{stage}: {text}")


def _cached(stages: list[str]) -> dict[str, float]:
    """Run stages through DVC, saying why each one runs or that none does.

    Raises:
        InputError: a stage was given bad input.
        StageError: a stage failed, or DVC did.
    """
    started = time.monotonic()
    upto = CACHED[: CACHED.index(stages[-1]) + 1]
    before = dict.fromkeys(name for stage in upto for name in named(stage).reads if name not in CACHED)
    for path in (path for name in before for path in (named(name).result, *named(name).others)):
        try:
            workspace.require(path)
        except InputError as error:
            raise InputError(f"{stages[-1]}: {error}") from None
    release(RWLOCK)
    clear_stale(LOCK)
    reasons = _reasons(stages)
    outcome = dict.fromkeys(upto, "not run: nothing that it depends on has changed")
    if not reasons:
        print(f"dvc: nothing to do: no input of {', '.join(stages)} has changed")
        _finish(outcome, computed=False)
        return {"/".join(stages): time.monotonic() - started}
    for stage, changes in reasons.items():
        print(f"dvc: {stage} runs because {'; '.join(changes)}")
    seconds = {"status": time.monotonic() - started}
    begun, running = time.monotonic(), ""
    computed = False

    def hear(line: str) -> None:
        nonlocal begun, running, computed
        print(line)
        if line.startswith(("Running stage '", "Stage '")):
            if running:
                seconds[running] = time.monotonic() - begun
            begun, running = time.monotonic(), line.split("'")[1]
            why = "; ".join(reasons.get(running, ["a stage before it has other results"]))
            computed = computed or line.startswith("Running")
            how = "run" if line.startswith("Running") else "taken from the cache of runs"
            outcome[running] = f"{how}: {why}"

    remote = subprocess.run([*DVC, "config", "core.remote"], capture_output=True, text=True, check=False).stdout.strip()
    # With a remote, what any build has computed from these inputs is fetched instead of computed.
    code, message = _run([*DVC, "repro", *(["--pull"] if remote else []), stages[-1]], hear)
    seconds[running or "dvc"] = time.monotonic() - begun
    if code:
        raise _error(running or "dvc", code, message)
    _finish(outcome, computed=computed)
    return seconds


def _finish(outcome: dict[str, str], *, computed: bool) -> None:
    """Write down why each cached stage was run or not, for the report; if none was, say what changed all the same."""
    try:
        before = workspace.read_json(workspace.RUNS, dict[str, str])
    except InputError:
        before = {}
    workspace.write_json(workspace.RUNS, {**before, **outcome})
    now = {"commit": lineage.commit(), "settings": yaml.safe_load(workspace.SETTINGS.read_text(encoding="utf-8"))}
    if not computed and (changed := _unread_changes(now)):
        print(f"dvc: no stage was run: none depends on {', '.join(changed)}, which changed")
    workspace.write_json(_SEEN, json.loads(json.dumps(now, default=str)))


def _unread_changes(now: Mapping[str, Any]) -> list[str]:
    """Return files and settings that differ from the last build that ended well, or else from the commit before."""
    seen: dict[str, Any] = {"commit": "HEAD^", "settings": {}}
    seen |= json.loads(_SEEN.read_text(encoding="utf-8")) if _SEEN.exists() else {}
    listed = subprocess.run(
        ["git", "diff", "--name-only", seen["commit"] or "HEAD", "--"], capture_output=True, text=True, check=False
    )
    before, after = (
        dict(_flat(each)) for each in (seen["settings"], json.loads(json.dumps(now["settings"], default=str)))
    )
    settings = [key for key in after if before and before.get(key) != after[key]]
    return [*listed.stdout.split(), *settings]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _reasons(stages: list[str]) -> dict[str, list[str]]:
    """Return for each stage that is not up to date what changed, as `dvc status` sees it before anything runs."""
    command = [*DVC, "status", "--json", stages[-1], "--with-deps"]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise StageError("dvc status failed; its message is above")
    status: dict[str, Any] = json.loads(result.stdout or "{}")
    known = yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"] if LOCK.exists() else {}
    return {
        stage: list(_changes(status[stage])) if stage in known else ["it has not run here before"]
        for stage in CACHED
        if stage in status
    }


def _changes(found: list[Any]) -> Iterator[str]:
    for entry in found:
        if not isinstance(entry, dict):
            yield str(entry)
            continue
        for kind, paths in entry.items():
            for path, change in paths.items() if isinstance(paths, dict) else [(kind, paths)]:
                inner = ", ".join(change) if isinstance(change, dict) else change
                yield f"{path} is {inner}" if isinstance(change, str) else f"{path}: {inner} changed"


def collect(*, dry_run: bool, tips: bool) -> int | str:
    """Delete from DVC's cache what neither a commit nor the workspace names.

    Data that any commit tracks stay; results of builds other than the last go, and are computed again if asked for.
    The remote is left alone, as others share it.

    Args:
        dry_run: delete nothing.
        tips: of the commits only the tips of branches and tags count.

    Returns:
        the bytes that this freed, or why the cache was not touched.

    Raises:
        StageError: DVC failed; its message has been printed.
    """
    release(RWLOCK)
    where = subprocess.run([*DVC, "cache", "dir"], stdout=subprocess.PIPE, text=True, check=False)
    cache = Path(where.stdout.strip())
    if where.returncode:
        raise StageError("dvc cache dir failed; its message is above")
    if not cache.resolve().is_relative_to(Path.cwd()):
        return "outside the repository, where others may share it"
    before = workspace.size(cache)
    # A folder that is no Git repository has no commits to keep data of.
    commits = [] if lineage.commit() is None else ["--all-branches", "--all-tags"] if tips else ["--all-commits"]
    command = [*DVC, "gc", "--workspace", *commits, "--force", *(["--dry"] if dry_run else [])]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        if commits and not tips:  # one old commit with a file that DVC cannot read is enough
            return "DVC cannot read every commit, see above; `python -m scripts.prune --tips` asks the tips only"
        raise StageError("dvc gc failed; its message is above")
    return before - workspace.size(cache)


def clear_stale(path: Path) -> None:
    """Remove a file of DVC's that a killed run left empty or cut short: every later DVC command would fail on it."""
    try:
        if isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict):
            return
    except FileNotFoundError:
        return
    except (UnicodeDecodeError, yaml.YAMLError):
        pass
    path.unlink()
    print(f"dvc: removed {path}, which a killed run had left unreadable")


def release(path: Path) -> None:
    """Wait for DVC commands that outlive the run that started them, then remove the locks that killed ones left.

    DVC itself takes a killed command that is not yet reaped, or another program under its number, for a holder.
    """
    said: set[int] = set()
    while pids := _holders(path):
        if pids - said:
            print(f"dvc: waiting for process {', '.join(map(str, sorted(pids)))} of another run to end", flush=True)
            said |= pids
        time.sleep(0.5)
    path.unlink(missing_ok=True)


def _holders(path: Path) -> set[int]:
    """Return the DVC processes that live and hold something in DVC's lock file."""
    try:
        locks = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return set()
    held = [entry for lock in locks.values() for kind in ("read", "write") for entry in _entries(lock.get(kind))]
    return {entry["pid"] for entry in held if _is_dvc(entry["pid"])}


def _is_dvc(pid: int) -> bool:
    try:
        return b"dvc" in Path(f"/proc/{pid}/cmdline").read_bytes()  # empty for a process that only waits to be reaped
    except OSError:
        return False


def _entries(value: Any) -> list[dict[str, Any]]:
    return value if isinstance(value, list) else [value] if value else []
