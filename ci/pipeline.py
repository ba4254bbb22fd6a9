"""The whole pipeline on one machine: the stage commands in order, the cached ones through DVC."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from ci.errors import InputError, StageError

CACHED = ("prepare", "tune", "train", "test", "package")
STAGES = ("configure", "champion", *CACHED, "place", "deploy", "monitor", "retrain", "report")
DVC = (sys.executable, "-m", "dvc")
RWLOCK = Path(".dvc/tmp/rwlock")
LOCK = Path("dvc.lock")


def run(stages: Sequence[str], overrides: Sequence[str]) -> dict[str, float]:
    """Run stages in order and return the seconds that each took.

    Raises:
        InputError: a stage was given bad input; its own message has been printed, the report has been written.
        StageError: a stage failed; likewise.
    """
    seconds: dict[str, float] = {}
    # A build that went through every stage is one for the history.
    arguments = {
        "configure": [f"--set={override}" for override in overrides],
        "report": ["--record"] if set(stages) == set(STAGES) else [],
    }
    for group in _groups(stages):
        try:
            if group[0] in CACHED:
                seconds.update(_cached(group))
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
    for stage in STAGES:
        if stage in stages and stage not in CACHED:
            yield [stage]
        elif cached and stage == cached[0]:
            yield cached


def _command(stage: str, arguments: list[str]) -> None:
    """Run a stage that is not cached.

    Raises:
        InputError: it was given bad input.
        StageError: it failed.
    """
    code = subprocess.run([sys.executable, "-m", f"scripts.{stage}", *arguments], check=False).returncode
    if code == 2:
        raise InputError(f"{stage}: its message is above")
    if code:
        raise StageError(f"{stage} ended with exit code {code}")


def _cached(stages: list[str]) -> dict[str, float]:
    """Run stages through DVC, saying why each one runs or that none does.

    Raises:
        StageError: a stage failed, or DVC did.
    """
    started = time.monotonic()
    release(RWLOCK)
    clear_stale(LOCK)
    reasons = _reasons(stages)
    if not reasons:
        print(f"dvc: nothing to do: no input of {', '.join(stages)} has changed")
        return {"/".join(stages): time.monotonic() - started}
    for stage, changes in reasons.items():
        print(f"dvc: {stage} runs because {'; '.join(changes)}")
    seconds = {"status": time.monotonic() - started}
    begun, running = time.monotonic(), ""
    remote = subprocess.run([*DVC, "config", "core.remote"], capture_output=True, text=True, check=False).stdout.strip()
    # With a remote, what any build has computed from these inputs is fetched instead of computed.
    command = [*DVC, "repro", *(["--pull"] if remote else []), stages[-1]]
    # The stages in dvc.yaml call `python`: it must be this one, activated or not.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment) as process:
        assert process.stdout is not None  # noqa: S101 - asked for above
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith(("Running stage '", "Stage '")):
                if running:
                    seconds[running] = time.monotonic() - begun
                begun, running = time.monotonic(), line.split("'")[1]
    seconds[running or "dvc"] = time.monotonic() - begun
    if process.returncode:
        raise StageError(f"{running or 'dvc'} failed; its message is above")
    return seconds


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
