"""The whole pipeline on one machine: the stage commands in order, the cached ones through DVC."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ci import git, parameters, reading_yaml, workspace
from ci.command import NOT_COMPUTED, PREFIXES, RESTORE_ONLY, patient
from ci.errors import InputError, StageError
from ci.results.build import CACHED as CACHED_BUILD
from ci.results.build import RUNS, Cached
from ci.results.evaluation import EVALUATION, Evaluation
from ci.run import dvc
from ci.stages import CACHED, NAMES, named, require

_NOISE = re.compile(
    r"\s*$|Use `dvc push`|To track the changes|To enable auto staging|\s+(git add|dvc config) |Verifying data sources"
    r"|(Updating|Generating) lock file|Stage '\S+' didn't change"
    r"|ERROR: failed to reproduce '\S+': failed to run: .* exited with \d+$"  # a negative number is a signal, and shown
)
"""Lines of DVC that are left out of the log. They ask for a commit of `dvc.lock` or a push: builds do the push."""


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
    force = parameters.forced(os.environ)
    for group in _groups(stages, force):
        try:
            if group[0] in CACHED:
                seconds.update(_cached(group, force=group[0] in force))
                if group[-1] in ("test", "package"):
                    go_on(EVALUATION.read())
            else:
                started = time.monotonic()
                _command(group[0], arguments.get(group[0], []))
                seconds[group[0]] = time.monotonic() - started
        except (InputError, StageError):
            if "report" in stages and group[0] not in ("configure", "report"):
                _report_all_the_same(arguments["report"])
            raise
    return seconds


def restored(stage: str) -> bool:
    """Bring the results of a cached stage and those before it here, if any build has computed them; compute nothing.

    Raises:
        InputError: an input is missing or wrong.
        StageError: DVC failed.
    """
    os.environ[RESTORE_ONLY] = "1"
    try:
        _cached(list(CACHED[: CACHED.index(stage) + 1]))
    except StageError as error:
        if str(error).endswith(NOT_COMPUTED):
            return False
        raise
    finally:
        del os.environ[RESTORE_ONLY]
    return True


def _report_all_the_same(arguments: list[str]) -> None:
    """Write the report of a build that failed; if that fails too, say so: the build's own failure is the last word."""
    try:
        _command("report", arguments)
    except (InputError, StageError) as error:
        print(f"no report: {error}")


def _groups(stages: Sequence[str], force: Sequence[str] = ()) -> Iterator[list[str]]:
    """Yield stages in the pipeline's order, the cached ones together: DVC runs them as one graph.

    With some to `force`, each comes alone.
    """
    cached = [stage for stage in CACHED if stage in stages]
    for stage in NAMES:
        if stage in stages and (stage not in CACHED or force):
            yield [stage]
        elif cached and stage == cached[0]:
            yield cached


def go_on(evaluation: Evaluation) -> None:
    """Let the pipeline go on after a verdict: `promote` and `keep` are results, a blocked model is a failure.

    Raises:
        StageError: the model is blocked.
    """
    if evaluation.verdict == "block":
        raise StageError(f"the model is blocked: {evaluation.reason}; nothing is deployed")


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
    environment = {
        **git.environment(),
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",
    }
    message: list[str] = []
    said = False
    # A stage is interrupted together with us, and may have something to put back.
    with patient("the stage that runs now is allowed to end") as interrupted:
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
                if message or line.startswith(PREFIXES):
                    message.append(line)
                else:
                    said = True
                    hear(line)
                    sys.stdout.flush()
    if interrupted():
        print("\n".join(message))
        raise KeyboardInterrupt
    if process.returncode and not said and not message:
        message = [f"failed: {_end(process.returncode)} and said nothing"]
    return process.returncode, "\n".join(message)


def _error(stage: str, code: int, message: str) -> InputError | StageError:
    """Return the error of a stage that ended with this code and message."""
    kind = InputError if message.startswith(PREFIXES[0]) else StageError
    text = message.partition(": ")[2] or f"{_end(code)}; what it said is above"
    return kind(f"{stage}: {text}")


