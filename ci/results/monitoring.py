"""Results of the monitor and retrain stages."""

from typing import Literal

from pydantic import Field

from ci import workspace
from ci.results.data import Window
from ci.results.file import Count, Day, File, Many, Real, Result

Verdict = Literal["too few rows", "stable", "shifted", "drifted"]


class Drift(Result):
    """How far one column moved: population stability index in nats, and the bin that moved most, in words."""

    name: str
    psi: Real
    verdict: Verdict
    change: str


class Monitoring(Result):
    """The verdict on a window of traffic, by feature, for the predictions, and overall.

    `prediction` is the prediction that moved most. Without days in the task the window ends at `as_of`, and has none.
    """

    window: Window
    rows: Count
    verdict: Verdict
    reason: str
    prediction: Drift
    predictions: Many[Drift] = Field(default_factory=list)
    features: Many[Drift]


class Retraining(Result):
    """Whether to retrain, why or why not, and the command that does it."""

    retrain: bool
    reason: str
    as_of: Day
    command: str


MONITORING: File[Monitoring] = File(workspace.MONITORING / "monitoring.json", Monitoring)
RETRAINING: File[Retraining] = File(workspace.RETRAINING / "decision.json", Retraining)
