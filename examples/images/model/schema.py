"""What the table of pictures must look like."""

import pandera.pandas as pa

SCHEMA = pa.DataFrameSchema(
    {
        "image": pa.Column(str, pa.Check.str_endswith(".png"), unique=True),
        "digit": pa.Column(int, pa.Check.in_range(0, 9)),
    }
)
