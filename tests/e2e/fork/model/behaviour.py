"""How the forecast must behave, whatever its accuracy."""

CHECKS = [
    {
        "name": "a day alone is predicted as among many",
        "change": lambda rows: rows,
        "batch": 1,
        "expect": "same",
        "tolerance": 1e-4,
        "severity": "block",
    },
    {
        "name": "unknown weather is handled",
        "change": lambda rows: rows.assign(weather_before="hail"),
        "expect": "finite",
        "severity": "block",
    },
    {
        "name": "a warmer day is not followed by a colder one",
        "change": lambda rows: rows.assign(temp_max_before=rows["temp_max_before"] + 5),
        "expect": "not less",
        "tolerance": 0.0,
        "severity": "warn",
    },
]
