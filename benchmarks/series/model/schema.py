"""What orders must look like."""

import pandera.pandas as pa

from model.data import REGIONS

NUMBER = pa.Column("float64", pa.Check.in_range(-10, 10))
SCHEMA = pa.DataFrameSchema(
    {
        "day": pa.Column("datetime64[ns]", coerce=True),
        "price": NUMBER,
        "discount": NUMBER,
        "weight": NUMBER,
        "region": pa.Column(str, pa.Check.isin(list(REGIONS))),
        "weekday": pa.Column(int, pa.Check.in_range(0, 6), coerce=True),
        "returned": pa.Column(float, pa.Check.isin([0.0, 1.0]), nullable=True),
    },
    checks=pa.Check(lambda table: len(table) >= 1000, name="at least 1000 rows"),
)
