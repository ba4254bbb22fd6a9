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
        "name": "unknown words are handled",
        "change": lambda rows: rows.assign(text="qwxyz zyxwq"),
        "expect": "finite",
        "severity": "block",
    },
    {
        "name": "a data frame speaks for pandas",
        "change": lambda rows: rows.assign(text=rows["text"] + " dataframe series groupby"),
        "expect": "not less",
        "of": "pandas",
        "severity": "warn",
    },
]
