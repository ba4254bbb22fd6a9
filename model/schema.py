"""What the flights must look like before anything learns from them."""

import pandera.pandas as pa

CARRIERS = ["9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV"]


def missing_at_most(share: float) -> pa.Check:
    """Return a check that no more than this share of a column is missing."""
    return pa.Check(
        lambda column: bool(column.isna().mean() <= share), ignore_na=False, name=f"missing share at most {share}"
    )


def measured(low: float, high: float, missing: float, tolerated: float = 0.0) -> pa.Column:
    """Return a weather column: its range, its share of missing values, and the share of misreadings to live with."""
    return pa.Column(
        "float64",
        [pa.Check.in_range(low, high), missing_at_most(missing)],
        nullable=True,
        metadata={"tolerated": tolerated},
    )


SCHEMA = pa.DataFrameSchema(
    {
        "date": pa.Column("datetime64[ns]", coerce=True),
        "month": pa.Column("int64", pa.Check.in_range(1, 12)),
        # A new airline is no reason to stop: to the network it is an unknown carrier until the training days have it.
        "carrier": pa.Column(str, pa.Check.isin(CARRIERS), metadata={"tolerated": 0.01}),
        "origin": pa.Column(str, pa.Check.isin(["EWR", "JFK", "LGA"])),
        "dest": pa.Column(str, pa.Check.str_matches("^[A-Z]{3}$")),
        "weekday": pa.Column("int64", pa.Check.in_range(0, 6)),
        "hour": pa.Column("int64", pa.Check.in_range(0, 23)),
        "distance": pa.Column("int64", pa.Check.in_range(1, 6000)),
        "late": pa.Column("float32", [pa.Check.isin([0.0, 1.0]), missing_at_most(0.1)], nullable=True),
        "temp": measured(-30, 120, missing=0.05),
        "dewp": measured(-40, 90, missing=0.05),
        "humid": measured(0, 100, missing=0.05),
        "wind_dir": measured(0, 360, missing=0.1),
        # One hour of 2013 at Newark reads 1,048 miles an hour.
        "wind_speed": measured(0, 120, missing=0.05, tolerated=0.001),
        "wind_gust": measured(0, 120, missing=0.95),
        "precip": measured(0, 5, missing=0.05),
        "pressure": measured(950, 1060, missing=0.25),
        "visib": measured(0, 10, missing=0.05),
    },
    checks=pa.Check(lambda table: len(table) >= 10_000, name="at least 10000 rows"),
    strict=True,
)
"""Types, ranges, categories, missing shares, row count; units as the package documents them (°F, mph, in, mbar, mi)."""
