"""The task: which library was this docstring written for? docs/task.md says what each file provides."""

KIND = "multiclass"
TARGET = "library"
CLASSES = ("keras", "numpy", "pandas", "scipy")
TIME = None
GROUP = "file"
FEATURES = {"text": "string"}
SLICES = ("length",)
