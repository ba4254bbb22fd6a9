"""The whole contract between a task and the pipeline, tried on a few rows: errors show in seconds, not hours."""

import importlib
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ci import reading, task
from ci.data import divide, prepare, quality
from ci.data.reference import describe
from ci.errors import InputError
from ci.packaging import card
from ci.quality import behaviour, jackknife, metrics
from ci.rows import stored
from ci.settings import Settings
from ci.task import columns, declaration
from ci.training.inputs import by_batches, made_encoder, make_deterministic, raw_inputs
from ci.tuning import contract

_CARD = Path("model/card.md")
_TABLES = 20
"""Tables of a Parquet data set that are tried, at most about so many."""


def check(settings: Settings) -> list[str]:
    """Try everything that `model/` provides, and return in sentences what was tried.

    Raises:
        InputError: something does not fit; names file, name and fix.
    """
    begun = time.monotonic()
    wanted = task.load()
    metrics.require(settings.gates, wanted)
    card.checked(reading.text(_CARD), str(_CARD))
    said = [f"model/: {_in_words(wanted)}"]
    for name, meant in declaration.misspelt(vars(importlib.import_module("model"))):
        said.append(f"model/__init__.py: nothing reads {name}: if {meant} is meant, call it so")
    schema = quality.usable(task.part("model.schema", "SCHEMA"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        divided = divide.divide(settings, wanted, schema, folder, _TABLES)
        counts = ", ".join(f"{part} {tally.rows}" for part, tally in divided.tallies.items())
        said.append(
            f"data: {divided.read} rows{' tried' if divided.parts else ''}; {counts}; "
            f"{len(divided.known.violations)} violations are tolerated"
        )
        make_deterministic(settings.seed, settings.training.threads)
        with prepare.opened(folder) as files:
            train = stored(files["train"])
            encoder = made_encoder(train)
            some = next(iter(stored(files["holdout"]))).head(contract.ROWS)
            ask = contract.check(settings, wanted, next(iter(train)), encoder)
    if divided.parts and not by_batches(task.part("model.features", "encoder")):
        said.append("encoder: it takes all training rows as one table; with `encoder(batches)` they need not fit")
    said.append("network: built, fitted for a step, saved, loaded; it answers alike before, after and as a server")
    with task.told("the model cannot answer rows of the holdout"):
        answers = {name: made.astype("float64") for name, made in ask(raw_inputs(some, wanted.features)).items()}
    describe(some, wanted.features, wanted.summaries)
    said += _metrics(wanted, some, answers)
    said += _behaviour(wanted, some, ask)
    return [*said, f"seconds: {time.monotonic() - begun:.1f}"]


def _in_words(wanted: task.Task) -> str:
    outputs = " and ".join(f"{output.kind} {output.name}" for output in wanted.outputs)
    divided = f"days of {wanted.time}" if wanted.time else f"a hash of {wanted.group or 'the rows'}"
    return f"{outputs} from {len(wanted.features)} fields, divided by {divided}"


def _metrics(wanted: task.Task, rows: pd.DataFrame, answers: dict[str, Any]) -> list[str]:
    """Compute the task's own metrics, and say which cannot be computed on these few rows.

    Raises:
        InputError: one raises an exception.
    """
    said = [f"metrics: {', '.join(metrics.named(wanted))}"]
    for name, metric in wanted.metrics.items():
        truth = columns.outcomes(rows, wanted.output(metric.output))
        weights = None if wanted.weight is None else rows[wanted.weight].to_numpy(dtype="float64")
        problem = jackknife.problem(metric, truth, answers[metric.output], weights)
        if problem and problem.startswith("it raised"):
            raise InputError(f"model/__init__.py: METRICS[{name!r}]: {problem.removeprefix('it ')}")
        if problem:
            said.append(f"metrics: {name} cannot be computed on these {len(rows)} rows: {problem}")
    return said


def _behaviour(wanted: task.Task, rows: pd.DataFrame, ask: Any) -> list[str]:
    """Run the behaviour checks. A model that has learned for one step need not pass them; but they must run.

    Raises:
        InputError: one is not declared as it should be, or raises an exception.
    """
    numbers = behaviour.Numbers.of(wanted)

    def predict(table: pd.DataFrame) -> Any:
        return numbers.table(
            {name: np.asarray(m, "float64") for name, m in ask(raw_inputs(table, wanted.features)).items()}
        )

    checks = behaviour.run(task.part("model.behaviour", "CHECKS"), predict, rows, numbers)
    for found in checks:
        if found["measured"].startswith("it raised"):
            raised = found["measured"].removeprefix("it ")
            raise InputError(f"model/behaviour.py: check {found['name']!r} {raised}")
    return [f"behaviour: {len(checks)} checks run"]
