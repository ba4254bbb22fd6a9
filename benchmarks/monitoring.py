"""How often monitoring raises an alarm though nothing is wrong, which changes it finds, and what a window costs.

Nothing is wrong by construction: the days of the example's year are dealt out at random, weekday by weekday, to
training, holdout and the days to come. A model is fitted in each round; its thresholds come from the training days. A
window is seven of the days to come, one of each weekday, drawn with replacement. An alarm is a check that shows drift
or is broken, of any kind: features, predictions, metrics and slices. It is counted before hysteresis, which would only
make it rarer, and no feature is declared as bound to the season.

With --evidently ITS_PYTHON evidently's default tests see the same windows. It needs pandas 2, and so an environment of
its own: `pip install evidently==0.7.23 'pandas<3' pyarrow`.
"""

import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.lines import Line, arguments, finish
from ci import configuration, task
from ci.capture import records
from ci.data import watched
from ci.data.psi import psi
from ci.data.reference import counts, describe, describe_predictions, shares
from ci.monitoring import checks, null, performance
from ci.quality import metrics, periods
from ci.quality.compare import Scored, measure, slices
from ci.results.evaluation import Expected
from ci.results.monitoring import Check
from ci.settings import Settings
from ci.task import Task

SIZES = (500, 2_000, 10_000)
DEVIATIONS, INDICES = (0.25, 0.5, 1.0), (0.1, 0.2, 0.3)
"""By how much a column is moved: so many of its standard deviations, or until its index is so large."""
COLUMNS = ("distance", "humid")
"""What is moved: a column that is alike on all days, and one that is not."""
WEEKS, HELD = 11, 2
"""Of training, and of the holdout."""
Array = Any


@dataclass
class Round:
    """A deal of the days, and what the release would have recorded of it."""

    reference: dict[str, Any]
    expected: list[Expected]
    days: list[Array]
    """By weekday, the places of the rows of each day to come."""
    answer: Any
    shifts: dict[str, tuple[str, float]]


def main(argv: list[str] | None = None) -> int:
    """Measure, print the lines, and return the exit code."""
    options = arguments("monitoring", __doc__)
    options.add_argument("--evidently", metavar="PYTHON", help="a Python that has evidently")
    options.add_argument("--seed", type=int, help="of the deals, in place of the one in pipeline.yaml")
    told = options.parse_args(argv)
    settings, wanted = configuration.read(Path("pipeline.yaml")), task.load()
    if told.seed is not None:
        settings = settings.model_copy(update={"seed": told.seed})
    module = Path(__file__).with_name("evidently_scores.py")
    if told.evidently and subprocess.run([told.evidently, str(module)], check=False).returncode:
        print("monitoring: --evidently: that Python cannot import it", file=sys.stderr)
        return 2
    table = task.part("model.data", "load")(None)
    rounds, each = (8, 6) if told.quick else (26, 12)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) if told.evidently else None
        lines = _alarms(table, wanted, settings, rounds, each, folder, quick=told.quick)
        if folder:
            subprocess.run([told.evidently, str(module), str(folder)], check=True)
            lines += _evidently(folder, lines[0].value)
    return finish([*lines, *_cost(table, wanted)], told.json)


