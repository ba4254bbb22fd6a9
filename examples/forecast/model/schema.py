"""What the windows must look like; the list itself is held to its declared shape."""

import pandera.pandas as pa

from model import TARGET

SCHEMA = pa.DataFrameSchema(
    {
        "hour": pa.Column(int, pa.Check.in_range(0, 23)),
        "origin": pa.Column(str, pa.Check.isin(["EWR", "JFK", "LGA"])),
        **{name: pa.Column(float, pa.Check.in_range(-40, 130), nullable=True) for name in TARGET},
    }
)
