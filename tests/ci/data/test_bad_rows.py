"""Rows that nothing can be learned from are refused by file, column and rows, or counted where that is no fault."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests import tasks

CLASSES = tasks.INIT.replace('"binary"', '"multiclass"') + 'CLASSES = ("a", "b", "c", "d")\n'
WEIGHTED = tasks.INIT + 'WEIGHT = "w"\n'
VECTOR = tasks.INIT.replace('"x": "float32"', '"v": ("float32", (2,))')
DECLARES = "do not hold what model/__init__.py declares:\n  column"
HOLDOUT = slice(160, 200)
"""Rows of the last ten days before as_of."""


def listed(rows, at=None):
    values = [[1.0, 2.0]] * len(rows)
    if at is not None:
        values[at] = [1.0, 2.0, 3.0]
    return rows.assign(v=values)


@pytest.mark.parametrize(
    ("init", "change", "words"),
    [
        (
            CLASSES,
            lambda rows: rows.assign(y=rows["c"].replace("c", "z")),
            "y: declared as TARGET of a multiclass task",
        ),
        (VECTOR, lambda rows: listed(rows, at=7), "v: declared as float32 of shape (2,) in FEATURES: lists of shape"),
        (WEIGHTED, lambda rows: rows.assign(w=-1.0), "w: declared as WEIGHT: finite numbers of 0 or more, none"),
        (WEIGHTED, lambda rows: rows.assign(w=np.nan), "w: declared as WEIGHT: finite numbers of 0 or more, none"),
        (tasks.INIT, lambda rows: rows.assign(y=np.inf), "y: declared as TARGET of a binary task: 0 for no, 1 for yes"),
    ],
    ids=["another class", "a longer list", "negative weights", "missing weights", "an infinite target"],
)
def test_a_column_that_holds_something_else_is_named_with_its_rows(task, init, change, words):
    task.write("__init__.py", init)
    code, said = task.prepare(change=change)
    assert (code, f"{DECLARES} {words}" in said, "mend the data in model/data.py" in said) == (2, True, True), said


def test_a_part_whose_rows_all_weigh_nothing_is_named(task):
    task.write("__init__.py", WEIGHTED)
    code, said = task.prepare(change=lambda rows: rows.assign(w=(rows.index < HOLDOUT.start).astype(float)))
    assert (code, "column w: declared as WEIGHT: every row of holdout weighs 0" in said) == (2, True), said


@pytest.mark.parametrize(
    ("every", "code", "words"),
    [
        (4, 0, "280 rows, 70 of them without a label and left out"),
        (1, 2, "leaves no labelled rows for train; choose another as_of"),
    ],
)
def test_targets_that_are_missing_are_counted_and_left_out(task, every, code, words):
    found, said = task.prepare(change=lambda rows: rows.assign(y=rows["y"].mask(rows.index % every == 0)))
    assert (found, words in said) == (code, True), said


@pytest.mark.parametrize(
    ("init", "change", "note"),
    [
        (CLASSES, lambda rows: rows.assign(y=rows["c"]), "no row of train has the y d: nothing is learned about it"),
        (
            tasks.INIT,
            lambda rows: rows.assign(y=rows["y"].where(~rows.index.isin(range(200)[HOLDOUT]), 1)),
            "no row of holdout has the y 0: nothing is judged about it",
        ),
    ],
    ids=["a class that does not occur", "one class in a part"],
)
def test_classes_that_a_part_lacks_are_noted(task, init, change, note):
    task.write("__init__.py", init)
    code, said = task.prepare(change=change)
    assert code == 0, said
    assert note in json.loads(Path("build/data/summary.json").read_text())["notes"]
    assert note in said
