"""The task: minutes in the air. docs/task.md says what each file provides."""

KIND = "regression"
TARGET = "air_time"
TIME = None
GROUP = "tailnum"
WEIGHT = "weight"
FEATURES = {"distance": "float32", "hour": "int64", "month": "int64", "origin": "string", "carrier": "string"}
SLICES = ("origin",)


def within_10_minutes(y_true, y_pred, *, sample_weight=None):
    """Return the share of flights that are predicted within ten minutes."""
    right, total = 0.0, 0.0
    weights = [1.0] * len(y_true) if sample_weight is None else sample_weight
    for truth, said, weight in zip(y_true, y_pred, weights, strict=True):
        right, total = right + weight * (abs(truth - said) <= 10), total + weight
    return right / total


METRICS = {"within_10_minutes": {"function": within_10_minutes, "greater_is_better": True}}
