"""From the task's rows to a file for each part: checked, divided and counted, some rows at a time if they are many."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pyarrow.parquet as pq

from ci import task
from ci.data import outcome, quality, source, split
from ci.data.files import Files
from ci.data.source import Source
from ci.data.tally import Tally, largest_group
from ci.data.windows import PARTS, Windows, windows
from ci.errors import InputError
from ci.results.data import Part
from ci.rows import Writer, stored
from ci.settings import Settings
from ci.task import columns


@dataclass(frozen=True)
class Divided:
    """What is to be said of the data once they are divided into files of parts.

    Attributes:
        tallies: counts by part.
        known: the schema's outcome on the rows that are learned from or judged.
        notes: what was changed or left out, in sentences.
        read: rows that the source has.
        unlabelled: rows of the source without a label.
        placed: which days are for what; None for a task without days.
        parts: whether the source came as several tables.
    """

    tallies: Mapping[Part, Tally]
    known: outcome.Outcome
    notes: list[str]
    read: int
    unlabelled: int
    placed: Windows | None
    parts: bool


def divide(
    settings: Settings, wanted: task.Task, schema: pa.DataFrameSchema, folder: Path, tables: int | None = None
) -> Divided:
    """Write the labelled rows of each part into a file (of traffic all rows), and return what is to be said of them.

    Args:
        settings: where the data are, and how they are divided.
        wanted: the task.
        schema: the task's.
        folder: where to write `PART.parquet`.
        tables: of a Parquet data set, read about so many of its tables; None: all.

    Raises:
        InputError: as of `prepare`.
    """
    found = source.read(settings.source, wanted, schema)
    found = found if tables is None else found.few(tables)
    divided = _Dividing(settings, wanted, schema, found).run(folder)
    _require_rows(divided, settings, wanted)
    return divided


class _Dividing:
    """Goes through the tables of a source and writes their rows into the files of parts."""

    def __init__(self, settings: Settings, wanted: task.Task, schema: pa.DataFrameSchema, rows: Source) -> None:
        self.settings, self.wanted, self.schema, self.source = settings, wanted, schema, rows
        self.undated: list[outcome.Outcome] = []
        self.known: list[outcome.Outcome] = []
        self.to_come: list[outcome.Outcome] = []
        self.files = Files(settings, wanted)
        self.tallies = {part: Tally(wanted) for part in PARTS}
        self.read = self.unlabelled = 0
        self.groups: set[Any] = set()
        """Groups of the training window: a holdout row of one of them is left out."""

    def run(self, folder: Path) -> Divided:
        placed = None if self.wanted.time is None else self._place()
        grouped = placed is not None and self.wanted.group is not None
        later = folder / "holdout with known groups.parquet"
        writers = {part: Writer(folder / f"{part}.parquet") for part in PARTS}
        waiting = Writer(later)
        try:
            for table in self.source:
                for part, rows in self._divided(table, placed).items():
                    if grouped and part == "holdout":
                        _store(rows, waiting)
                        continue
                    if grouped and part in ("train", "validation"):
                        self.groups.update(rows[self.wanted.group].unique())
                    self._write(part, rows, writers[part])
            self._require_schema()
            waiting.close()
            notes = self._unknown(later, writers["holdout"]) if grouped else []
        finally:
            for writer in (*writers.values(), waiting):
                writer.close()
            later.unlink(missing_ok=True)
        known = outcome.merged(self.known, self.schema)
        changes = [
            change for change in outcome.merged(self.undated, self.schema).changes if change.startswith("dropped")
        ]
        said = [f"the schema {change}" for change in (changes if placed else []) + known.changes]
        coming = outcome.merged(self.to_come, self.schema).changes
        said += [f"the schema, in the days from as_of on, {change}" for change in coming]
        notes = [*said, *notes, *self.files.told()]
        return Divided(self.tallies, known, notes, self.read, self.unlabelled, placed, self.source.parts)

    def _place(self) -> Windows:
        """Return which days are for what, by all days that the source has."""
        days: set[date] = set()
        for times in self.source.only([str(self.wanted.time)]):
            shaped = quality.shaped(times, self.schema)
            self.undated.append(shaped.outcome)
            days.update(self._days_of(shaped))
        return windows(sorted(days), self.settings.as_of, self.settings.data)

    def _days_of(self, times: quality.Applied) -> "pd.Series[date]":
        """Return each row's day.

        Raises:
            InputError: a row has none.
        """
        if problems := columns.problems(times.table, self.wanted, only=self.wanted.time):
            raise _misfit(self.settings.source, [*problems, *map(str, times.violations)])
        days: pd.Series[date] = times.table[self.wanted.time].dt.date
        return days

    def _divided(self, table: pd.DataFrame, placed: Windows | None) -> dict[Part, pd.DataFrame]:
        """Return a table's rows by part, unlabelled ones too."""
        self.read += len(table)
        if placed is not None:
            return self._by_day(table, placed)
        if self.settings.as_of == "latest":
            raise InputError(
                "as_of: latest is the day after the data, and the task has no TIME: name a date; it becomes part of "
                "the model's version"
            )
        known = quality.apply(table, self.schema)
        self.known.append(known.outcome)
        fitting = self._fitting(known.table, self._where(table))
        self.unlabelled += int((~columns.labelled(table, self.wanted)).sum())
        return split.by_hash(fitting, self.settings.data, self.wanted)

    def _by_day(self, table: pd.DataFrame, placed: Windows) -> dict[Part, pd.DataFrame]:
        """Divide a table whose rows have days.

        The schema is checked on the days before `as_of`, because later days are not known yet. It is applied to both
        parts, each separately: a default that a parser computes from the data must not come from later days.
        """
        wanted, time = self.wanted, str(self.wanted.time)
        days = self._days_of(quality.shaped(table[[time]], self.schema))
        table = table.loc[days.index]
        self.unlabelled += int((~columns.labelled(table, wanted)).sum())
        past = table[(days >= placed.training) & (days < placed.as_of)]
        coming = table[(days >= placed.as_of) & (days < placed.end)]
        parts: dict[Part, pd.DataFrame] = {}
        crossed = 0
        if len(past) or not self.source.parts:
            known = quality.apply(past, self.schema)
            self.known.append(known.outcome)
            before = self._fitting(known.table, f" in the days before {placed.as_of}{self._where(table)}")
            crossed += (before[time].dt.date >= placed.as_of).sum()
            parts |= split.by_day(before, placed, wanted)
        if len(coming):
            to_come = quality.apply(coming, self.schema)
            self.to_come.append(to_come.outcome)
            where = f" in the days from {placed.as_of}{self._where(table)}"
            after = self._fitting(to_come.table, where, learned=False)
            crossed += (after[time].dt.date < placed.as_of).sum()
            parts["traffic"] = split.by_day(after, placed, wanted)["traffic"]
        if crossed:  # judged or not by the day before the schema: they would be lost, or known too early
            raise InputError(
                f"model/schema.py: the schema takes {crossed} rows over {placed.as_of}, which is as_of, after it was "
                f"seen which days are known: change {time} by a parser of that column, or in model/data.py"
            )
        return parts

    def _where(self, table: pd.DataFrame) -> str:
        """Return in words which rows a table of many has."""
        return f" (rows {table.index[0]} to {table.index[-1]})" if self.source.parts and len(table) else ""

    def _fitting(self, table: pd.DataFrame, where: str, *, learned: bool = True) -> pd.DataFrame:
        """Return a table that the schema has made with each column in its declared type.

        `learned` says whether the rows are to be learned or judged, see `columns.problems`.

        Raises:
            InputError: one of these does not; the message names the column, the rule, and the rows that are wrong.
        """
        _require_columns(table, self.wanted)
        column = any(each.fatal and each.share is None for each in self.known[-1].violations) if learned else False
        if learned and (column or not self.source.parts):
            self._require_schema()
        if problems := columns.problems(table, self.wanted, learned=learned):
            self._require_schema()
            raise _misfit(self.settings.source, problems, where)
        return columns.stored(table, self.wanted)

    def _require_schema(self) -> None:
        """Check that the rows so far hold what the schema says, up to the shares that it tolerates.

        Raises:
            InputError: they do not.
        """
        found = outcome.merged(self.known, self.schema)
        if fatal := [violation for violation in found.violations if violation.fatal]:
            lines = "\n  ".join(map(str, fatal))
            raise InputError(
                f"{source.name(self.settings.source)}: the data violate the schema in model/schema.py:\n  {lines}\n"
                "mend the data, or the schema if it is wrong"
            )

    def _write(self, part: Part, rows: pd.DataFrame, writer: Writer) -> None:
        """Write what is kept of a part's rows."""
        tally = self.tallies[part]
        tally.meet(rows)
        kept = rows if part == "traffic" else rows[columns.labelled(rows, self.wanted)]
        kept = self.files.readable(kept.reset_index(drop=True))
        tally.keep(kept)
        _store(kept, writer)

    def _unknown(self, path: Path, writer: Writer) -> list[str]:
        """Write the holdout's rows whose group is not in the training window, and say how many were left out."""
        left = 0
        if not path.exists():
            return []
        with pq.ParquetFile(path) as file:
            for rows in stored(file):
                known = rows[self.wanted.group].isin(self.groups)
                left += int(known.sum())
                self._write("holdout", rows[~known], writer)
        words = f"left out: {left} rows of the holdout, whose {self.wanted.group} is in training days, too"
        return [words] if left else []


