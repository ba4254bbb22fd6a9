"""The retraining decision table."""

import json
from datetime import date

import pytest

from ci.monitoring.retraining import decide
from ci.results.monitoring import Monitoring
from ci.settings import Retraining
from tests import builds

SETTINGS = Retraining(drifted_features=0.5, cooldown_days=7)


def monitoring(prediction, features, end="2013-04-15"):
    told = builds.monitoring(prediction, features, rows=100, window={"first": "2013-04-01", "end": end})
    return Monitoring.model_validate_json(json.dumps(told))


@pytest.mark.parametrize(
    ("seen", "retrain", "reason"),
    [
        (monitoring("too few rows", ["too few rows"]), False, "the window has only 100 rows"),
        (monitoring("stable", ["stable", "stable"]), False, "only 0% of the features have"),
        (monitoring("stable", ["drifted", "stable", "stable"]), False, "only 33% of the features have"),
        (monitoring("stable", ["drifted", "stable"]), True, "50% of the features drifted, 50% ask"),
        (monitoring("shifted", ["stable"]), False, "the predictions have not drifted"),
        (monitoring("drifted", ["stable"]), True, "the predictions drifted (PSI 0.300)"),
        (monitoring("drifted", ["stable"], end="2013-04-08"), True, "the predictions drifted"),
        (monitoring("drifted", ["stable"], end="2013-04-07"), False, "6 days of new data, 7 are required"),
    ],
)
def test_the_first_rule_that_applies_decides(seen, retrain, reason):
    decision = decide(seen, date(2013, 4, 1), SETTINGS)
    assert decision.retrain is retrain
    assert reason in decision.reason
    assert str(decision).startswith("retrain because" if retrain else "not now because")
