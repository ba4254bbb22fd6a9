"""Behaviour checks catch models that break them and pass models that do not."""

import sys

import numpy as np
import pandas as pd
import pytest

from ci.errors import InputError
from ci.quality import behaviour

ROWS = pd.DataFrame({"x": np.linspace(0, 1, 500)})


def good(rows):
    return rows["x"].to_numpy() * 0.5


def forgetful_of_order(rows):
    return rows["x"].to_numpy() * 0.5 + np.arange(len(rows)) * 1e-3


def check(change, expect, tolerance=1e-6, **more):
    return {"name": "c", "change": change, "expect": expect, "tolerance": tolerance, "severity": "block", **more}


@pytest.mark.parametrize(
    ("model", "declared", "holds"),
    [
        (good, check(lambda rows: rows.iloc[::-1], "same"), True),
        (forgetful_of_order, check(lambda rows: rows.iloc[::-1], "same"), False),
        (good, check(lambda rows: rows, "same", batch=1), True),
        (forgetful_of_order, check(lambda rows: rows, "same", batch=1), False),
        (good, check(lambda rows: rows.assign(x=np.nan), "finite"), False),
        (lambda rows: rows["x"].fillna(0).to_numpy(), check(lambda rows: rows.assign(x=np.nan), "finite"), True),
        (good, check(lambda rows: rows + 1, "not less"), True),
        (good, check(lambda rows: rows - 1, "not less"), False),
        (good, check(lambda rows: rows - 1, "not less", tolerance=0.6), True),
        (good, check(lambda rows: rows + 1, "not more"), False),
        (lambda rows: np.full(len(rows), np.nan), check(lambda rows: rows, "same"), False),
    ],
)
def test_each_expectation(model, declared, holds):
    assert behaviour.run([declared], model, ROWS)[0]["holds"] is holds


def test_a_check_declared_wrongly_is_named():
    with pytest.raises(InputError, match="check 'c': expect is one of"):
        behaviour.run([check(lambda rows: rows, "equal")], good, ROWS)


@pytest.mark.parametrize(("expect", "holds"), [("finite", True), ("same", False), ("not less", False)])
def test_predictions_that_were_no_numbers_before_matter_where_they_are_compared(expect, holds):
    def late(rows):
        return np.where(rows["x"] > 1, 0.5, np.nan)

    [found] = behaviour.run([check(lambda rows: rows + 2, expect)], late, ROWS)
    assert found["holds"] is holds
    assert found["measured"].startswith("0 predictions" if holds else "200 predictions are not finite")


def test_no_tolerance_is_one_too():
    [found] = behaviour.run([check(lambda rows: rows, "same", tolerance=0)], good, ROWS)
    assert found["holds"]


def test_a_check_without_a_name_is_named_by_its_place():
    with pytest.raises(InputError, match=r"^model/behaviour\.py: check 2: name is a text$"):
        behaviour.run([check(lambda rows: rows, "same"), {"change": good}], good, ROWS)


def broken(rows):
    raise KeyError("visib")


class WordlessError(Exception):
    def __str__(self):
        raise ValueError


def wordless(_):
    raise WordlessError


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("model", "declared", "measured"),
    [
        (good, check(broken, "same"), "it raised KeyError: 'visib'"),
        (good, check(lambda rows: rows.drop(columns="x"), "finite"), "it raised KeyError: 'x'"),
        (good, check(lambda _: None, "same"), "it raised TypeError: change returned NoneType, not a table"),
        (good, check(lambda rows: rows["x"], "same"), "it raised TypeError: change returned Series, not a table"),
        (good, check(lambda rows: pd.concat([rows, rows]), "same"), "it raised ValueError: cannot reindex on an axis"),
        (good, check(lambda rows: rows.head(150), "same"), "50 predictions are not finite"),
        (good, check(lambda rows: rows.head(0), "finite"), "200 predictions are not finite"),
        (good, check(lambda rows: rows.assign(x=np.inf), "not less"), "200 predictions are not finite"),
        (good, check(lambda rows: rows.assign(x=[np.nan] + [1.0] * 199), "not less"), "1 predictions are not finite"),
        (good, check(lambda _: 1 / 0, "not more"), "it raised ZeroDivisionError: division by zero"),
        (good, check(lambda _: sys.exit(0), "not more"), "it raised SystemExit: 0"),
        (good, check(wordless, "same"), "it raised WordlessError"),
    ],
)
def test_a_check_that_raises_or_gives_no_numbers_does_not_hold_and_says_so_by_name(model, declared, measured):
    [found] = behaviour.run([declared], model, ROWS)
    assert (found["name"], found["holds"]) == ("c", False)
    assert found["measured"].startswith(measured)
    assert "\n" not in found["measured"]


