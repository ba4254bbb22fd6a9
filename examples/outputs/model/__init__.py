"""The task: rain and wind of the afternoon. docs/task.md says what each file provides."""

OUTPUTS = {
    "rain": {"kind": "binary", "target": "rain_later", "classes": ("dry", "wet")},
    "wind": {"kind": "regression", "target": "wind_later"},
}
TIME = "day"
FEATURES = {
    "temp": "float32",
    "humid": "float32",
    "pressure": "float32",
    "wind_speed": "float32",
    "precip": "float32",
    "origin": "string",
}
SLICES = ("origin",)
