"""The task: will an order come back? The series is generated, so that its changes are known."""

KIND = "binary"
TARGET = "returned"
TIME = "day"
FEATURES = {"price": "float32", "discount": "float32", "weight": "float32", "region": "string", "weekday": "int64"}
SLICES = ("region",)