def _alarms(
    table: pd.DataFrame, wanted: Task, settings: Settings, rounds: int, each: int, folder: Path | None, *, quick: bool
) -> list[Line]:
    random, plain, detected, real = np.random.default_rng(settings.seed), [], {}, []
    for number in range(rounds):
        made = deal(table, wanted, settings, random)
        if folder and number % 3 == 0:
            _write_round(folder, number, made)
        for place in range(each):
            size = SIZES[place % len(SIZES)]
            rows = draw(table, made, size, random)
            found = examine(rows, made, wanted, settings)
            plain.append((number, found))
            if number % 3:
                continue  # a third of the rounds is enough to say what is found
            quiet = [check for check in found if check.kind in ("data", "feature", "prediction")]
            said = {}
            for key, (column, _) in made.shifts.items():
                moved = shifted(rows, made, key)
                said[key] = moved["prediction"]
                again = distributions(moved, made, wanted, settings, only=column)
                names = {check.name for check in again}
                all_of = [*again, *(check for check in quiet if check.name not in names)]
                detected.setdefault((key, size), []).append(_alarm(all_of))
            if folder:
                _write_window(folder, f"{number}-{place}", rows, made, said)
        if number % 3 == 1:
            real += [
                _alarm(examine(rows, weeks, wanted, settings))
                for weeks in [deal(table, wanted, settings, random, real=True)]
                for rows in _real_windows(table, weeks, random)
            ]
        print(f"round {number + 1} of {rounds}: {sum(_alarm(found) for _, found in plain)} alarms", file=sys.stderr)
    alarms, numbers = np.array([_alarm(found) for _, found in plain]), np.array([number for number, _ in plain])
    low, high = interval(alarms, numbers)
    rate = float(alarms.mean())
    bounded = low if quick else rate  # a few windows say little
    lines = [
        Line(f"false alarms in {len(alarms)} windows of resampled days", rate, "<= 0.05", bounded <= 0.05),
        Line("  their 95 % interval, low", low, "printed", True),
        Line("  their 95 % interval, high", high, "printed", True),
    ]
    for kind in ("data", "feature", "prediction", "performance"):
        by_kind = np.array([_alarm([check for check in found if check.kind == kind]) for _, found in plain])
        rates = zip(("", ", low", ", high"), (by_kind.mean(), *interval(by_kind, numbers)), strict=True)
        lines += [Line(f"  by checks of {kind}{end}", float(share), "printed", True) for end, share in rates]
    watching = np.mean([any(check.verdict == "watch" for check in found) for _, found in plain])
    lines.append(Line("windows of resampled days with something to watch", float(watching), "printed", True))
    lines.append(Line(f"alarms in {len(real)} whole weeks as they were", float(np.mean(real)), "printed", True))
    lines += [
        Line(f"found: {key}, {size:,} rows", float(np.mean(found)), "printed", True)
        for (key, size), found in sorted(detected.items(), key=lambda item: (item[0][0], item[0][1]))
    ]
    return lines


def deal(table: pd.DataFrame, wanted: Task, settings: Settings, random: Any, *, real: bool = False) -> Round:
    """Deal the days out, fit a model, and describe what it learned from; with `real` whole weeks stay together."""
    days = table[wanted.time].dt.normalize()
    places = {day: rows.to_numpy() for day, rows in pd.Series(np.arange(len(table))).groupby(days.to_numpy())}
    monday = min(day for day in places if day.day_of_week == 0)
    weeks = [[monday + timedelta(days=7 * week + day) for day in range(7)] for week in range(52)]
    weeks = [week for week in weeks if all(day in places for day in week)]
    order = [random.permutation(len(weeks)) for _ in range(7)] if not real else [random.permutation(len(weeks))] * 7
    dealt = [[places[weeks[order[day][week]][day]] for day in range(7)] for week in range(len(weeks))]
    train, held, coming = dealt[:WEEKS], dealt[WEEKS : WEEKS + HELD], dealt[WEEKS + HELD :]
    learned, numbered = _stacked(table, train, wanted)
    sample = learned.iloc[np.linspace(0, len(learned) - 1, 20_000).astype(int)]
    answer = fit(sample, wanted)
    holdout, holdout_days = _stacked(table, held, wanted)
    said = answer(holdout)
    reference: dict[str, Any] = {"features": describe(learned, wanted.features)}
    reference["predictions"] = {"prediction": describe_predictions(said)}
    period = numbered[sample.index] // 7
    columns = {name: column for name, (column, _) in watched.fields(sample, wanted.features).items()}
    reference["periods"] = {
        "length": 7,
        "days": {"features": 7 * WEEKS, "predictions": 7 * HELD},
        "features": periods.count(columns, reference["features"], period),
        "predictions": periods.count({"prediction": pd.Series(answer(sample))}, reference["predictions"], period),
    }
    reference["days"] = 7 * HELD
    targets = holdout[wanted.outputs[0].target[0]].to_numpy(dtype="float64")
    scored = Scored(targets, holdout_days, said)
    drawn = metrics.resamples(scored.days, 500, 0)
    expected = [{"metric": name, **measure(name, scored, drawn)} for name in metrics.METRICS["binary"]]
    gates = settings.gates.model_copy(update={"resamples": 200})
    names = [name for name in wanted.slices if name in wanted.features]
    expected += [
        {"metric": gates.primary, **{key: part[key] for key in ("column", "slice", "value", "low", "high")}}
        for part in slices(holdout, names, scored, gates, 0)
    ]
    reference["sample"] = sample.assign(prediction=answer(sample))
    reference["said"] = said
    return Round(
        reference, [Expected.model_validate(one) for one in expected], [list(day) for day in zip(*coming, strict=True)],
        answer, moves(learned),
    )  # fmt: skip


