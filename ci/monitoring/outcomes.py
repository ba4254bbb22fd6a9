"""Tables of outcomes, as they arrive: .csv, .jsonl or .parquet, alone or many in a folder.

A row that cannot be used is left out, counted and named, and the others are joined: one bad row must not stop who
watches. A file that is no such table is an error.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ci import reading
from ci.errors import InputError
from ci.monitoring.windows import SKEW
from ci.task import Output
from ci.task.columns import target_rule

_MOST = 2**30
"""Bytes of a file of JSON lines."""
_SKIPPED = re.compile(r"Skipping line (\d+): (.+)")
"""What pandas says of a row with too many values; the header is line 1."""
_MOMENTS = ("now", "today")
"""What pandas takes for the time at which it reads them."""
_WORDS = {"true": True, "false": False}
"""What a text in a .csv says, in small letters, if it is no name of a class."""
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outcomes:
    """What arrived.

    Attributes:
        table: the rows that can be used, with keys, targets, and the time when each became known.
        unusable: in words, each that cannot.
    """

    table: pd.DataFrame
    unusable: list[str]


@dataclass(frozen=True)
class _Rows:
    """What a file holds.

    Attributes:
        table: its rows; the index has their numbers in the file, from 1.
        wrong: by number, why a row could not be read.
    """

    table: pd.DataFrame
    wrong: dict[int, str]


def there(path: Path) -> bool:
    """Tell whether there is a table of outcomes, or a folder with one."""
    return any(each.suffix in _READ for each in path.iterdir()) if path.is_dir() else path.exists()


def read(
    path: Path,
    needed: Sequence[str],
    known: str,
    texts: Sequence[str] = (),
    outputs: Sequence[Output] = (),
    now: datetime | None = None,
) -> Outcomes:
    """Return the outcomes in a table, or in all tables of a folder.

    A row cannot be used if it cannot be read, has no time or one that is still to come, or has a target that no build
    could learn from.

    Args:
        path: of the table or folder.
        needed: its columns with keys and targets.
        known: its column with the time when each became known.
        texts: columns that hold texts, though they may look like numbers: ids.
        outputs: whose targets are judged.
        now: the time, if what is known later is refused.

    Raises:
        InputError: a column has two meanings, there is no table, one cannot be read or lacks a column, or no row can
            be used.
    """
    columns = [*needed, known]
    if twice := [name for name in columns if columns.count(name) > 1]:
        raise InputError(f"labels: {twice[0]} is two columns of outcomes: see labels.id, labels.key and labels.known")
    files = sorted(each for each in path.iterdir() if each.suffix in _READ) if path.is_dir() else [path]
    if not path.exists() or not files:
        raise InputError(f"{path}: there are no outcomes: name a .csv, .jsonl or .parquet, or a folder of such")
    read = [_table(each, needed, known, texts, outputs, now) for each in files]
    table = pd.concat([each.table for each in read], ignore_index=True)
    unusable = [problem for each in read for problem in each.unusable]
    if unusable and table.empty:
        raise InputError(f"{unusable[0]}; no other row can be used")
    return Outcomes(table, unusable)


def _table(
    path: Path,
    needed: Sequence[str],
    known: str,
    texts: Sequence[str],
    outputs: Sequence[Output],
    now: datetime | None,
) -> Outcomes:
    if path.suffix not in _READ:
        raise InputError(f"{path}: outcomes are a .csv, .jsonl or .parquet")
    if not (path.is_file() or path.is_dir()):  # a pipe might never end
        raise InputError(f"{path}: this is no plain file")
    try:
        found = _READ[path.suffix](path, texts, outputs)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: it cannot be read: {str(error).splitlines()[0]}") from None
    if path.suffix == ".jsonl" and found.table.empty:  # each row has its columns: without rows none is lacking
        return Outcomes(found.table.reindex(columns=[*needed, known]), [])
    if missing := [name for name in [*needed, known] if name not in found.table]:
        raise InputError(f"{path}: no column {', '.join(missing)}: see labels.id, labels.key and labels.known")
    table, wrong = found.table[[*needed, known]], dict(found.wrong)
    times = _times(table[known])
    for number, value in _at(table[known], times.isna().to_numpy(dtype=bool)):
        shown = "" if pd.isna(value) is True else value  # of a list it is an array
        wrong.setdefault(number, f"{known}: {shown!r:.40} is no time, such as 2024-03-01T12:00:00Z")
    if now is not None:
        for number, value in _at(table[known], (times > pd.Timestamp(now + SKEW)).to_numpy(dtype=bool)):
            wrong.setdefault(number, f"{known}: {str(value)!r:.40} is still to come: give when it became known")
    columns = {}
    for output in outputs:
        for name in output.target:
            columns[name], odd = _judged(table[name], output, csv=path.suffix == ".csv")
            for number, value in _at(table[name], odd):
                what = f"is no target of a {output.kind} task: give {target_rule(output).holds}"
                wrong.setdefault(number, f"{name}: {str(value)!r:.40} {what}")
    usable = table.assign(**columns, **{known: times})[~table.index.isin([*wrong])]
    return Outcomes(usable.infer_objects(), [f"{path}: row {number}: {wrong[number]}" for number in sorted(wrong)])


def _times(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return when outcomes became known, in UTC; what is no time is missing."""
    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        column = column.map(lambda value: None if _no_moment(value) else value)
    return pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")