def test_a_check_that_raises_leaves_the_others_as_they_are():
    def spoils(rows):
        rows["x"] = np.nan
        raise RuntimeError("a\nlong\nstory")

    checks = [check(spoils, "same"), check(lambda rows: rows, "same")]
    first, second = behaviour.run(checks, good, ROWS)
    assert first["measured"] == "it raised RuntimeError: a long story"
    assert second["holds"]


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ({"tolerence": 0.1}, "there is no key tolerence"),
        ({"name": 5}, "name is a text"),
        ({"change": "x + 1"}, "change is a function"),
        ({"tolerance": float("nan")}, "tolerance is a number"),
        ({"tolerance": "small"}, "tolerance is a number"),
        ({"tolerance": float("inf")}, "tolerance is a number"),
        ({"tolerance": -0.1}, "tolerance is a number that is not negative"),
        ({"tolerance": True}, "tolerance is a number"),
        ({"batch": True}, "batch is a whole number"),
        ({"batch": 1.0}, "batch is a whole number"),
        ({"batch": 0}, "batch is a whole number"),
        ({"severity": "stop"}, "severity block or warn"),
    ],
)
def test_a_declaration_that_cannot_be_run_is_refused_before_any_check_runs(declared, problem):
    with pytest.raises(InputError, match=rf"^model/behaviour\.py: check .*: .*{problem}"):
        behaviour.run([check(broken, "same"), {**check(broken, "same"), **declared}], good, ROWS)
    for checks in (None, "x", {"name": "c"}, [None]):
        with pytest.raises(InputError, match=r"model/behaviour\.py: "):
            behaviour.run(checks, good, ROWS)


@pytest.mark.parametrize("wrong", [3, 250, 499])
def test_a_model_that_is_wrong_in_one_row_of_the_sample_is_found_wherever_it_is(wrong):
    """Early and late rows are looked at, and one row that moves counts however many do not."""
    places = np.linspace(0, len(ROWS) - 1, behaviour.SAMPLE).astype(int)
    value = ROWS["x"][places[np.argmin(np.abs(places - wrong))]]

    def once_wrong(rows):
        return np.where(rows["x"] == value + 1, 0.5, 0.0)

    [found] = behaviour.run([check(lambda rows: rows + 1, "same", tolerance=0.1)], once_wrong, ROWS)
    assert not found["holds"]
    assert found["measured"].startswith("largest change 0.5")


@pytest.mark.parametrize(("expect", "sign"), [("not less", -1), ("not more", 1)])
def test_a_direction_is_judged_by_the_mean_of_all_rows_and_not_by_a_few_that_move_the_other_way(expect, sign):
    def mostly(rows):
        moved = np.where(np.arange(len(rows)) % 50 == 0, -5.0, 1.0) * sign
        return np.where(rows["x"] > 1, moved, 0.0)

    [found] = behaviour.run([check(lambda rows: rows + 2, expect, tolerance=0.5)], mostly, ROWS)
    assert not found["holds"]
    assert found["measured"] == f"mean prediction moved by {sign * 0.88:+.4f}, tolerated {sign * 0.5:g}"
