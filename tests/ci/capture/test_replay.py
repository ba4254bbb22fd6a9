"""Traffic through a server, and what monitoring makes of its answers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ci.capture import replay
from ci.data.reference import counts, describe_predictions
from ci.errors import StageError
from ci.monitoring import drift
from ci.serving.api import Api
from ci.serving.model import Version
from ci.settings.watching import Monitoring
from ci.task import Field, Output
from ci.training.export import predictor
from ci.training.inputs import raw_inputs
from tests.ci.serving.servers import serving

FEATURES = {"x": Field("float32"), "carrier": Field("string"), "hour": Field("int64")}
OUTPUTS = (Output("late", "binary", ("late",)),)
ROWS = 5000

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


@pytest.fixture(scope="module")
def url(plain_model: Path) -> Iterator[str]:
    version = Version("demo", 1)
    version.load(plain_model)
    for address in serving(Api("demo", version)):
        yield f"{address}/v1/models/demo"


def table(levels: int) -> pd.DataFrame:
    random = np.random.default_rng(levels)
    x = random.choice(random.uniform(-4, 4, levels), ROWS)
    return pd.DataFrame({"x": x, "carrier": "AA", "hour": random.integers(0, 2, ROWS)})


@pytest.mark.parametrize("levels", [1, 3, 100, 100_000])
def test_the_holdout_sent_through_the_server_does_not_differ_from_itself(url, plain_model, levels):
    holdout = table(levels)
    evaluated = predictor(plain_model)(raw_inputs(holdout, FEATURES))["late"].astype("float64")
    served = replay.send(url, holdout, FEATURES, OUTPUTS)["late"]
    description = describe_predictions(evaluated)
    found = drift.examine("prediction", counts(pd.Series(served), description), description, Monitoring())
    assert found["psi"] == 0


def test_a_row_that_cannot_be_asked_has_no_prediction_and_stops_no_other(url):
    rows = table(100)
    expected = replay.send(url, rows, FEATURES, OUTPUTS)["late"]
    odd = rows.assign(
        hour=rows["hour"].astype("float64").where(rows.index != 3).where(rows.index != 4, 0.5),
        carrier=rows["carrier"].where(rows.index != ROWS - 1, None),
        x=rows["x"].astype(object).where(rows.index != 7, "far"),
    )
    found = replay.send(url, odd, FEATURES, OUTPUTS)["late"]
    assert np.flatnonzero(np.isnan(found)).tolist() == [3, 4, ROWS - 1]
    same = ~np.isnan(found) & (np.arange(ROWS) != 7)  # text is no number: it is sent as a missing one
    assert (found[same] == expected[same]).all()
    assert replay.send(url, rows[:0], FEATURES, OUTPUTS)["late"].shape == (0,)


def test_what_the_server_answers_instead_of_predictions_is_told(url):
    with pytest.raises(StageError, match=r"no predictions: the server answered: .*hour"):
        replay.send(url, table(3), {name: dtype for name, dtype in FEATURES.items() if name != "hour"}, OUTPUTS)
    with pytest.raises(StageError, match="`make serve` starts the server"):
        replay.send("http://127.0.0.1:9/v1/models/demo", table(3), FEATURES, OUTPUTS)
