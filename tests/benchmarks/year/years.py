"""A year that was lived, as its files have it: without a build."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.year import figures
from benchmarks.year.traffic import ROW, TARGET

FIRST = date(2013, 4, 1)
TASK = {"model": "demo", "metrics": ["auc", "log_loss"], "more_is_better": True, "seed": 7}
PLAN = {"commit": "c" * 40, "judged_from": "2013-07-01", "overrides": []}
SKILL = {"never": 0.4, "monthly": 0.6, "loop": 0.8}


def lived(root: Path, weeks: int = 20) -> dict[str, Any]:
    """Write the weeks of three policies below `root`, and return the year."""
    random = np.random.default_rng(11)
    (root / "traffic").mkdir()
    for name in SKILL:
        (root / "lived" / name).mkdir(parents=True)
        (root / "lived" / name / "first.json").write_text(json.dumps({"building": 30.0 if name == "never" else 4.0}))
    for number in range(weeks):
        first = FIRST + number * timedelta(days=7)
        truth = random.choice([0.0, 1.0], 300)
        names = [f"{first}/{n}" for n in range(300)]
        pd.DataFrame({ROW: names, TARGET: truth}).to_parquet(root / f"traffic/{first}.parquet")
        for name, skill in SKILL.items():
            said = 1 / (1 + np.exp(-(skill * (2 * truth - 1) + random.normal(size=300))))
            folder = root / "lived" / name
            pd.DataFrame({ROW: names, "prediction": said}).to_parquet(folder / f"{first}.parquet")
            (folder / f"{first}.json").write_text(json.dumps(_week(name, number)))
    return figures.year(root, PLAN, TASK, list(SKILL))


def _week(name: str, number: int) -> dict[str, Any]:
    found: dict[str, Any] = {"as_of": "2013-04-01", "watching": 0.0, "building": 0.0}
    if name == "loop":
        retrain = number in (3, 9)
        told = [{"verdict": "drift", "sentence": "auc fell"}] if retrain else []
        decision = {"retrain": retrain, "cause": "performance" if retrain else None, "brake": None, "reason": "auc"}
        watched = {"verdict": "drifted" if retrain else "stable", "reason": "r", "rows": 300, "performance": told}
        found |= {"watching": 5.0, "watched": watched, "decision": decision}
        if retrain:
            verdict = "promote" if number == 3 else "keep"
            built = {"as_of": "2013-05-01", "verdict": verdict, "reason": "auc 0.0010 worse"}
            found |= {"build": built, "building": 40.0}
    elif name == "monthly" and number % 5 == 4:
        built = {"as_of": "2013-05-01", "verdict": "promote", "reason": "there is no champion yet"}
        found |= {"build": built, "building": 40.0}
    return found
