"""Rows of a table, read some at a time: what does not fit into memory is passed over again and again instead."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

CELLS = 4_000_000
"""Values that are held at a time, at most: rows times columns."""
_FEWEST = 1024
"""Rows that are held at a time at least, however many columns they have."""
_SEED = 0


@dataclass(frozen=True)
class Rows:
    """Rows as a series of tables, which are read anew in each pass.

    Attributes:
        groups: reads each table; each may be read by itself.
        count: rows of all of them.
    """

    groups: Sequence[Callable[[], pd.DataFrame]]
    count: int

    @classmethod
    def of(cls, table: pd.DataFrame) -> "Rows":
        """Return the rows of a table."""
        return cls((lambda: table,), len(table))

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield the tables in order."""
        return (read() for read in self.groups)

    def whole(self) -> pd.DataFrame:
        """Return all rows as one table."""
        return together(list(self))

    def take(self, places: npt.NDArray[np.integer]) -> pd.DataFrame:
        """Return the rows at these places, which are in order and counted from 0."""
        found, start = [], 0
        for table in self:
            first, end = np.searchsorted(places, [start, start + len(table)])
            found.append(table.iloc[places[first:end] - start])
            start += len(table)
        return together(found)

    def sample(self, most: int) -> pd.DataFrame:
        """Return all rows, or where there are more so many of them, drawn the same way each time."""
        if self.count <= most:
            return self.whole()
        drawn = np.random.default_rng(_SEED).choice(self.count, most, replace=False)
        return self.take(np.sort(drawn))


def together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return tables as one, its rows numbered from 0; categories are those of all of them."""
    if len(tables) == 1:
        return tables[0].reset_index(drop=True)
    found = [table for table in tables if len(table)] or list(tables[:1])
    kinds = {
        name: pd.api.types.union_categoricals([table[name] for table in found], ignore_order=True).dtype
        for name, kind in found[0].dtypes.items()
        if isinstance(kind, pd.CategoricalDtype)
    }
    return pd.concat([table.astype(kinds) if kinds else table for table in found], ignore_index=True)


def stored(file: pq.ParquetFile, names: Sequence[str] | None = None) -> Rows:
    """Return the rows of an open Parquet file by its row groups; of all columns, or of these."""
    wanted = None if names is None else list(names)

    def read(group: int) -> pd.DataFrame:
        found: pd.DataFrame = file.read_row_group(group, columns=wanted).to_pandas()
        return found

    def empty() -> pd.DataFrame:
        schema = file.schema_arrow
        found: pd.DataFrame = schema.empty_table().select(schema.names if wanted is None else wanted).to_pandas()
        return found

    groups = [partial(read, number) for number in range(file.num_row_groups)]
    return Rows(groups or [empty], file.metadata.num_rows)


def at_once(columns: int) -> int:
    """Return how many rows of so many columns are held at a time."""
    return max(_FEWEST, CELLS // max(columns, 1))


class Writer:
    """Writes one Parquet file table by table; the first table says what types the columns have."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: pq.ParquetWriter | None = None
        self._schema: pa.Schema | None = None

    def write(self, table: pd.DataFrame) -> None:
        """Append rows.

        Raises:
            ValueError, TypeError, NotImplementedError, OverflowError: values that Parquet cannot hold, or that are of
                another type than those before.
        """
        found = pa.Table.from_pandas(table, self._schema if self._file else None, preserve_index=False)
        self._schema = found.schema
        if len(found):
            if self._file is None:
                self._file = pq.ParquetWriter(self.path, found.schema)
            self._file.write_table(found, row_group_size=at_once(len(found.column_names)))
            self.count += len(found)

    def close(self) -> None:
        """End the file; without rows it has columns only."""
        if self._file is None and self._schema is not None:
            self._file = pq.ParquetWriter(self.path, self._schema)
        if self._file is not None:
            self._file.close()
