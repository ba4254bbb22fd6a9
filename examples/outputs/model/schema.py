"""What the mornings must look like."""

import pandera.pandas as pa

SCHEMA = pa.DataFrameSchema(
    {
        "temp": pa.Column(float, pa.Check.in_range(-40, 130), nullable=True),
        "humid": pa.Column(float, pa.Check.in_range(0, 100), nullable=True),
        "precip": pa.Column(float, pa.Check.ge(0)),
        "origin": pa.Column(str, pa.Check.isin(["EWR", "JFK", "LGA"])),
    }
)
