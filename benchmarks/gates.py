"""How often the comparison of two models errs: false promotions of an equally good one, and power at +0.02 AUC.

Models that differ in nothing but their seed are compared by the gate itself on holdouts of days drawn from the weeks
after training. Equally good is made exact: on each drawn day a coin decides which of the two plays the challenger.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lines import Line, arguments, finish
from ci import configuration
from ci.quality import metrics
from ci.quality.compare import Scored, compare, paired_gain, slices
from ci.quality.verdict import Champion, decide
from ci.settings.building import Gates

FOLDER = Path("build/gates")
RESAMPLES = 200
GAIN = 0.02
"""The gain of which the power is printed; AUC."""
PLACE, BLUR = "origin", 0.7
"""A column of slices, and the noise on the log-odds of one of them that the slice gate is to find."""


def main(argv: list[str] | None = None) -> int:
    """Measure, print the lines, and return the exit code."""
    options = arguments("gates", __doc__).parse_args(argv)
    number, draws = (3, 100) if options.quick else (5, RESAMPLES)
    settings = configuration.read(Path("pipeline.yaml"))
    table, names, targets, days, predictions = models(range(1, number + 1))
    gates, length = settings.gates, settings.data.holdout_days
    random = np.random.default_rng(settings.seed)
    pairs = [Scored(targets, days, a, b) for a, b in combinations(predictions, 2)]
    null = [
        promoted(holdout, gates)
        for pair in pairs
        for _ in range(draws)
        for holdout in orders(drawn(pair, length, random, swap=True))  # both roles: half the noise
    ]
    as_they_are = [
        promoted(drawn(pair, length, random), gates) for one in pairs for pair in orders(one) for _ in range(draws // 2)
    ]
    better = [
        promoted(drawn(pair, length, random), gates)
        for pair in [ahead(pair, gates.primary, GAIN, random) for pair in pairs]
        for _ in range(draws)
    ]
    few = max(1, draws // 10)
    blurred = [replace(pair, challenger=dulled(pair.challenger, table[PLACE] == "JFK", random)) for pair in pairs]
    named = [any(worse(table, names, pair, length, random, gates, swap=True)) for pair in pairs for _ in range(few)]
    found = [f"{PLACE} JFK" in worse(table, names, pair, length, random, gates) for pair in blurred for _ in range(few)]
    lost = [-paired_gain(gates.primary, pair.only((table[PLACE] == "JFK").to_numpy())) for pair in blurred]
    seeds = [abs(paired_gain(gates.primary, pair)) for pair in pairs]
    print(f"{number} seeds, {len(pairs)} pairs, {draws} holdouts of {length} days each, level {gates.confidence:g}")
    return finish(
        [
            Line(
                "false promotion of an equally good model", float(np.mean(null)), "<= 0.12", bool(np.mean(null) <= 0.12)
            ),
            Line("promotion between two seeds as they are", float(np.mean(as_they_are)), "printed", True),
            Line("AUC by which two seeds differ on all days, median", float(np.median(seeds)), "printed", True),
            Line(f"power at +{GAIN} AUC", float(np.mean(better)), "printed", True),
            Line(
                "some slice of equally good models named worse",
                float(np.mean(named)),
                "<= 0.12",
                np.mean(named) <= 0.12,
            ),
            Line("AUC lost on JFK where it is blurred, median", float(np.median(lost)), "printed", True),
            Line("JFK named worse then", float(np.mean(found)), "printed", True),
        ],
        options.json,
    )


def models(seeds: range) -> tuple[Any, Any, Any, Any, list[Any]]:
    """Return the holdout and the traffic as a table, its slices, targets, days, and each seed's predictions.

    Models are trained once.
    """
    import pandas as pd

    from ci import task
    from ci.data.windows import number_days
    from ci.training.export import predictor
    from ci.training.inputs import raw_inputs

    if not (FOLDER / ".git").exists():
        subprocess.run(["git", "clone", "--quiet", "--", ".", str(FOLDER)], check=True)
    if not (FOLDER / "build/tuning/best.json").exists():
        _run("pipeline", "configure", "prepare", "tune")
    wanted = task.load()
    parts = [pd.read_parquet(FOLDER / f"build/data/{part}.parquet") for part in ("holdout", "traffic")]
    table = pd.concat(parts).dropna(subset=list(wanted.targets))
    found = []
    for seed in seeds:
        kept = FOLDER / f"build/seed-{seed}"
        if not kept.exists():
            _run("configure", f"--set=seed={seed}")
            _run("train")
            (FOLDER / "build/model").rename(kept)
        found.append(
            predictor(kept / "saved_model")(raw_inputs(table, wanted.features))[wanted.outputs[0].name].astype(
                "float64"
            )
        )
    days = number_days(table[wanted.time])
    return table, wanted.slices, table[wanted.targets[0]].to_numpy(dtype="float64"), days, found


def _run(command: str, *arguments: str) -> None:
    print(f"gates: {command} {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", f"scripts.{command}", *arguments], cwd=FOLDER, check=True, stdout=sys.stderr)


def worse(
    table: Any, names: Any, pair: Scored, length: int, random: np.random.Generator, gates: Gates, *, swap: bool = False
) -> list[str]:
    """Return the slices that are called worse on a drawn holdout."""
    state = random.bit_generator.state
    rows, _ = _draw(pair, length, random)
    random.bit_generator.state = state  # the same days again, now with their predictions
    holdout = drawn(pair, length, random, swap)
    fewer = gates.model_copy(update={"resamples": 400})  # for speed: the bound of all slices needs no far quantile
    found = slices(table.iloc[rows].reset_index(drop=True), names, holdout, fewer, seed=0)
    return [f"{row['column']} {row['slice']}" for row in found if row["worse"]]


def dulled(predictions: Any, where: Any, random: np.random.Generator) -> Any:
    """Return predictions with noise on their log-odds in some rows."""
    noise = np.where(where, random.standard_normal(len(predictions)), 0.0)
    return 1 / (1 + np.exp(-(np.log(predictions) - np.log1p(-predictions) + BLUR * noise)))


def _draw(pair: Scored, length: int, random: np.random.Generator) -> tuple[Any, Any]:
    chosen = random.integers(0, pair.days.max() + 1, length)
    rows = [np.flatnonzero(pair.days == day) for day in chosen]
    return np.concatenate(rows), np.repeat(np.arange(length), [len(part) for part in rows])


def drawn(pair: Scored, length: int, random: np.random.Generator, swap: bool = False) -> Scored:
    """Return a holdout of `length` days drawn with replacement; with `swap`, a coin each day exchanges the models."""
    rows, days = _draw(pair, length, random)
    part = replace(pair.only(rows), days=days)
    if not swap:
        return part
    heads = random.integers(0, 2, length).astype(bool)[days]
    a, b = part.challenger, part.champion
    return replace(part, challenger=np.where(heads, a, b), champion=np.where(heads, b, a))


def promoted(holdout: Scored, gates: Gates) -> bool:
    """Tell whether the gate promotes the challenger on this holdout."""
    counts = metrics.resamples(holdout.days, gates.resamples, seed=0)
    comparison = compare(holdout, [], gates, counts)[0]
    return decide([], [], date(2013, 4, 2), Champion(date(2013, 4, 1)), comparison, gates).word == "promote"


def orders(pair: Scored) -> Iterator[Scored]:
    """Yield a pair in both roles."""
    assert pair.champion is not None
    yield pair
    yield replace(pair, challenger=pair.champion, champion=pair.challenger)


def ahead(pair: Scored, metric: str, gain: float, random: np.random.Generator) -> Scored:
    """Return the pair with its champion's scores blurred until the challenger's gain on all days is `gain`."""
    assert pair.champion is not None
    score = np.log(pair.champion) - np.log1p(-pair.champion)
    noise = random.standard_normal(len(score))
    low, high = 0.0, 10.0
    for _ in range(30):
        middle = (low + high) / 2
        blurred = replace(pair, champion=1 / (1 + np.exp(-(score + middle * noise))))
        low, high = (middle, high) if paired_gain(metric, blurred) < gain else (low, middle)
    return blurred


if __name__ == "__main__":
    sys.exit(main())