def _end(code: int) -> str:
    """Return how a process ended, from its exit code; negative ones are signals, such as that of too little memory."""
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


def _cached(stages: list[str], *, force: bool = False) -> dict[str, float]:
    """Run stages through DVC, saying why each one runs or that none does.

    Args:
        stages: their names.
        force: whether the last one runs although nothing has changed; those before it have run.

    Raises:
        InputError: a stage was given bad input.
        StageError: a stage failed, or DVC did.
    """
    started = time.monotonic()
    upto = CACHED[: CACHED.index(stages[-1]) + 1]
    before = dict.fromkeys(name for stage in upto for name in named(stage).reads if name not in CACHED)
    for path in (path for name in before for path in (named(name).result, *named(name).others)):
        try:
            require(path)
        except InputError as error:
            raise InputError(f"{stages[-1]}: {error}") from None
    dvc.make_ready()
    found = dvc.reasons(stages[-1])
    reasons = {stage: found[stage] for stage in CACHED if stage in found}
    if force:
        reasons.setdefault(stages[-1], []).append("the parameter FORCE names it")
    outcome = dict.fromkeys(upto, "not run: nothing that it depends on has changed")
    if not reasons:
        print(f"dvc: nothing to do: no input of {', '.join(stages)} has changed")
        _finish(outcome, changed=False)
        return {"/".join(stages): time.monotonic() - started}
    for stage, changes in reasons.items():
        print(f"dvc: {stage} runs because {'; '.join(changes)}")
    seconds = {"status": time.monotonic() - started}
    begun, running = time.monotonic(), ""

    def hear(line: str) -> None:
        nonlocal begun, running
        print(line)
        if line.startswith(("Running stage '", "Stage '")):
            if running:
                seconds[running] = time.monotonic() - begun
            begun, running = time.monotonic(), line.split("'")[1]
            why = "; ".join(reasons.get(running, ["a stage before it has other results"]))
            how = "run" if line.startswith("Running") else "taken from the cache of runs"
            outcome[running] = f"{how}: {why}"

    # With a remote, what any build has computed from these inputs is fetched instead of computed.
    way = ["--force", "--single-item"] if force else ["--pull"] if dvc.remote() else []
    code, message = _run([*dvc.COMMAND, "repro", *way, stages[-1]], hear)
    seconds[running or "dvc"] = time.monotonic() - begun
    if code:
        raise _error(running or "dvc", code, message)
    _finish(outcome, changed=bool(running))
    return seconds


def _finish(outcome: dict[str, str], *, changed: bool) -> None:
    """Write down why each cached stage was run or not, for the report.

    If no stage was `changed`, name the changed files and settings that no stage depends on. A result from the cache of
    runs counts as a change.
    """
    try:
        before = RUNS.read_if_there() or {}
    except InputError as error:
        print(f"dvc: why stages ran before is forgotten: {error}")
        before = {}
    RUNS.write({**before, **outcome})
    settings = json.loads(json.dumps(reading_yaml.read(workspace.SETTINGS), default=str))
    now = Cached(commit=git.checkout().commit, settings=settings)
    if not changed and (unread := _unread_changes(now)):
        print(f"dvc: no stage was run: none depends on {', '.join(unread)}, which changed")
    CACHED_BUILD.write(now)


def _unread_changes(now: Cached) -> list[str]:
    """Return files and settings that differ from the last build that ended well, or else from the commit before."""
    try:
        seen = CACHED_BUILD.read_if_there()
    except InputError as error:  # it will be written anew, and nothing but this line depends on it
        print(f"dvc: changes are shown against the previous commit: {error}")
        seen = None
    before, after = dict(_flat(seen.settings if seen else {})), dict(_flat(now.settings))
    settings = [key for key in after if before and before.get(key) != after[key]]
    return [*git.changed_since((seen.commit or "HEAD") if seen else "HEAD^"), *settings]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