def _stacked(table: pd.DataFrame, weeks: list[list[Array]], wanted: Task) -> tuple[pd.DataFrame, Array]:
    """Return the labelled rows of some weeks, and the number of each row's day."""
    days = [day for week in weeks for day in week]
    rows = table.iloc[np.concatenate(days)]
    numbers = np.repeat(np.arange(len(days)), [len(day) for day in days])
    kept = rows[list(wanted.targets)].notna().all(axis=1).to_numpy()
    return rows[kept].reset_index(drop=True), numbers[kept]


def fit(table: pd.DataFrame, wanted: Task) -> Any:
    """Return a model as a function from rows to probabilities: boosted trees, quick to fit."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # its threads would wait for each other
    from sklearn.ensemble import HistGradientBoostingClassifier

    texts = {
        name: {value: code for code, value in enumerate(sorted(table[name].unique()))}
        for name, field in wanted.features.items()
        if field.dtype == "string"
    }

    def encoded(rows: pd.DataFrame) -> Array:
        return np.stack(
            [rows[name].map(texts[name]) if name in texts else rows[name] for name in wanted.features], axis=1
        ).astype("float64")

    model = HistGradientBoostingClassifier(max_iter=15, max_leaf_nodes=15, random_state=0)
    model.fit(encoded(table), table[wanted.outputs[0].target[0]])
    return lambda rows: model.predict_proba(encoded(rows))[:, 1]


def moves(table: pd.DataFrame) -> dict[str, tuple[str, float]]:
    """Return what is added to which column, by what it amounts to."""
    found = {}
    for column in COLUMNS:
        values = table[column].astype("float64")
        description = describe(table[[column]], {column: task.Field("float32")})[column]
        reference = np.array(description["shares"])

        def index(
            more: float, values: Any = values, description: Any = description, reference: Any = reference
        ) -> float:
            window = shares(counts(values + more, description), description)
            return psi(reference, window, (len(values), len(values)))

        deviation = float(values.std())
        for share in DEVIATIONS:
            found[f"{column} by {share:g} sd"] = (column, share * deviation)
        for wanted in INDICES:
            low, high = 0.0, 3 * deviation
            for _ in range(14):
                middle = (low + high) / 2
                low, high = (middle, high) if index(middle) < wanted else (low, middle)
            found[f"{column} by PSI {wanted:g}"] = (column, high)
    return found


def draw(table: pd.DataFrame, made: Round, size: int, random: Any) -> pd.DataFrame:
    """Return a window of so many rows: seven of the days to come, with replacement, one of each weekday."""
    chosen = [days[random.integers(len(days))] for days in made.days]
    return _window(table, made, chosen, size, random)


def _real_windows(table: pd.DataFrame, made: Round, random: Any) -> Iterator[pd.DataFrame]:
    """Yield ten of the weeks to come as they were, with as many of their rows as are captured."""
    for place in range(10):
        chosen = [days[place] for days in made.days]
        yield _window(table, made, chosen, SIZES[1], random)


def _window(table: pd.DataFrame, made: Round, chosen: list[Array], size: int, random: Any) -> pd.DataFrame:
    rows, numbers = np.concatenate(chosen), np.repeat(np.arange(7), [len(day) for day in chosen])
    kept = np.sort(random.choice(len(rows), size, replace=size > len(rows)))
    start = pd.Timestamp("2013-01-07", tz="UTC")
    found = table.iloc[rows[kept]].reset_index(drop=True)
    times = start + pd.to_timedelta(numbers[kept], unit="D")
    return found.assign(**{records.TIME: times, "prediction": made.answer(found)})


def examine(rows: pd.DataFrame, made: Round, wanted: Task, settings: Settings) -> list[Check]:
    """Return all checks of a window, as the monitor stage makes them; its labels are taken as known."""
    judged = performance.checks(
        rows, wanted, made.expected, made.reference["days"], settings.gates.primary, settings.monitoring.min_rows,
        settings.gates.slice_min_rows,
    )  # fmt: skip
    return [*distributions(rows, made, wanted, settings), *judged]


def distributions(
    rows: pd.DataFrame, made: Round, wanted: Task, settings: Settings, only: str | None = None
) -> list[Check]:
    """Return the checks of features and predictions; of one feature and the predictions if it is named."""
    found, limits = [], settings.monitoring
    bounds = made.reference.setdefault(f"bounds {len(rows)}", null.of(made.reference, len(rows)))
    features = {name: field for name, field in wanted.features.items() if only in (None, name)}
    for name, (column, _) in watched.fields(rows, features, made.reference["features"]).items():
        known = made.reference["features"][name]
        found += checks.of_column(name, counts(column, known), known, limits, bounds["features"])
    known = made.reference["predictions"]["prediction"]
    found += checks.of_column(
        "prediction", counts(rows["prediction"], known), known, limits, bounds["predictions"], kind="prediction"
    )
    return found


def shifted(rows: pd.DataFrame, made: Round, key: str) -> pd.DataFrame:
    """Return a window with one column moved, and what the model says then."""
    column, more = made.shifts[key]
    moved = rows.assign(**{column: rows[column] + more})
    return moved.assign(prediction=made.answer(moved))


def _alarm(found: list[Check]) -> bool:
    return any(check.verdict in ("drift", "broken") for check in found)


def interval(alarms: Array, rounds: Array) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson, of as many windows as are worth independent ones.

    Windows of a round share their thresholds: their number is divided by the design effect, at least 1.
    """
    rates = np.array([alarms[rounds == number].mean() for number in np.unique(rounds)])
    share, each = alarms.mean(), len(alarms) / len(rates)
    effect = max(1.0, float(rates.var(ddof=1) * each / max(share * (1 - share), 1e-9)))
    number, z = len(alarms) / effect, 1.96
    middle, half = share + z**2 / 2 / number, z * np.sqrt(share * (1 - share) / number + z**2 / 4 / number**2)
    return float((middle - half) / (1 + z**2 / number)), float((middle + half) / (1 + z**2 / number))


