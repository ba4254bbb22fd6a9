"""Parts of tasks with groups or without days: disjoint, stable, and of the shares that the settings name."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.data import split
from ci.rows import Rows
from ci.settings.building import Data
from ci.task import Field, Output, Task

OUTPUTS = (Output("y", "binary", ("y",)),)
ROWS = Task(OUTPUTS, None, {"x": Field("float32")}, ())
GROUPS = Task(OUTPUTS, None, {"x": Field("float32")}, (), group="g")


def table(rows: int = 4000, groups: int = 300) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {"x": random.normal(size=rows), "y": random.integers(0, 2, rows), "g": random.integers(0, groups, rows)}
    )


@pytest.mark.parametrize("wanted", [ROWS, GROUPS])
def test_every_row_is_in_one_part_and_the_shares_are_those_of_the_settings(wanted):
    rows, shares = table(), Data(holdout_share=0.3, validation_share=0.2, traffic_share=0.1)
    parts = split.by_hash(rows, shares, wanted)
    assert sorted(index for part in parts.values() for index in part.index) == list(rows.index)
    for name, share in (("holdout", 0.3), ("validation", 0.2), ("traffic", 0.1), ("train", 0.4)):
        assert len(parts[name]) / len(rows) == pytest.approx(share, abs=0.06)


def test_a_group_is_in_one_part_only():
    parts = split.by_hash(table(), Data(), GROUPS)
    seen = [set(part["g"]) for part in parts.values()]
    assert sum(map(len, seen)) == len(set.union(*seen))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3999), min_size=1, max_size=60, unique=True), st.sampled_from([ROWS, GROUPS]))
def test_a_row_stays_in_its_part_whatever_rows_come_or_go(kept, wanted):
    rows = table()
    whole = {index: part for part, found in split.by_hash(rows, Data(), wanted).items() for index in found.index}
    fewer = {i: part for part, found in split.by_hash(rows.loc[kept], Data(), wanted).items() for i in found.index}
    assert all(whole[index] == part for index, part in fewer.items())


def test_another_seed_is_another_holdout_and_the_model_says_so():
    one, other = Data(), Data(split_seed=1)
    holdouts = [set(split.by_hash(table(), each, ROWS)["holdout"].index) for each in (one, other)]
    assert holdouts[0] != holdouts[1]
    assert split.identity(one, ROWS) != split.identity(other, ROWS)
    assert split.identity(one, Task(OUTPUTS, "day", {"x": Field("float32")}, ())) == ""


def test_a_gap_in_a_column_of_whole_numbers_moves_no_other_row():
    wanted = Task(OUTPUTS, None, {"x": Field("float32"), "k": Field("int64"), "c": Field("string")}, ())
    whole = table().assign(x=lambda rows: rows.index % 50, k=lambda rows: rows.index, c="a")
    gaps = whole.assign(x=whole["x"].astype("float64"), k=whole["k"].astype("float64"), c=whole["c"].astype("category"))
    gaps["y"] = gaps["y"].astype("float64")
    gaps.loc[7, ["x", "y"]] = np.nan
    before, after = (
        {part: set(rows.index) - {7} for part, rows in split.by_hash(each, Data(), wanted).items()}
        for each in (whole, gaps)
    )
    assert before == after


def test_with_another_field_the_parts_are_others_and_the_model_says_so():
    more = Task(OUTPUTS, None, {"x": Field("float32"), "g": Field("int64")}, ())
    assert split.identity(Data(), ROWS) != split.identity(Data(), more)
    assert split.identity(Data(), GROUPS) == "hash of g, seed 0, shares 0.2 0.1 0.1"


def test_what_is_resampled_are_groups_or_as_many_blocks_of_rows():
    rows = table()
    assert set(split.units(Rows.of(rows), GROUPS)) == set(range(rows["g"].nunique()))
    assert split.units(Rows.of(rows), ROWS).max() < split.BLOCKS
    assert np.bincount(split.units(Rows.of(rows), ROWS)).min() >= 1
    days = rows.assign(day=pd.Timestamp("2024-01-01") + pd.to_timedelta(rows.index % 9, "D"))
    assert split.units(Rows.of(days), Task(OUTPUTS, "day", {"x": Field("float32")}, (), group="g")).max() == 8


def test_a_group_of_the_training_days_is_not_in_the_holdout(task):
    task.write("__init__.py", (task.folder / "model/__init__.py").read_text() + 'GROUP = "c"\n')

    def grouped(rows):
        return rows.assign(c=[f"g{row // 8}" if row < 270 else "g0" for row in range(len(rows))])

    code, said = task.prepare(change=grouped)
    assert code == 0, said
    parts = {
        name: pd.read_parquet(task.folder / f"build/data/{name}.parquet") for name in ("train", "validation", "holdout")
    }
    groups = [set(part["c"]) for part in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_groups_with_rows_on_all_days_leave_no_holdout_and_the_mend_is_said(task):
    task.write("__init__.py", (task.folder / "model/__init__.py").read_text() + 'GROUP = "c"\n')
    code, said = task.prepare(change=lambda rows: rows.assign(c=[f"g{row % 40}" for row in range(len(rows))]))
    assert (code, "leaves no labelled rows for holdout" in said) == (2, True), said
    assert "where each c has rows on most days, set TIME to None or leave GROUP out" in said


def test_a_task_without_days_is_prepared(task):
    text = (task.folder / "model/__init__.py").read_text()
    task.write("__init__.py", text.replace('TIME = "day"', "TIME = None"))
    code, said = task.prepare()
    assert (code, "prepare: as of 2024-02-20: train" in said) == (0, True), said


def test_a_group_that_is_everything_is_named(task):
    text = (task.folder / "model/__init__.py").read_text()
    task.write("__init__.py", text.replace('TIME = "day"', "TIME = None") + 'GROUP = "c"\n')
    code, said = task.prepare(change=lambda rows: rows.assign(c="one"))
    assert code == 2
    assert "no labelled rows are left for" in said
    assert "the largest c, one, has 280 of 280 rows" in said
