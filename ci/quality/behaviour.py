"""Behaviour checks: change requests as the task declares, and see whether the answers change as they may."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci.errors import InputError

Predict = Callable[[pd.DataFrame], npt.NDArray[Any]]
SAMPLE = 200
EXPECTATIONS = ("same", "finite", "not less", "not more")


def run(checks: Sequence[Mapping[str, Any]], predict: Predict, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each check's outcome on an evenly spaced sample of the holdout.

    Raises:
        InputError: a check is not declared as `model/behaviour.py` explains.
    """
    sample = table.iloc[np.linspace(0, len(table) - 1, min(SAMPLE, len(table))).astype(int)].reset_index(drop=True)
    before = predict(sample)
    return [_run(check, predict, sample, before) for check in checks]


def _run(check: Mapping[str, Any], predict: Predict, sample: pd.DataFrame, before: npt.NDArray[Any]) -> dict[str, Any]:
    name = check.get("name", "?")
    if check.get("expect") not in EXPECTATIONS or check.get("severity") not in ("block", "warn"):
        raise InputError(f"model/behaviour.py: check {name!r}: expect is one of {EXPECTATIONS}, severity block or warn")
    changed = check["change"](sample)
    size = check.get("batch", len(changed))
    parts = [predict(changed.iloc[start : start + size]) for start in range(0, len(changed), size)]
    after = pd.Series(np.concatenate(parts), index=changed.index).reindex(sample.index).to_numpy()
    tolerance = float(check.get("tolerance", 0.0))
    moved = float(np.max(np.abs(after - before)))
    shift = float(np.mean(after) - np.mean(before))
    holds, measured = {
        "same": (moved <= tolerance, f"largest change {moved:.2g}, tolerated {tolerance:g}"),
        "finite": (bool(np.isfinite(after).all()), f"{int((~np.isfinite(after)).sum())} predictions are not finite"),
        "not less": (shift >= -tolerance, f"mean prediction moved by {shift:+.4f}, tolerated {0.0 - tolerance:g}"),
        "not more": (shift <= tolerance, f"mean prediction moved by {shift:+.4f}, tolerated {tolerance:g}"),
    }[check["expect"]]
    return {"name": name, "severity": check["severity"], "holds": bool(holds), "measured": measured}
