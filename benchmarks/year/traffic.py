"""The traffic of the year: what is asked on each day, and when which outcome becomes known.

    python -m benchmarks.year.traffic FOLDER        # for each week: its requests, and the outcomes of their rows

A request has the rows of a day and comes at noon. How long a label takes is a model, written down here: 10 · B days,
where B is drawn from Beta(1, 4) (mean 2 days) for an outcome up to the median, and from Beta(2, 3) (mean 4 days) for
one above it: what comes late is known late. A row without an outcome never gets a label; that becomes known by the
next day.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ci import configuration, task, workspace
from ci.capture.replay import bodies
from ci.quality import metrics

ROW, KNOWN, TARGET, DAY = "request_id", "known_at", "target", "day"
LONGEST = timedelta(days=10)
"""After which every outcome is known."""
WEEK = timedelta(days=7)
NOON = timedelta(hours=12)
TASK = "task.json"
"""What the year must know of the task."""


def main(argv: list[str] | None = None) -> int:
    """Write the traffic of the task that `model/` declares, and return the exit code."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.year.traffic", description=__doc__)
    arguments.add_argument("folder", type=Path)
    folder: Path = arguments.parse_args(argv).folder
    settings, wanted = configuration.read(Path("pipeline.yaml")), task.load()
    if problem := unsuitable(wanted, settings.as_of):
        print(f"bad input: {problem}", file=sys.stderr)
        return 2
    from model.data import load

    found = load(Path(settings.data.source) if settings.data.source else None)
    table = pd.read_parquet(found) if isinstance(found, Path) else found
    (target,) = wanted.targets
    table = table.dropna(subset=[name for name, field in wanted.features.items() if field.dtype != "float32"])
    table = table.assign(**{DAY: pd.to_datetime(table[wanted.time]).dt.normalize(), TARGET: table[target]})
    names = list(metrics.named(wanted))
    primary = settings.gates.primary
    told = {"model": settings.model.name, "target": target, "primary": primary, "seed": settings.seed}
    told["metrics"] = [primary, *(name for name in ("log_loss", "mae", "rmse") if name in names and name != primary)][
        :2
    ]
    told["more_is_better"] = metrics.more_is_better(primary, wanted.metrics)
    with workspace.replacing(folder) as part:
        first = weeks(settings.as_of, table[DAY].max().date())
        for begin in first:
            inside = table[(table[DAY] >= pd.Timestamp(begin)) & (table[DAY] < pd.Timestamp(begin + WEEK))]
            days = list(by_day(inside, float(table[TARGET].median()), settings.seed))
            lines = [json.dumps(request(rows, wanted)) for rows in days]
            (part / f"{begin}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            outcomes = pd.concat(days)[[ROW, TARGET, KNOWN, DAY]]
            outcomes.to_parquet(part / f"{begin}.parquet", index=False)
        workspace.write_json(
            part / TASK, {**told, "weeks": [str(begin) for begin in first], "as_of": str(settings.as_of)}
        )
    print(f"traffic: {len(first)} weeks from {first[0] if first else settings.as_of} on -> {folder}")
    return 0


def unsuitable(wanted: task.Task, as_of: object) -> str | None:
    """Return why no year can be lived with a task, None if it can."""
    if wanted.time is None:
        return "model/__init__.py: TIME is None: a year is lived by day, so name the column with each row's day"
    if not isinstance(as_of, date):
        return "pipeline.yaml: as_of: a year begins on a date: give one that has days after it"
    if len(wanted.outputs) > 1 or wanted.outputs[0].kind not in ("binary", "regression") or len(wanted.targets) > 1:
        return "model/__init__.py: a year is lived with one number to predict (KIND binary or regression)"
    if any(field.dtype == "bytes" or field.shape for field in wanted.features.values()):
        return "model/__init__.py: FEATURES: a year is lived with fields that are numbers and texts"
    return None


def weeks(as_of: date, last: date) -> list[date]:
    """Return the Mondays of the whole weeks from a day on, up to the last day: the monitor's weeks begin on Mondays."""
    first = as_of + timedelta(days=-as_of.weekday() % 7)
    return [first + n * WEEK for n in range(((last - first).days + 1) // WEEK.days)]


def by_day(rows: pd.DataFrame, median: float, seed: int) -> Iterator[pd.DataFrame]:
    """Yield the rows of each day with the id of each, and when its outcome becomes known.

    Args:
        rows: of a week, with `DAY` and `TARGET`.
        median: of all outcomes.
        seed: of the delays; each day's depend on nothing but this and the day.
    """
    for day, found in rows.groupby(DAY, sort=True):
        chance = np.random.default_rng([seed, day.toordinal()])
        soon, late = chance.beta(1, 4, len(found)), chance.beta(2, 3, len(found))
        share = np.where(found[TARGET] > median, late, np.where(found[TARGET].isna(), soon / LONGEST.days, soon))
        known = day + NOON + pd.to_timedelta(pd.Series(share, found.index) * LONGEST.days, unit="D")
        # The only row of a request is named as the request is.
        names = [f"{day.date()}/{place}" if len(found) > 1 else f"{day.date()}" for place in range(len(found))]
        yield found.assign(**{ROW: names, KNOWN: known.dt.floor("s").dt.tz_localize("UTC")})


def request(rows: pd.DataFrame, wanted: task.Task) -> dict[str, Any]:
    """Return the request of a day: its id, when it comes, and its body."""
    (body,) = bodies(rows, wanted.features, len(rows))
    day = rows[DAY].iloc[0]
    return {"id": f"{day.date()}", "time": f"{(day + NOON).isoformat()}+00:00", "body": body.decode()}


if __name__ == "__main__":
    sys.exit(main())
