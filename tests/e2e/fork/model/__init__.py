"""Another task: how warm will it get in Seattle, given what was observed the day before?"""

KIND = "regression"
TARGET = "temp_max"
TIME = "date"
FEATURES = {
    "month": "int64",
    "weather_before": "string",
    "temp_max_before": "float32",
    "temp_min_before": "float32",
    "wind_before": "float32",
    "precipitation_before": "float32",
}
SLICES = ("month", "weather_before")
