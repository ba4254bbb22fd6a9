"""What the planes must look like."""

import pandera.pandas as pa

SCHEMA = pa.DataFrameSchema(
    {
        "year": pa.Column(float, pa.Check.in_range(1950, 2030), nullable=True, coerce=True),
        "engines": pa.Column(int, pa.Check.in_range(1, 4)),
        "seats": pa.Column(int, pa.Check.in_range(1, 500)),
        "engine": pa.Column(str),
    }
)
