"""The monitor stage: traffic against the reference of the model that serves it."""

from typing import Any

import numpy as np

from ci import task, workspace
from ci.capture import replay
from ci.data import watched
from ci.errors import StageError
from ci.monitoring import drift
from ci.results.data import SUMMARY, Window
from ci.results.monitoring import MONITORING
from ci.settings import Settings
from ci.training.inputs import prepared


def monitor(settings: Settings, url: str, reference: dict[str, Any]) -> dict[str, Any]:
    """Write `build/monitoring/` and return the verdict per feature, for the prediction, and overall.

    Args:
        settings: the thresholds.
        url: address of the served model.
        reference: the served model's reference statistics, as the test stage wrote them.
    """
    wanted = task.load()
    table = prepared("traffic").whole()
    summary = SUMMARY.read()
    window = summary.windows.traffic if summary.windows else Window(first=summary.as_of, end=summary.as_of)
    answers = replay.send(url, table, wanted.features, wanted.outputs)
    known = reference["features"]
    columns = [
        drift.examine(name, column, known[name], settings.monitoring)
        for name, (column, _) in watched.fields(table, wanted.features, known, wanted.summaries).items()
    ]
    predictions = [
        drift.examine(name, column, reference["predictions"][name], settings.monitoring)
        for name, column in watched.predictions(answers, wanted.outputs).items()
        if name in reference["predictions"]
    ]
    if not predictions:
        raise StageError(
            f"what serves predicts {', '.join(reference['predictions'])}; the task in model/ predicts something else: "
            "deploy its model first"
        )
    moved = max(predictions, key=lambda found: found["psi"])
    verdict, reason = drift.overall(columns, moved)
    unasked = np.any([np.isnan(made).reshape(len(table), -1).any(axis=1) for made in answers.values()], axis=0)
    if unasked.any():
        reason += f"; {int(unasked.sum())} of {len(table)} requests have no prediction"
    result = {
        "window": window.model_dump(mode="json"),
        "rows": len(table),
        "verdict": verdict,
        "reason": reason,
        "prediction": moved,
        "predictions": predictions,
        "features": columns,
    }
    with workspace.replacing(workspace.MONITORING) as folder:
        MONITORING.write(result, folder)
        table.assign(**_columns(answers)).to_parquet(folder / "requests.parquet", index=False)
    return result


def _columns(answers: dict[str, Any]) -> dict[str, Any]:
    """Return predictions as columns. If there is only one and it is a number, it is called `prediction`."""
    if len(answers) == 1 and next(iter(answers.values())).ndim == 1:
        return {"prediction": next(iter(answers.values()))}
    return {f"prediction {name}": list(made) if made.ndim > 1 else made for name, made in answers.items()}
