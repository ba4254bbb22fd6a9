"""The monitor stage reads the traffic some rows at a time, and finds the same as in one table."""

import numpy as np
import pandas as pd
import pytest

from ci import workspace
from ci.data.reference import describe, describe_predictions
from ci.errors import StageError
from ci.monitoring.monitor import monitor, simulated
from ci.serving.api import Api
from ci.serving.model import Version
from ci.settings import Settings
from ci.task import load
from tests import builds
from tests.ci.serving.servers import serving

INIT = """\
KIND, TARGET, TIME, SLICES = "binary", "late", None, ()
FEATURES = {"x": "float32", "carrier": "string", "hour": "int64"}
SUMMARIES = {"letters": {"field": "carrier", "function": len}}
"""
SETTINGS = Settings.model_validate({"schema_version": 1, "as_of": "latest", "model": {"name": "demo"}})


def rows(count, first):
    x = np.linspace(first, 4, count)
    return pd.DataFrame({"x": x, "carrier": np.where(x > 1, "AA", "UAL"), "hour": 0, "late": 0.0})


@pytest.fixture
def watched(task, plain_model):
    """Write traffic in row groups of so many rows, and return what the stage says of it."""
    task.write("__init__.py", INIT)
    task.forget()
    builds.write("data/summary.json", builds.summary())
    wanted = load()
    before = rows(3000, -4)
    known = {"features": describe(before, wanted.features, wanted.summaries)}
    known["predictions"] = {"prediction": describe_predictions(before["x"] / 10 + 0.5)}
    version = Version("demo", 1)
    version.load(plain_model)
    for address in serving(Api("demo", version)):

        def run(size, reference=known, address=address):
            table = rows(2000, 0)
            table.assign(carrier=table["carrier"].where(table.index != 7)).to_parquet(
                workspace.DATA / "traffic.parquet", index=False, row_group_size=size
            )
            return monitor(SETTINGS, simulated(f"{address}/v1/models/demo", wanted), reference, wanted)

        yield run


def test_row_groups_change_nothing(watched):
    whole = watched(2000)
    assert {each["name"] for each in whole["features"]} == {"x", "carrier", "hour", "letters"}
    assert (whole["verdict"], whole["rows"]) == ("drifted", 2000)
    assert whole["reason"].endswith("; 1 of 2000 requests have no prediction")
    asked = pd.read_parquet(workspace.MONITORING / "requests.parquet")
    assert watched(300) == whole
    pd.testing.assert_frame_equal(pd.read_parquet(workspace.MONITORING / "requests.parquet"), asked)


def test_a_model_that_predicts_something_else_leaves_nothing(watched):
    with pytest.raises(StageError, match="what serves predicts other; the task in model/ predicts something else"):
        watched(300, {"features": {}, "predictions": {"other": describe_predictions(pd.Series([0.5, 0.6]))}})
    assert not workspace.MONITORING.exists()
