"""The task: the temperature of the next hours. docs/task.md says what each file provides."""

HOURS = (1, 3, 6, 12, 24)
PAST = 48

KIND = "regression"
TARGET = tuple(f"in_{hours}_h" for hours in HOURS)
TIME = "day"
FEATURES = {"past": ("float32", (PAST,)), "hour": "int64", "origin": "string"}
SLICES = ("origin",)
