"""What the docstrings must look like."""

import pandera.pandas as pa

from model import CLASSES

SCHEMA = pa.DataFrameSchema(
    {"text": pa.Column(str, pa.Check.str_length(1, 10_000)), "library": pa.Column(str, pa.Check.isin(CLASSES))}
)
