"""How the model must behave, whatever its accuracy."""

CHECKS = [
    {
        "name": "the order of rows does not matter",
        "change": lambda rows: rows.iloc[::-1],
        "expect": "same",
        "tolerance": 1e-5,
        "severity": "block",
    },
]
