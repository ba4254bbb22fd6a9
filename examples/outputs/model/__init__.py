"""The task: tomorrow's rain and wind. README.md in model/ says what each file provides."""

OUTPUTS = {
    "rain": {"kind": "binary", "target": "rain_tomorrow", "classes": ("dry", "wet")},
    "wind": {"kind": "regression", "target": "wind_tomorrow"},
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
