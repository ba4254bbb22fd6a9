"""What the task's `load` gives: a table, or the path of a Parquet data set, which is read some rows at a time."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pyarrow
import pyarrow.parquet as pq

from ci import rows, task
from ci.data import quality
from ci.errors import InputError

_TRIED = 4096
"""Rows by which it is seen whether a schema judges each row by itself."""


@dataclass(frozen=True)
class Source:
    """The rows of the task's data, one table or many, read anew in each pass.

    Attributes:
        table: all rows; None for a Parquet data set.
        files: of the data set, in order.
        gaps: columns of whole numbers and of true and false in which a value is missing somewhere: pandas gives them
            another type then, so they have it in all tables.
        some: every so many-th table is read; 1 for all.
    """

    table: pd.DataFrame | None
    files: tuple[Path, ...] = ()
    gaps: frozenset[str] = frozenset()
    some: int = 1

    @property
    def parts(self) -> bool:
        """Whether the rows come as several tables."""
        return self.table is None

    def __iter__(self) -> Iterator[pd.DataFrame]:
        """Yield the tables in order; rows keep their numbers, counted over all of them."""
        yield from self.only(None)

    def only(self, names: list[str] | None) -> Iterator[pd.DataFrame]:
        """Yield the tables with these columns only; None: all."""
        if self.table is not None:
            yield self.table if names is None else self.table[names]
            return
        start = number = 0
        for path in self.files:
            with pq.ParquetFile(path) as file:
                size = rows.at_once(file.metadata.num_columns)
                for batch in file.iter_batches(size, columns=names):
                    if number % self.some == 0:
                        found = self._pandas(batch)
                        yield found.set_axis(pd.RangeIndex(start, start + len(found)))
                    start, number = start + batch.num_rows, number + 1

    def _pandas(self, batch: pyarrow.RecordBatch) -> pd.DataFrame:
        table = pyarrow.Table.from_batches([batch])
        for place, field in enumerate(table.schema):
            if pyarrow.types.is_dictionary(field.type):  # each table would have other categories
                table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
        found: pd.DataFrame = table.to_pandas(ignore_metadata=True)
        kinds = {
            name: "object" if pyarrow.types.is_boolean(table.schema.field(name).type) else "float64"
            for name in self.gaps
            if name in table.schema.names
        }
        return found.astype(kinds)

    def few(self, most: int) -> "Source":
        """Return about so many of the tables, evenly spaced."""
        if self.table is not None:
            return self
        each = [pq.read_metadata(path) for path in self.files]
        tables = sum(-(-known.num_rows // rows.at_once(known.num_columns)) for known in each)
        return replace(self, some=max(1, tables // most))


def read(path: Path | None, wanted: task.Task, schema: pa.DataFrameSchema) -> Source:
    """Read the raw rows and check that they are a table. Columns are checked later, by schema and declarations.

    Raises:
        InputError: `load` fails, or gives something else; or a Parquet data set meets a schema that needs all rows.
    """
    with task.told("load fails"):
        load = task.part("model.data", "load")
        try:
            found = load(path)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            problem = f"there is no column {error}" if isinstance(error, KeyError) else error
            place = task.where(error).removesuffix(": ")
            raise InputError(f"{name(path)}: {problem}{f' ({place})' if place else ''}") from error
    if isinstance(found, str | Path):
        return _data_set(Path(found), wanted, schema)
    if not isinstance(found, pd.DataFrame):
        raise InputError(
            f"model/data.py: load gave {type(found).__name__}: expected a DataFrame of pandas, or the path of a "
            "Parquet data set"
        )
    if found.empty:
        raise InputError("model.data.load gave no rows")
    _require_names(found, wanted)
    if schema.index is None:  # rows are told apart by their index where some are dropped
        return Source(found.reset_index(drop=True))
    if not found.index.is_unique:
        raise InputError(
            "model.data.load gave rows with the same index: the schema has an index, so each needs its own"
        )
    return Source(found)


def name(path: Path | None) -> str:
    """Return in words where the rows come from."""
    return "the task's own data" if path is None else f"data.source: {path}"


def _require_names(table: pd.DataFrame, wanted: task.Task) -> None:
    if odd := [name for name in table.columns if not isinstance(name, str)]:
        raise InputError(f"model.data.load gave a column named {odd[0]!r}: a name is a text")
    if twice := list(table.columns[table.columns.duplicated()].unique()):
        raise InputError(f"model.data.load gave more than one column named {', '.join(twice)}: rename or drop one")
    if wanted.time is not None and wanted.time not in table:
        raise InputError(f"model/__init__.py: TIME is {wanted.time!r}: model.data.load gave no such column of dates")


def _data_set(path: Path, wanted: task.Task, schema: pa.DataFrameSchema) -> Source:
    """Return a Parquet data set: a file, or a folder of files with the same columns.

    Raises:
        InputError: it is none, or the schema judges or changes rows by others.
    """
    where = f"model.data.load gave the path {path}"
    files = tuple(sorted(path.rglob("*.parquet"))) if path.is_dir() else (path,)
    if not files or not all(file.is_file() for file in files):
        raise InputError(f"{where}: expected a Parquet file, or a folder with files *.parquet")
    kinds: pyarrow.Schema | None = None
    gaps, count = set(), 0
    for file in files:
        try:
            with pq.ParquetFile(file) as found:
                here = found.schema_arrow.remove_metadata()
                count += found.metadata.num_rows
                gaps |= set(_with_gaps(found))
        except (OSError, ValueError) as error:  # pyarrow's own errors are among these
            raise InputError(f"{file}: not a whole Parquet file ({task.in_words(error)})") from None
        if kinds is not None and not here.equals(kinds):
            apart = next(
                f"{field.name}: {field.type}" for field in (*here, *kinds) if not (field in here and field in kinds)
            )
            raise InputError(f"{file}: its columns are not those of {files[0]}: only one of them has {apart}")
        kinds = here
    if not count:
        raise InputError(f"{where}: it has no rows")
    if schema.index is not None:
        raise InputError(f"model/schema.py: the schema has an index, and rows of {path} have none: remove it")
    source = Source(None, files, frozenset(gaps))
    first = next(iter(source))
    _require_names(first, wanted)
    quality.require_by_row(schema, first.head(_TRIED))
    return source


def _with_gaps(file: pq.ParquetFile) -> Iterator[str]:
    """Yield the columns of whole numbers, and of true and false, of which the file says that a value is missing.

    Where it does not say, one may be.
    """
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        if not group.num_rows:  # of an empty file nothing is counted
            continue
        for place in range(group.num_columns):
            column = group.column(place)
            field = file.schema_arrow.field(column.path_in_schema.partition(".")[0])
            kind: Any = field.type
            if pyarrow.types.is_integer(kind) or pyarrow.types.is_boolean(kind):
                said = column.statistics
                if said is None or not said.has_null_count or said.null_count:
                    yield field.name
