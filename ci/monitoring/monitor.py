"""The monitor stage: traffic against the reference of the model that serves it."""

from typing import Any

import numpy as np
import pandas as pd

from ci import task, workspace
from ci.capture import replay
from ci.monitoring import drift
from ci.results.data import SUMMARY
from ci.results.monitoring import MONITORING
from ci.settings import Settings
from ci.training.inputs import read_part


def monitor(settings: Settings, url: str, reference: dict[str, Any]) -> dict[str, Any]:
    """Write `build/monitoring/` and return the verdict per feature, for the prediction, and overall.

    Args:
        settings: the thresholds.
        url: address of the served model.
        reference: the served model's reference statistics, as the test stage wrote them.
    """
    wanted = task.load()
    table = read_part("traffic")
    window = SUMMARY.read().windows.traffic
    predictions = replay.send(url, table, wanted.features) if len(table) else np.array([])
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
        "window": window.model_dump(mode="json"),
        "rows": len(table),
        "verdict": verdict,
        "reason": reason,
        "prediction": prediction,
        "features": columns,
    }
    with workspace.replacing(workspace.MONITORING) as folder:
        MONITORING.write(result, folder)
        table.assign(prediction=predictions).to_parquet(folder / "requests.parquet", index=False)
    return result
