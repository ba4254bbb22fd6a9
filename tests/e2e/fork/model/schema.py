"""What the weather must look like; degrees Celsius, metres a second, millimetres."""

import pandera.pandas as pa

WEATHER = ["drizzle", "fog", "rain", "snow", "sun"]


def number(low: float, high: float) -> pa.Column:
    """Return a column of numbers between two bounds, none missing."""
    return pa.Column("float64", pa.Check.in_range(low, high))


SCHEMA = pa.DataFrameSchema(
    {
        "date": pa.Column("datetime64[ns]", unique=True, coerce=True),
        "month": pa.Column("int64", pa.Check.in_range(1, 12)),
        "temp_max": number(-30, 50),
        "weather_before": pa.Column(str, pa.Check.isin(WEATHER)),
        "temp_max_before": number(-30, 50),
        "temp_min_before": number(-40, 40),
        "wind_before": number(0, 60),
        "precipitation_before": number(0, 300),
    },
    checks=pa.Check(lambda table: len(table) >= 300, name="at least 300 rows"),
    strict=True,
)
