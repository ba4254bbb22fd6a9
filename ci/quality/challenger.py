"""What the test stage judges: a model's predictions for the holdout, by output, and the champion's beside them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci import task
from ci.data import split
from ci.errors import StageError
from ci.quality import verdict
from ci.quality.compare import Scored
from ci.registry import local as registry
from ci.registry.client import Unreachable
from ci.results.build import CHAMPION
from ci.rows import Rows, together
from ci.settings import Settings
from ci.task import columns
from ci.training.export import INFORMATION, predictor
from ci.training.inputs import raw_inputs

Array = npt.NDArray[np.float64]
_ROWS = 4096
"""Rows that are answered at a time where they name files."""
_SHOWN = 200
"""Characters of an exception that are shown."""


@dataclass(frozen=True)
class Model:
    """A saved model, asked for rows of a table.

    Attributes:
        predict: from raw fields to arrays by output, as `ci.training.export.predictor` makes it.
        features: the fields that it takes.
    """

    predict: Any
    features: Mapping[str, task.Field]

    def answers(self, rows: Rows) -> dict[str, Array]:
        """Return the predictions by output; shapes (rows,) and (rows, values)."""
        found = [self.answer(table) for table in rows]
        return {name: np.concatenate([each[name] for each in found]) for name in found[0]}

    def answer(self, table: pd.DataFrame) -> dict[str, Array]:
        """Return the same for one table."""
        step = _ROWS if any(field.dtype == "bytes" for field in self.features.values()) else max(1, len(table))
        parts = [
            self.predict(raw_inputs(table.iloc[start : start + step], self.features))
            for start in range(0, max(1, len(table)), step)
        ]
        return {name: np.concatenate([part[name] for part in parts]).astype("float64") for name in parts[0]}


def judged(holdout: Rows, wanted: task.Task) -> pd.DataFrame:
    """Return the columns of the holdout by which models are judged, of all rows; fields are read some at a time."""
    names = dict.fromkeys([*wanted.targets, *wanted.slices, *filter(None, (wanted.time, wanted.weight))])
    return together([table[list(names)] for table in holdout])


def scored(
    holdout: Rows, wanted: task.Task, challenger: Mapping[str, Array], champion: Mapping[str, Array] | None
) -> dict[str, Scored]:
    """Return the holdout with the predictions of each output, by its name."""
    days = split.units(holdout, wanted)
    kept = judged(holdout, wanted)
    weights = None if wanted.weight is None else kept[wanted.weight].to_numpy(dtype="float64")
    return {
        output.name: Scored(
            columns.outcomes(kept, output),
            days,
            challenger[output.name],
            None if champion is None else champion[output.name],
            weights,
            {name: metric for name, metric in wanted.metrics.items() if metric.output == output.name},
        )
        for output in wanted.outputs
    }


def before(
    holdout: Rows, wanted: task.Task, settings: Settings, division: str
) -> tuple[verdict.Champion | None, dict[str, Array] | None]:
    """Return the champion and its predictions for the holdout; None for either if it is not available.

    Args:
        holdout: the rows.
        wanted: the task.
        settings: where releases are sent to.
        division: how rows were divided into parts, as the prepare stage says.

    Raises:
        Unreachable: the registry does not answer; the champion may still be there: run again.
    """
    record = CHAMPION.read()
    if record is None:
        return None, None
    import tensorflow as tf

    try:
        repository = f"{settings.packaging.repository}/{settings.model.name}"
        folder = registry.released(record.digest, repository, settings.packaging.plain_http)
    except Unreachable:
        raise
    except StageError as error:
        return verdict.Champion(record.as_of, str(error)), None
    known = _information(folder)
    if division != known.get("split", ""):
        was = known.get("split") or "days"
        problem = (
            f"it may have learned from this holdout: its rows were divided by {was}, these by {division or 'days'}"
        )
        return verdict.Champion(record.as_of, problem), None
    fields = _fields(folder, wanted)
    if missing := [name for name in fields if name not in next(iter(holdout))]:
        return verdict.Champion(record.as_of, f"its input {', '.join(missing)} is not in these data"), None
    try:
        answers = Model(predictor(folder), fields).answers(holdout)
        return verdict.Champion(record.as_of), _fitting(answers, known.get("classes", {}), wanted)
    except _Other as error:
        return verdict.Champion(record.as_of, str(error)), None
    except (TypeError, ValueError, tf.errors.OpError) as error:  # such as a number that it has no embedding for
        return verdict.Champion(
            record.as_of, f"these data do not fit its inputs: {task.in_words(error)[:_SHOWN]}"
        ), None


class _Other(Exception):  # noqa: N818 - a finding, not a fault
    """The champion predicts something else; the message says what."""


def _fitting(answers: Mapping[str, Array], classes: Mapping[str, list[str]], wanted: task.Task) -> dict[str, Array]:
    """Return the champion's predictions with its classes in today's order.

    Raises:
        _Other: it has other outputs or classes.
    """
    names = [output.name for output in wanted.outputs]
    if len(answers) == len(names) == 1:
        answers = {names[0]: next(iter(answers.values()))}
    found = {}
    for output in wanted.outputs:
        if output.name not in answers:
            raise _Other(f"it has no output {output.name}, only {', '.join(answers)}")
        values, theirs = answers[output.name], classes.get(output.name, [])
        if output.width is not None and theirs and sorted(theirs) == sorted(output.classes):
            values = values[:, [theirs.index(name) for name in output.classes]]
        elif theirs != list(output.classes):
            raise _Other(f"its classes of {output.name} are others: {', '.join(theirs[:10]) or 'none'}")
        if (1 if values.ndim == 1 else values.shape[1]) != (output.width or 1):
            raise _Other(f"it predicts {values.shape[1:]} numbers for {output.name}, not {output.width or 1}")
        found[output.name] = values
    return found


def _information(folder: Path) -> dict[str, Any]:
    """Return what the train stage wrote beside a model; nothing where there was nothing to say."""
    path = folder / INFORMATION
    if not path.exists():
        return {}
    found = json.loads(path.read_bytes())
    return dict(found)


def _fields(folder: Path, wanted: task.Task) -> dict[str, task.Field]:
    """Return the fields that a SavedModel's signature asks for; the content of files looks like text in it."""
    import tensorflow as tf

    inputs = tf.saved_model.load(str(folder)).signatures["serving_default"].structured_input_signature[1]
    found = {}
    for name, spec in inputs.items():
        field = wanted.features.get(name)
        same = field is not None and field.dtype == "bytes" and spec.dtype.name == "string"
        found[name] = field if same and field else task.Field(spec.dtype.name, tuple(spec.shape[1:]))
    return found