def _write_round(folder: Path, number: int, made: Round) -> None:
    sample = made.reference["sample"]
    said = np.random.default_rng(number).choice(made.reference["said"], len(sample))
    columns = [*made.reference["features"]]
    sample[columns].assign(prediction=said).to_parquet(folder / f"round-{number}.parquet")
    path = folder / "shifts.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, str(number): made.shifts}))


def _write_window(folder: Path, name: str, rows: pd.DataFrame, made: Round, said: Mapping[str, Any]) -> None:
    rows[[*made.reference["features"], "prediction"]].to_parquet(folder / f"window-{name}.parquet")
    pd.DataFrame(said).to_parquet(folder / f"said-{name}.parquet")


def _evidently(folder: Path, rate: float) -> list[Line]:
    """Return evidently's alarms, at its defaults and with all thresholds raised until it has the same false alarms."""
    scores: Mapping[str, Any] = json.loads((folder / "scores.json").read_text())
    plain = {
        name: {key: value / limit for key, (value, limit) in each["plain"].items()} for name, each in scores.items()
    }
    raised = max(1.0, float(np.quantile([max(each.values()) for each in plain.values()], 1 - rate, method="higher")))
    half = [np.mean([value >= 1 for value in each.values()]) >= 0.5 for each in plain.values()]
    some = [max(each.values()) >= 1 for each in plain.values()]
    lines = [
        Line("evidently at its defaults: false alarms, some column", float(np.mean(some)), "printed", True),
        Line("evidently at its defaults: false alarms, half of the columns", float(np.mean(half)), "printed", True),
        Line("evidently's thresholds, raised to the same false alarms, by", raised, "printed", True),
    ]
    keys = sorted({key for each in scores.values() for key in each["moved"]})
    for key in keys:
        for place, size in enumerate(SIZES):
            chosen = [name for name in scores if int(name.split("-")[1]) % len(SIZES) == place]
            moved = [
                plain[name] | {column: value / limit for column, (value, limit) in scores[name]["moved"][key].items()}
                for name in chosen
            ]
            for words, least in (("recalibrated", raised), ("at its defaults", 1.0)):
                share = np.mean([max(each.values()) > least for each in moved])
                lines.append(Line(f"found by evidently {words}: {key}, {size:,} rows", float(share), "printed", True))
    return lines


