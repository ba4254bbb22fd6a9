"""What a rollout leaves beside its journal when it has ended, well or badly: its JUnit file."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ci import junit, workspace
from ci.errors import StageError
from ci.results.rollout import SKEW, STEPS, SUMMARY
from ci.rollout import timeline

JUNIT = workspace.ROLLOUT / "junit.xml"
_PATIENCE = 10.0
"""Longest wait for a deployment that has ended and still writes its results; seconds."""
Json = Mapping[str, Any]


@contextmanager
def written() -> Iterator[Callable[[], None]]:
    """Write the results of this deployment when the block ends, also when it fails.

    Yields a callback that deletes the results of the previous deployment. The block calls it once it knows that nobody
    else deploys. If it fails before that, no results are left; but those of another deployment of this checkout that is
    under way are not touched.
    """
    workspace.BUILD.mkdir(exist_ok=True)
    folder = os.open(workspace.BUILD, os.O_RDONLY)
    try:
        ours, begun = _locked(folder), False

        def begin() -> None:
            nonlocal begun
            begun = ours or _locked(folder, _PATIENCE)
            if not begun:
                raise StageError("another deployment of this checkout is under way: wait for it, then try again")
            _forget()

        def end(problem: str | None) -> None:
            if begun:
                _write(problem)
            elif ours:
                _forget()

        try:
            yield begin
        except BaseException as error:
            end("it was interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or repr(error))
            raise
        end(None)
    finally:
        os.close(folder)


def _locked(folder: int, wait: float = 0.0) -> bool:
    """Lock a folder until it is closed; return False if somebody else still holds the lock after `wait` seconds."""
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.1)
        else:
            return True


def _forget() -> None:
    for path in (STEPS.path, SUMMARY.path, JUNIT, SKEW.path):
        path.unlink(missing_ok=True)


def _write(problem: str | None) -> None:
    steps, summary = STEPS.plain_all(), SUMMARY.plain() if SUMMARY.path.exists() else {}
    workspace.write_text(JUNIT, junit.render("rollout", cases(steps, summary, problem)))


def cases(steps: Sequence[Json], summary: Json, problem: str | None) -> list[junit.Case]:
    """Return a test case for each step and each measure; without any, one for the decision.

    Args:
        steps: the journal.
        summary: what was decided; empty if it came to no decision.
        problem: why the deployment failed, None if it did not.
    """
    found = []
    for name, entry in zip(timeline.names(steps, summary), steps, strict=True):
        told = [f"{key}: {_plain(value)}" for key, value in entry.items() if key not in ("step", "seconds", "measures")]
        why = entry.get("failed") or entry.get("reason")
        found.append(junit.Case("steps", name, "\n".join(told), why, seconds=entry["seconds"]))
        found += _measures(name, entry)
    if problem is not None and not any(case.problem for case in found):
        found.append(junit.Case("decision", summary.get("action", "deployment"), problem, problem))
    elif not found:
        reason = f"nothing to do: {summary.get('reason', 'what is wanted serves')}"
        found.append(junit.Case("decision", "nothing", reason))
    return found


def _measures(name: str, entry: Json) -> Iterator[junit.Case]:
    """Yield a step's measures. If the rollout ended there, a measure that still waited for traffic counts as failed."""
    for measure in entry.get("measures", ()):
        word, reason = measure["verdict"], measure["reason"]
        failed = word == "fail" or (word == "wait" and reason in entry.get("failed", ""))
        keys = ("verdict", "value", "low", "high", "limit")
        told = "\n".join([reason, *(f"{key}: {_plain(measure[key])}" for key in keys)])
        yield junit.Case(name, measure["name"], told, reason if failed else None, word == "wait" and not failed)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
