"""The monitor stage: traffic against the reference of the model that serves it."""

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from typing_extensions import TypedDict

from ci import task, workspace
from ci.monitoring import drift, traffic
from ci.settings import Settings


class _Window(TypedDict):
    first: date
    end: date


class _Summary(TypedDict):
    windows: dict[str, _Window]


def monitor(settings: Settings, url: str, reference: dict[str, Any]) -> dict[str, Any]:
    """Write `build/monitoring/` and return the verdict per feature, for the prediction, and overall.

    Args:
        settings: the thresholds.
        url: address of the served model.
        reference: the served model's reference statistics, as the test stage wrote them.
    """
    wanted = task.load()
    table = workspace.read_table(workspace.DATA / "traffic.parquet")
    window = workspace.read_json(workspace.DATA / "summary.json", _Summary)["windows"]["traffic"]
    predictions = traffic.send(url, table, wanted.features) if len(table) else np.array([])
    columns = [
        drift.examine(name, table[name], reference["features"][name], settings.monitoring)
        for name in wanted.features
        if name in reference["features"]
    ]
    prediction = drift.examine("prediction", pd.Series(predictions), reference["prediction"], settings.monitoring)
    verdict, reason = drift.overall(columns, prediction)
    if unasked := int(np.isnan(predictions).sum()):
        reason += f"; {unasked} of {len(table)} requests have no prediction"
    result = {
        "window": window,
        "rows": len(table),
        "verdict": verdict,
        "reason": reason,
        "prediction": prediction,
        "features": columns,
    }
    with workspace.replacing(workspace.MONITORING) as folder:
        workspace.write_json(folder / "monitoring.json", result)
        table.assign(prediction=predictions).to_parquet(folder / "requests.parquet", index=False)
    return result
