"""How the model must behave, whatever its accuracy."""

CHECKS = [
    {
        "name": "the order of rows does not matter",
        "change": lambda rows: rows.iloc[::-1],
        "expect": "same",
        "tolerance": 1e-5,
        "severity": "block",
    },
    {
        "name": "ten degrees more now are more in an hour",
        "change": lambda rows: rows.assign(past=[[value + 10 for value in past] for past in rows["past"]]),
        "expect": "not less",
        "of": "in_1_h",
        "severity": "warn",
    },
]
