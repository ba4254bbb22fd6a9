"""Behaviour checks: change requests as the task declares, and check how the answers change."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci.errors import InputError
from ci.task import Output, Task, in_words

Predict = Callable[[pd.DataFrame], npt.NDArray[Any]]
"""From requests to predictions, shape (rows, numbers)."""
SAMPLE = 200
"""Rows of the holdout that each check is tried on, at most."""
EXPECTATIONS = ("same", "finite", "not less", "not more")
_KEYS = ("name", "change", "expect", "severity", "tolerance", "batch", "of")
_SHOWN = 200
"""Characters of an exception and its message that are shown."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of a prediction, all outputs side by side, and their names.

    A number has its output's name, one of several its class's; with several outputs `OUTPUT CLASS`.
    """

    outputs: tuple[Output, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, wanted: Task) -> "Numbers":
        """Return the numbers that a task predicts."""
        alone = len(wanted.outputs) == 1
        names = [
            name
            for output in wanted.outputs
            for name in (
                [output.name]
                if output.width is None
                else [each if alone else f"{output.name} {each}" for each in output.classes]
            )
        ]
        return cls(wanted.outputs, tuple(names))

    def table(self, answers: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Return answers by output as one array, shape (rows, numbers)."""
        return np.concatenate(
            [answers[each.name].reshape(len(answers[each.name]), -1) for each in self.outputs], axis=1
        )


def run(
    checks: Any,
    predict: Predict,
    table: pd.DataFrame,
    numbers: Numbers = Numbers((), ("prediction",)),
) -> list[dict[str, Any]]:
    """Return each check's outcome on an evenly spaced sample of the holdout.

    If the change or the prediction raises an exception, the check has failed, and the exception is its reason.

    Args:
        checks: as `model/behaviour.py` explains.
        predict: from requests to predictions, shape (rows, numbers), or (rows,) for one number.
        table: the holdout.
        numbers: what these are called.

    Raises:
        InputError: a check is not declared as `model/behaviour.py` explains.
    """
    if not isinstance(checks, Sequence) or isinstance(checks, str):
        raise InputError(f"model/behaviour.py: CHECKS is {type(checks).__name__}: expected a list")
    for place, check in enumerate(checks, 1):
        if problem := _problem(check, numbers):
            name = check.get("name") if isinstance(check, Mapping) else None
            raise InputError(f"model/behaviour.py: check {place if name is None else repr(name)}: {problem}")
    sample = table.iloc[np.linspace(0, len(table) - 1, min(SAMPLE, len(table))).astype(int)].reset_index(drop=True)
    before = _rows(predict(sample))
    return [_run(check, predict, sample, before, numbers) for check in checks]


def _rows(made: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return made.reshape(len(made), -1)


def _problem(check: Any, numbers: Numbers) -> str | None:
    """Return what is wrong with a declaration; None if nothing is."""
    if not isinstance(check, Mapping):
        return f"it is {type(check).__name__}: expected a dict"
    if not isinstance(check.get("name"), str):
        return "name is a text"
    if check.get("expect") not in EXPECTATIONS or check.get("severity") not in ("block", "warn"):
        return f"expect is one of {EXPECTATIONS}, severity block or warn"
    if not callable(check.get("change")):
        return "change is a function from a table of requests to a changed one"
    if unknown := sorted(map(str, set(check) - set(_KEYS))):
        return f"there is no key {unknown[0]}: the keys are {', '.join(_KEYS)}"
    tolerance, batch = check.get("tolerance", 0.0), check.get("batch", 1)
    if isinstance(tolerance, bool) or not isinstance(tolerance, Real) or not 0 <= float(tolerance) < math.inf:
        return "tolerance is a number that is not negative"
    moved = check["expect"] in ("not less", "not more") and len(numbers.names) > 1
    if (moved or "of" in check) and check.get("of") not in numbers.names:
        return f"`of` says which number must move: one of {', '.join(numbers.names[:20])}"
    if isinstance(batch, bool) or not isinstance(batch, Integral) or int(batch) < 1:
        return "batch is a whole number of rows, 1 or more"
    return None


def _run(
    check: Mapping[str, Any], predict: Predict, sample: pd.DataFrame, before: npt.NDArray[Any], numbers: Numbers
) -> dict[str, Any]:
    try:
        holds, measured = _measure(check, predict, sample, before, numbers)
    except (Exception, SystemExit) as error:  # whatever the task's code or TensorFlow raises
        said = in_words(error)
        holds, measured = False, f"it raised {said[:_SHOWN]}{'…' if len(said) > _SHOWN else ''}"
    return {"name": check["name"], "severity": check["severity"], "holds": holds, "measured": measured}


def _measure(
    check: Mapping[str, Any], predict: Predict, sample: pd.DataFrame, before: npt.NDArray[Any], numbers: Numbers
) -> tuple[bool, str]:
    changed = check["change"](sample.copy())
    if not isinstance(changed, pd.DataFrame):
        raise TypeError(f"change returned {type(changed).__name__}, not a table")
    size = check.get("batch", max(len(changed), 1))
    parts = [_rows(predict(changed.iloc[start : start + size])) for start in range(0, len(changed), size)]
    made = np.concatenate([np.empty((0, before.shape[1])), *parts])
    after = pd.DataFrame(made, index=changed.index).reindex(sample.index).to_numpy()
    if "of" in check:
        place = numbers.names.index(check["of"])
        before, after = before[:, [place]], after[:, [place]]
    compared = after if check["expect"] == "finite" else after + before
    wrong = int((~np.isfinite(compared)).any(axis=1).sum())
    if wrong or check["expect"] == "finite":
        return not wrong, f"{wrong} predictions are not finite"
    tolerance = float(check.get("tolerance", 0.0))
    moved, shift = float(np.max(np.abs(after - before))), float(np.mean(after) - np.mean(before))
    return {
        "same": (moved <= tolerance, f"largest change {moved:.2g}, tolerated {tolerance:g}"),
        "not less": (shift >= -tolerance, f"mean prediction moved by {shift:+.4f}, tolerated {0.0 - tolerance:g}"),
        "not more": (shift <= tolerance, f"mean prediction moved by {shift:+.4f}, tolerated {tolerance:g}"),
    }[check["expect"]]
