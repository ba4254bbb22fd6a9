"""What the flights must look like."""

import pandera.pandas as pa

SCHEMA = pa.DataFrameSchema(
    {
        "distance": pa.Column(float, pa.Check.in_range(10, 10_000), coerce=True),
        "hour": pa.Column(int, pa.Check.in_range(0, 24)),
        "origin": pa.Column(str, pa.Check.isin(["EWR", "JFK", "LGA"])),
        "air_time": pa.Column(float, pa.Check.in_range(5, 1500), nullable=True),
    }
)