def _no_moment(value: Any) -> bool:
    return isinstance(value, Number) or (isinstance(value, str) and value in _MOMENTS)


def _at(column: "pd.Series[Any]", rows: Mask) -> Iterator[tuple[int, Any]]:
    """Yield the numbers of some rows with their values in a column."""
    found = column[rows]
    return zip(map(int, found.index.to_numpy()), found, strict=True)


def _judged(column: "pd.Series[Any]", output: Output, *, csv: bool) -> tuple["pd.Series[Any]", Mask]:
    """Return a column of targets as what its values are, and the rows whose target no build could learn from."""
    rule = target_rule(output)
    if csv and rule.number is not None and not pd.api.types.is_numeric_dtype(column):
        numbers = pd.to_numeric(column, errors="coerce")  # one that is none has made texts of all others
        column = column.astype(object).where(numbers.isna(), numbers)
    return column, rule.wrong(column)


def _named(names: Sequence[str]) -> Callable[[str], Any]:
    """Return how a text in a .csv is read as a class: as a name if it is one, whatever it looks like, such as `01`."""

    def found(text: str) -> Any:
        if text in names:
            return text
        if text.lower() in _WORDS:
            return _WORDS[text.lower()]
        try:
            return float(text)
        except ValueError:
            return text

    return found


def _csv(path: Path, texts: Sequence[str], outputs: Sequence[Output]) -> _Rows:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", pd.errors.ParserWarning)
        table = pd.read_csv(
            path,
            dtype=dict.fromkeys(texts, str),
            converters={
                name: _named(each.classes) for each in outputs if each.kind == "multiclass" for name in each.target
            },
            encoding_errors="replace",
            index_col=False,  # else a first row with a value too many would give each column the values of the next
            on_bad_lines="warn",
            skip_blank_lines=False,  # they count in what it says of a line
        )
    problems = [found for each in said for found in _SKIPPED.findall(str(each.message))]
    wrong = {int(line) - 1: problem for line, problem in problems}
    numbers = np.setdiff1d(np.arange(1, len(table) + len(wrong) + 1), [*wrong])
    return _Rows(table.set_axis(numbers, axis=0).dropna(how="all"), wrong)


def _jsonl(path: Path, *_: Any) -> _Rows:
    kept: dict[int, dict[str, Any]] = {}
    wrong: dict[int, str] = {}
    for number, line in enumerate(reading.content(path, _MOST).splitlines(), 1):
        try:
            if not line.strip():
                continue
            if isinstance(found := reading.json(line, path), dict):
                kept[number] = found
            else:
                wrong[number] = "this is no JSON object"
        except reading.ReadError as error:
            wrong[number] = error.problem
    if wrong and not kept:
        raise ValueError(f"row {min(wrong)}: {wrong[min(wrong)]}")
    return _Rows(pd.DataFrame([*kept.values()], index=[*kept]), wrong)


def _parquet(path: Path, *_: Any) -> _Rows:
    table = pd.read_parquet(path)
    return _Rows(table.set_axis(np.arange(1, len(table) + 1), axis=0), {})


_READ: dict[str, Callable[[Path, Sequence[str], Sequence[Output]], _Rows]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
