"""Drift of a window of traffic from the reference, by column and overall, and the verdict in words."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ci.data.psi import psi
from ci.data.reference import shares
from ci.settings.watching import Monitoring

Word = Literal["stable", "shifted", "drifted", "too few rows"]
WORDS: dict[str, Word] = {"ok": "stable", "watch": "shifted", "drift": "drifted"}
"""What a check of a distribution says, as a column's verdict."""


def word(index: float, rows: int, settings: Monitoring) -> Word:
    """Return the verdict on one column; a small window gets none, since it would raise false alarms."""
    if rows < settings.min_rows:
        return "too few rows"
    if index >= settings.psi_drift:
        return "drifted"
    return "shifted" if index >= settings.psi_warn else "stable"


def examine(
    name: str, counted: npt.NDArray[np.float64], description: Mapping[str, Any], settings: Monitoring
) -> dict[str, Any]:
    """Return one column's index, verdict, and the bin that moved most, in words.

    Args:
        name: the column's.
        counted: rows of the window in each bin, see `ci.data.reference.counts`.
        description: the reference.
        settings: the thresholds.
    """
    reference, rows = np.array(description["shares"]), int(counted.sum())
    window = shares(counted, description)
    index = psi(reference, window, (description["rows"], rows))
    moved = int(np.argmax(np.abs(window - reference)))
    return {
        "name": name,
        "psi": round(index, 6),
        "verdict": word(index, rows, settings),
        "change": f"{bin_in_words(description, moved)}: {reference[moved]:.1%} before, {window[moved]:.1%} now",
    }


def moved(
    description: Mapping[str, Any], reference: npt.NDArray[np.float64], window: npt.NDArray[np.float64], most: int
) -> str:
    """Return the bins that an index comes from most, in words: how many, and their shares before and now."""
    small = 0.5 / max(description["rows"], 1)
    parts = (window - reference) * np.log(np.maximum(window, small) / np.maximum(reference, small))
    places = [place for place in np.argsort(-parts, kind="stable")[:most] if parts[place] > 0]
    return " and ".join(
        f"{bin_in_words(description, place)} ({reference[place]:.1%} before, {window[place]:.1%} now)"
        for place in places
    )


def bin_in_words(description: Mapping[str, Any], place: int) -> str:
    """Return what a bin holds, such as `from 32 to 41`, `0` or `UA`."""
    if "categories" in description:
        return str([*description["categories"], *description.get("rest", ["other values"])][place])
    edges, values = description["edges"], description.get("values", [])
    if place > len(edges):
        return [*map(_number, values), "missing"][place - len(edges) - 1]
    if not edges:
        return "other values" if values else "present"
    if place == 0:
        return f"below {_number(edges[0])}"
    if place == len(edges):
        return f"{_number(edges[-1])} or more"
    return f"from {_number(edges[place - 1])} to {_number(edges[place])}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:g}"


def overall(columns: list[dict[str, Any]], prediction: dict[str, Any]) -> tuple[Word, str]:
    """Return the verdict on the whole window and the sentence that says why."""
    drifted = [column["name"] for column in columns if column["verdict"] == "drifted"]
    named = f"{len(drifted)} of {len(columns)} features drifted" + (f" ({', '.join(drifted)})" if drifted else "")
    if prediction["verdict"] == "too few rows":
        return "too few rows", "the window has too few rows for a verdict"
    name = prediction.get("name", "prediction")
    which = "" if name == "prediction" else f" of {name.removeprefix('prediction ')}"
    said = f"the predictions{which} are {prediction['verdict']} (PSI {prediction['psi']:.3f})"
    return prediction["verdict"], f"{said}; {named}"
