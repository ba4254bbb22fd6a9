"""How the model must behave, whatever its accuracy: each check changes requests and says what may change in the answer.

`change` maps a table of requests to changed ones, keeping each row's index; `batch` is the rows sent at a time, all
if absent. `expect` is one of: `same` (no prediction moves by more than the tolerance), `finite`, `not less` and
`not more` (the mean prediction does not fall, or rise, by more than the tolerance). A check of severity `block` stops
the build; `warn` is reported only, for expectations that real models sometimes break for good reasons.
"""

from model.features import NUMBERS

WEATHER = [name for name in NUMBERS if name != "distance"]

CHECKS = [
    {
        "name": "the order of rows does not matter",
        "change": lambda rows: rows.iloc[::-1],
        "expect": "same",
        "tolerance": 1e-6,
        "severity": "block",
    },
    {
        "name": "a flight alone is predicted as among many",
        "change": lambda rows: rows,
        "batch": 1,
        "expect": "same",
        "tolerance": 1e-6,
        "severity": "block",
    },
    {
        "name": "missing weather is handled",
        "change": lambda rows: rows.assign(**dict.fromkeys(WEATHER, float("nan"))),
        "expect": "finite",
        "severity": "block",
    },
    {
        "name": "an unknown destination is handled",
        "change": lambda rows: rows.assign(dest="???"),
        "expect": "finite",
        "severity": "block",
    },
    {
        "name": "less visibility is no less risk",
        "change": lambda rows: rows.assign(visib=1.0),
        "expect": "not less",
        "tolerance": 0.0,
        "severity": "warn",
    },
    {
        "name": "more precipitation is no less risk",
        "change": lambda rows: rows.assign(precip=rows["precip"].fillna(0) + 0.2),
        "expect": "not less",
        "tolerance": 0.0,
        "severity": "warn",
    },
]