def _require_rows(divided: Divided, settings: Settings, wanted: task.Task) -> None:
    """Check that each part that is learned from or judged has labelled rows, and rows with a weight.

    Raises:
        InputError: one has none.
    """
    learned: tuple[Part, ...] = ("train", "validation", "holdout")
    for part in learned:
        if not divided.tallies[part].rows:
            dropped = "".join(f"; the schema {each}" for each in divided.known.changes if each.startswith("dropped"))
            dropped += "".join(f"; {each}" for each in divided.notes if each.startswith("left out"))
            if wanted.group is not None:
                dropped += f"; {largest_group(divided.tallies, wanted.group)}"
            if part == "holdout" and wanted.group is not None and wanted.time is not None:
                dropped += f"; where each {wanted.group} has rows on most days, set TIME to None or leave GROUP out"
            if divided.placed is None:
                share = f"data.{'holdout' if part == 'holdout' else 'validation'}_share"
                raise InputError(f"{share}: no labelled rows are left for {part}; choose another share{dropped}")
            raise InputError(
                f"as_of: {divided.placed.as_of} leaves no labelled rows for {part}; choose another as_of{dropped}"
            )
        if wanted.weight is not None and not divided.tallies[part].weighs:
            raise InputError(
                f"{source.name(settings.source)}: column {wanted.weight}: declared as WEIGHT: every row of {part} "
                "weighs 0"
            )


