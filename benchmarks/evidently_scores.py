"""Scores of drift by evidently for windows that `benchmarks.monitoring` wrote; run by a Python that has evidently.

It reads round-N.parquet (the reference), window-N-M.parquet and shifts.json in a folder, and writes scores.json: by
window, each column's score and default threshold, and those of a column to whose values a number was added.
"""

import json
import sys
from pathlib import Path

import pandas as pd
from evidently.legacy.calculations.stattests import get_stattest


def score(reference: "pd.Series", current: "pd.Series") -> tuple[float, float]:
    """Return a column's score by the test that is chosen for it by default, in units of its default threshold."""
    kind = "num" if pd.api.types.is_numeric_dtype(reference.dtype) else "cat"
    reference, current = (part.dropna().astype("float64" if kind == "num" else object) for part in (reference, current))
    test = get_stattest(reference, current, kind, None)
    return float(test(reference, current, kind, None).drift_score), float(test.default_threshold)


def main(folder: Path) -> None:
    """Score all windows."""
    shifts, found = json.loads((folder / "shifts.json").read_text()), {}
    for number, wanted in shifts.items():
        reference = pd.read_parquet(folder / f"round-{number}.parquet")
        for path in sorted(folder.glob(f"window-{number}-*.parquet")):
            window = pd.read_parquet(path)
            plain = {name: score(reference[name], window[name]) for name in reference}
            moved = {}
            for key, (name, more) in wanted.items():
                said = pd.read_parquet(path.with_name(f"said-{path.stem.removeprefix('window-')}.parquet"))[key]
                moved[key] = {
                    name: score(reference[name], window[name] + more),
                    "prediction": score(reference["prediction"], said),
                }
            found[path.stem.removeprefix("window-")] = {"plain": plain, "moved": moved}
    (folder / "scores.json").write_text(json.dumps(found))


if __name__ == "__main__":
    for folder in sys.argv[1:]:  # without one it tells whether it can be run
        main(Path(folder))