def _cost(table: pd.DataFrame, wanted: Task, rows: int = 100_000) -> list[Line]:
    """Return what a window of so many captured requests costs, from JSON to the verdict, in a process of its own."""
    from ci.task.values import instances

    folder = Path(tempfile.mkdtemp())
    now, part = datetime(2013, 4, 15, 1, tzinfo=UTC), table.head(rows)
    with (folder / "captured.jsonl").open("w") as file:
        for place, row in enumerate(instances(part, wanted.features)):
            entry = {"number": place, "id": f"r{place:08}", "status": 200, "version": "1"}
            entry["time"] = (now - timedelta(days=7) + timedelta(seconds=5 * place)).isoformat()
            said = {"predictions": [place % 1000 / 1000]}
            file.write(json.dumps({**entry, "request": json.dumps({"instances": [row]}), "response": json.dumps(said)}))
            file.write("\n")
    part.head(70_000).to_parquet(folder / "train.parquet")
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        seconds, megabytes = pool.apply(_watch, (str(folder), now))
    shutil.rmtree(folder)
    return [
        Line(f"CPU seconds of a window of {rows:,} records", seconds, "<= 2", seconds <= 2),
        Line("  and its peak memory; MB", megabytes, "<= 500", megabytes <= 500),
    ]


def _watch(folder: str, now: datetime) -> tuple[float, float]:
    from ci.monitoring.monitor import captured, monitor

    wanted, settings = task.load(), configuration.read(Path("pipeline.yaml"))
    train = pd.read_parquet(Path(folder) / "train.parquet", columns=[*wanted.features, wanted.time])
    known: dict[str, Any] = {"features": describe(train, wanted.features)}
    known["predictions"] = {"prediction": describe_predictions(np.arange(1000) / 1000)}
    sample = train.sample(20_000, random_state=0)
    period = periods.number(sample[wanted.time], 7)
    columns = {name: column for name, (column, _) in watched.fields(sample, wanted.features).items()}
    made = {"prediction": pd.Series(np.linspace(0, 1, len(sample)))}
    known["periods"] = {
        "length": 7,
        "days": {"features": 77, "predictions": 14},
        "features": periods.count(columns, known["features"], period),
        "predictions": periods.count(made, known["predictions"], period),
    }
    del train, sample, columns
    with (Path(folder) / "captured.jsonl").open() as file:
        entries = [json.loads(line) for line in file]
    os.chdir(folder)
    begun = time.process_time()
    traffic, _ = captured({"pod": entries}, wanted, settings.monitoring, now)
    assert traffic is not None
    monitor(settings, traffic, known, wanted)
    return time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 * 1.048576


if __name__ == "__main__":
    sys.exit(main())
