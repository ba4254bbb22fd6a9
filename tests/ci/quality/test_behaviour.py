"""Behaviour checks catch models that break them and pass models that do not."""

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
