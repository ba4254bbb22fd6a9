"""The task: will a flight leaving New York arrive late? A fork replaces this folder; docs/task.md says with what."""

KIND = "binary"
"""What the model predicts: `binary`, the probability of a yes, or `regression`, a number."""

TARGET = "late"
"""The column to predict; rows without it carry no label: they are counted and left out."""

TIME = "date"
"""The column with each row's day; splits are made by day."""

FEATURES = {
    "carrier": "string",
    "origin": "string",
    "dest": "string",
    "weekday": "int64",
    "hour": "int64",
    "distance": "float32",
    "temp": "float32",
    "dewp": "float32",
    "humid": "float32",
    "wind_dir": "float32",
    "wind_speed": "float32",
    "wind_gust": "float32",
    "precip": "float32",
    "pressure": "float32",
    "visib": "float32",
}
"""The named fields of a request and their types; a missing float is NaN."""

SLICES = ("carrier", "origin", "month", "hour")
"""Columns by which the test stage looks at parts of the holdout."""