def _misfit(path: Path | None, problems: list[str], where: str = "") -> InputError:
    lines = "\n  ".join(problems)
    return InputError(
        f"{source.name(path)}: columns{where} do not hold what model/__init__.py declares:\n  {lines}\n"
        "mend the data in model/data.py, or the declaration if it is wrong"
    )


def _store(rows: pd.DataFrame, writer: Writer) -> None:
    try:
        writer.write(rows)
    except (ValueError, TypeError, NotImplementedError, OverflowError) as error:  # what pyarrow raises is one of them
        raise InputError(
            f"model.data.load gave values that cannot be stored: {task.in_words(error)}: drop or convert the column"
        ) from None


def _require_columns(table: pd.DataFrame, wanted: task.Task) -> None:
    """Check that the table has what the task declares.

    Raises:
        InputError: a column is missing; the message names the declaration.
    """
    declared = {
        "TIME": [wanted.time],
        "TARGET": wanted.targets,
        "FEATURES": wanted.features,
        "SLICES": wanted.slices,
        "GROUP": [wanted.group],
        "WEIGHT": [wanted.weight],
    }
    for name, found in declared.items():
        names = [column for column in found if column is not None]
        if missing := [column for column in names if list(table.columns).count(column) != 1]:
            raise InputError(f"model/__init__.py: {name} names {', '.join(missing)}: no such column in the data")
