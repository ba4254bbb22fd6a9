"""The task: who built a plane? docs/task.md says what each file provides."""

KIND = "multiclass"
TARGET = "manufacturer"
CLASSES = (
    "AIRBUS",
    "AIRBUS INDUSTRIE",
    "BOEING",
    "BOMBARDIER INC",
    "EMBRAER",
    "MCDONNELL DOUGLAS",
    "MCDONNELL DOUGLAS AIRCRAFT CO",
    "MCDONNELL DOUGLAS CORPORATION",
)
CLASS_WEIGHT = {"MCDONNELL DOUGLAS CORPORATION": 3.0, "MCDONNELL DOUGLAS": 2.0}
TIME = None
FEATURES = {"year": "float32", "engines": "int64", "seats": "int64", "engine": "string"}
SLICES = ("engine",)
