"""The figures of a year: how good each week's answers were, the policies' means, and what the loop gained by week."""

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.year.traffic import ROW, TARGET
from ci.quality import metrics

RESAMPLES = 10_000


def year(root: Path, plan: Mapping[str, Any], task: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the result `ci.results.year.Year` of the weeks that every policy has lived."""
    lived = {name: _weeks(root / "lived" / name) for name in names}
    common = sorted(set.intersection(*(set(weeks) for weeks in lived.values())))
    truth = {first: pd.read_parquet(root / f"traffic/{first}.parquet") for first in common}
    policies = []
    for name, weeks in lived.items():
        folder = root / "lived" / name
        table = [
            week(
                first, weeks[first], scores(truth[first], pd.read_parquet(folder / f"{first}.parquet"), task["metrics"])
            )
            for first in common
        ]
        policies.append(policy(name, table, [weeks[first] for first in common], plan["judged_from"]))
    building = [json.loads((root / "lived" / name / "first.json").read_text())["building"] for name in names]
    return {
        **{key: task[key] for key in ("model", "metrics", "more_is_better")},
        **{key: plan[key] for key in ("commit", "judged_from", "overrides")},
        "weeks": len(common),
        "first_build": max(building),  # the others took it from the cache
        "policies": policies,
        "differences": differences(policies, task["metrics"], plan["judged_from"], task["seed"]),
    }


def _weeks(folder: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("[12]*.json")}


def scores(truth: pd.DataFrame, answers: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """Return each metric on the rows that have an outcome, None where it cannot be computed, and their number."""
    rows = truth.dropna(subset=[TARGET]).merge(answers, on=ROW, validate="one_to_one")
    targets, said = rows[TARGET].to_numpy("float64"), rows["prediction"].to_numpy("float64")
    together = np.zeros(len(rows), dtype="int64")
    found = {}
    for name in names:
        value = float(metrics.by_day(name, targets, said, together)(np.ones((1, 1)))[0]) if len(rows) else np.nan
        found[name] = value if np.isfinite(value) else None
    return {"metrics": found, "rows": len(rows)}


def week(first: str, lived: Mapping[str, Any], scored: Mapping[str, Any]) -> dict[str, Any]:
    """Return a week as the result has it."""
    found = {"first": first, "as_of": lived["as_of"], **scored, "seconds": lived["watching"] + lived["building"]}
    if watched := lived.get("watched"):
        words = [each["verdict"] for each in watched["performance"]]
        worst = max(words, key=("ok", "watch", "drift", "broken").index, default=None)
        decision = lived["decision"]
        found |= {"seen": watched["verdict"], "performance": worst, "why": decision["reason"]}
        found |= {key: decision[key] for key in ("retrain", "cause", "brake")}
    if built := lived.get("build"):
        found |= {"verdict": built["verdict"], "reason": built["reason"]}
    return found


def policy(name: str, weeks: Sequence[dict[str, Any]], lived: Sequence[Any], judged_from: str) -> dict[str, Any]:
    """Return a policy with its means over the weeks that are judged."""
    judged = [each for each in weeks if each["first"] >= judged_from]
    names = weeks[0]["metrics"] if weeks else {}
    verdicts = [each["verdict"] for each in weeks if "verdict" in each]
    return {
        "name": name,
        "weeks": list(weeks),
        "means": {metric: mean([each["metrics"][metric] for each in judged]) for metric in names},
        "trainings": len(verdicts),
        "promoted": verdicts.count("promote"),
        "most": most([date.fromisoformat(each["first"]) for each in weeks if "verdict" in each]),
        "building": sum(each["building"] for each in lived),
        "watching": sum(each["watching"] for each in lived),
    }


def most(days: Sequence[date], within: timedelta = timedelta(days=28)) -> int:
    """Return how many of some days lie within a span at most."""
    return max((sum(first <= day < first + within for day in days) for first in days), default=0)


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what could be computed."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def differences(
    policies: Sequence[dict[str, Any]], names: Sequence[str], judged_from: str, seed: int
) -> list[dict[str, Any]]:
    """Return what the last policy gained on each other one, in each metric, with an interval: weeks are resampled."""
    found = []
    *others, loop = policies
    for other in others:
        for metric in names:
            pairs = [
                (mine["metrics"][metric], theirs["metrics"][metric])
                for mine, theirs in zip(loop["weeks"], other["weeks"], strict=True)
                if mine["first"] >= judged_from
            ]
            each = np.array([mine - theirs for mine, theirs in pairs if None not in (mine, theirs)])
            found.append({"against": other["name"], "metric": metric, "weeks": len(each), **interval(each, seed)})
    return found


def interval(values: "np.ndarray[Any, Any]", seed: int) -> dict[str, float | None]:
    """Return a mean with its 95 % interval, by resampling."""
    if len(values) < 2:
        return {"value": float(values[0]) if len(values) else None, "low": None, "high": None}
    counts = metrics.resamples(np.arange(len(values)), RESAMPLES, seed)
    low, high = metrics.interval(float(values.mean()), counts @ values / len(values), len(values))
    return {"value": float(values.mean()), "low": low, "high": high}
