"""The prepare stage: divide the data into parts, describe the training rows, fingerprint all of them."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from ci import task, workspace
from ci.data import outcome, quality, split
from ci.data.divide import Divided, divide
from ci.data.reference import describe
from ci.data.tally import absent
from ci.data.windows import PARTS
from ci.errors import InputError
from ci.results.data import REFERENCE, SCHEMA, SUMMARY, Part
from ci.rows import stored
from ci.settings import Settings
from ci.task import columns

_DESCRIBED = 2**20
"""Rows of the training data by which they are described, at most; of lists, so many numbers times 64."""
_HELD = 2**23
"""Values of several columns that are held together, about."""


def prepare(settings: Settings) -> dict[str, Any]:
    """Write `build/data/` and return its summary.

    Raises:
        InputError: the source, `as_of` or a window does not fit, the data violate the task's schema, or a column holds
            something else than the task declares.
    """
    wanted = task.load()
    schema = quality.usable(task.part("model.schema", "SCHEMA"))
    with workspace.replacing(workspace.DATA) as folder:
        divided = divide(settings, wanted, schema, folder)
        notes = [f"tolerated: {violation}" for violation in divided.known.violations] + divided.notes
        with opened(folder) as files:
            summary = {**_summary(divided, settings, wanted), "fingerprint": fingerprint(files, wanted)}
            reference = _reference(files["train"], wanted)
        summary["notes"] = [*notes, *absent(divided.tallies, wanted)]
        SUMMARY.write(summary, folder)
        SCHEMA.write(outcome.report(divided.known, schema), folder)
        REFERENCE.write(reference, folder)
    return summary


def _summary(divided: Divided, settings: Settings, wanted: task.Task) -> dict[str, Any]:
    placed, tallies = divided.placed, divided.tallies
    return {
        "as_of": str(settings.as_of if placed is None else placed.as_of),
        "windows": None
        if placed is None
        else {
            "training": _days(placed.training, placed.holdout - timedelta(days=placed.gap_days)),
            "holdout": _days(placed.holdout, placed.as_of),
            "traffic": _days(placed.as_of, placed.end),
        },
        "rows": {part: tally.rows for part, tally in tallies.items()},
        "unlabelled": {part: tally.unlabelled for part, tally in tallies.items()},
        "days": {part: len(tally.days) for part, tally in tallies.items()} if wanted.time else {},
        "target": {part: balance for part, tally in tallies.items() if (balance := tally.balance())},
        "source": {"rows": divided.read, "unlabelled": divided.unlabelled},
        "split": split.identity(settings.data, wanted),
    }


def _days(first: date, end: date) -> dict[str, str]:
    return {"first": str(first), "end": str(end)}


@contextmanager
def opened(folder: Path) -> Iterator[dict[Part, pq.ParquetFile]]:
    """Yield the open files of the parts in a folder."""
    files = {part: pq.ParquetFile(folder / f"{part}.parquet") for part in PARTS}
    try:
        yield files
    finally:
        for file in files.values():
            file.close()


def _reference(train: pq.ParquetFile, wanted: task.Task) -> dict[str, Any]:
    """Return the reference statistics of the training rows, some fields at a time, so that few values are held."""
    found: dict[str, Any] = {}
    lists = [[name] for name, field in wanted.features.items() if field.shape]
    single = [name for name, field in wanted.features.items() if not field.shape]
    rows = min(train.metadata.num_rows, _DESCRIBED)
    for names in [*_blocks(single, rows), *lists]:
        fields = {name: wanted.features[name] for name in names}
        own = {each: summary for each, summary in wanted.summaries.items() if summary.field in fields}
        size = max(1, math.prod(axis or 64 for axis in fields[names[0]].shape) // 64)
        found |= describe(stored(train, names).sample(_DESCRIBED // size), fields, own)
    return found


def _blocks(names: list[str], rows: int) -> list[list[str]]:
    """Return columns in blocks that are read together: each read costs as much as all columns have names."""
    size = max(1, _HELD // max(rows, 1))
    return [names[start : start + size] for start in range(0, len(names), size)]


def fingerprint(files: Mapping[Part, pq.ParquetFile], wanted: task.Task | None = None) -> str:
    """Return a digest of the names, types and values in some files: the same for the same rows, whatever file has them.

    Files that a `bytes` field names count by the digest of their content, which stands beside them.

    Raises:
        InputError: a column holds lists or the like, and the task does not declare it as such.
    """
    digest = hashlib.sha256()
    every = list(files.values())
    empty = [file.schema_arrow.empty_table().to_pandas() for file in every]
    kinds = pd.concat(empty).dtypes.to_dict()
    for names in _blocks(list(empty[0]), sum(file.metadata.num_rows for file in every)):
        hashes: dict[str, list[bytes]] = {name: [] for name in names}
        for table in (table for file in every for table in stored(file, names)):
            for name in names:
                hashes[name].append(_hashed(table[name], kinds[name], wanted))
        for name in names:
            digest.update(f"{name}:{kinds[name]}\n".encode() + b"".join(hashes[name]))
    return f"sha256:{digest.hexdigest()}"


def _hashed(column: "pd.Series[Any]", kind: Any, wanted: task.Task | None) -> bytes:
    """Return the hash of each value of a column, in the type that it has in all files.

    Raises:
        InputError: as of `fingerprint`.
    """
    name = str(column.name)
    column = column if isinstance(kind, pd.CategoricalDtype) else column.astype(kind)
    if wanted is not None and name in wanted.features:
        column = columns.plain_bytes(column, wanted.features[name])
    try:
        return pd.util.hash_pandas_object(column, index=False).to_numpy().tobytes()
    except (TypeError, ValueError) as error:
        raise InputError(
            f"model.data.load gave values that cannot be told apart in column {name} ({error}): drop or convert it"
        ) from None
