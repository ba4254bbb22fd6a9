"""The task: which digit does a picture show? docs/task.md says what each file provides."""

KIND = "multiclass"
TARGET = "digit"
CLASSES = tuple(range(10))
TIME = None
FEATURES = {"image": "bytes"}
SLICES = ()
