"""The decision whether to retrain: the reasons for it, and the brakes against it."""

from dataclasses import dataclass
from datetime import date

from ci.results.monitoring import Monitoring
from ci.settings import Retraining


@dataclass(frozen=True)
class Decision:
    """Whether to retrain, and why or why not."""

    retrain: bool
    reason: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{'retrain because' if self.retrain else 'not now because'} {self.reason}"


def decide(monitoring: Monitoring, trained_as_of: date, settings: Retraining) -> Decision:
    """Return the decision; the first rule that applies decides.

    Args:
        monitoring: the monitor stage's result.
        trained_as_of: until when the serving model knows the data.
        settings: the share of drifted features that asks for a retraining, and the brakes.
    """
    verdicts = [feature.verdict for feature in monitoring.features]
    if monitoring.verdict == "too few rows":
        return Decision(False, f"the window has only {monitoring.rows} rows")
    share = verdicts.count("drifted") / len(verdicts) if verdicts else 0.0
    if monitoring.prediction.verdict == "drifted":
        reason = f"the predictions drifted (PSI {monitoring.prediction.psi:.3f})"
    elif share >= settings.drifted_features:
        reason = f"{share:.0%} of the features drifted, {settings.drifted_features:.0%} ask for a retraining"
    else:
        return Decision(False, f"the predictions have not drifted and only {share:.0%} of the features have")
    new_days = (monitoring.window.end - trained_as_of).days
    if new_days < settings.cooldown_days:
        return Decision(
            False, f"there are {new_days} days of new data, {settings.cooldown_days} are required, though {reason}"
        )
    return Decision(True, reason)
