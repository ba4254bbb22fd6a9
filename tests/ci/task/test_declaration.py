"""What a task may declare beyond one number from plain columns, and what is refused before any work is done."""

import numpy as np
import pandas as pd
import pytest

from ci import task as declarations
from ci.errors import InputError
from ci.task import Field, Output, columns, declaration, values

BASE = {"KIND": '"binary"', "TARGET": '"y"', "TIME": '"day"', "FEATURES": '{"x": "float32"}', "SLICES": "()"}


def declare(task, **changes):
    """Write a declaration; None leaves a name out."""
    names = {**BASE, **changes}
    lines = (f"{name} = {value}\n" for name, value in names.items() if value is not None)
    task.write("__init__.py", "def f(y_true, y_pred, *, sample_weight):\n    return 0.0\n\n\n" + "".join(lines))
    task.forget()


@pytest.mark.parametrize(
    ("changes", "outputs"),
    [
        ({}, [Output("y", "binary", ("y",))]),
        ({"CLASSES": '("no", "yes")'}, [Output("y", "binary", ("y",), ("no", "yes"))]),
        ({"KIND": '"multiclass"', "CLASSES": "range(3)"}, None),
        ({"KIND": '"multiclass"', "CLASSES": "(0, 1, 2)"}, [Output("y", "multiclass", ("y",), ("0", "1", "2"))]),
        (
            {"KIND": '"multilabel"', "TARGET": '("a", "b")'},
            [Output("a_and_more", "multilabel", ("a", "b"), ("a", "b"))],
        ),
        (
            {"KIND": '"regression"', "TARGET": '["a", "b"]'},
            [Output("a_and_more", "regression", ("a", "b"), ("a", "b"))],
        ),
        (
            {
                "KIND": None,
                "TARGET": None,
                "OUTPUTS": '{"rain": {"kind": "binary", "target": "wet"}, '
                '"wind": {"kind": "regression", "target": "w"}}',
            },
            [Output("rain", "binary", ("wet",)), Output("wind", "regression", ("w",))],
        ),
    ],
)
def test_outputs(task, changes, outputs):
    declare(task, **changes)
    if outputs is None:
        with pytest.raises(InputError, match="CLASSES is range"):
            declarations.load()
    else:
        assert list(declarations.load().outputs) == outputs


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"KIND": '"multiclass"'}, "CLASSES is missing: a multiclass output needs the names of its classes"),
        ({"KIND": '"multiclass"', "CLASSES": '("a", "a")'}, "CLASSES holds a more than once"),
        ({"KIND": '"multiclass"', "CLASSES": '("a", 1.5)'}, "CLASSES holds 1.5: a class has a name or a whole number"),
        ({"CLASSES": '("a", "b", "c")'}, "CLASSES holds 3 names, expected 2"),
        ({"KIND": '"regression"', "CLASSES": '("a", "b")'}, "CLASSES: one number has no classes"),
        ({"CLASS_WEIGHT": '{"2": 1.0}'}, "CLASS_WEIGHT names '2': the classes are 0, 1"),
        ({"CLASS_WEIGHT": '{"1": 0}'}, "CLASS_WEIGHT['1']: expected a number above 0"),
        ({"CLASS_WEIGHT": '{"1": 10**5000}'}, "CLASS_WEIGHT['1']: expected a number above 0"),
        ({"CLASS_WEIGHT": '{"1": float("nan")}'}, "CLASS_WEIGHT['1']: expected a number above 0, 1e+06 at most"),
        ({"KIND": '"regression"', "CLASS_WEIGHT": '{"1": 2}'}, "CLASS_WEIGHT: only binary and multiclass"),
        ({"OUTPUTS": '{"a": {"kind": "binary", "target": "y"}}'}, "KIND and OUTPUTS both say what is predicted"),
        ({"KIND": None, "TARGET": None, "OUTPUTS": "{}"}, "OUTPUTS is {}: expected names of outputs"),
        ({"KIND": None, "TARGET": None, "OUTPUTS": '{"a": "binary"}'}, "OUTPUTS['a'] is 'binary': expected a dict"),
        (
            {"KIND": None, "TARGET": None, "OUTPUTS": '{"a": {"kind": "binary", "target": "y", "loss": 1}}'},
            "OUTPUTS['a'] has no key loss",
        ),
        (
            {"KIND": None, "TARGET": None, "OUTPUTS": '{"a b": {"kind": "binary", "target": "y"}}'},
            "OUTPUTS holds 'a b': TensorFlow cannot save",
        ),
        ({"TARGET": '("y", "y")', "KIND": '"regression"'}, "TARGET names a column twice"),
        ({"FEATURES": '{"petal length (cm)": "float32"}'}, "call the column 'petal_length_cm' in model/data.py"),
        ({"FEATURES": '{"größe": "float32"}'}, "FEATURES holds 'größe': TensorFlow cannot save"),
        ({"FEATURES": '{"class": "float32"}'}, "call the column 'x_class'"),
        ({"FEATURES": '{"self": "float32"}'}, "FEATURES holds 'self'"),
        ({"FEATURES": '{"1st": "float32"}'}, "call the column 'x_1st'"),
        ({"FEATURES": '{"x": "float32", "X": "float32"}'}, "FEATURES holds x and X: TensorFlow takes them for one"),
        ({"FEATURES": '{"x": ("float32", (0,))}'}, "a shape is a tuple of lengths from 1 on"),
        ({"FEATURES": '{"x": ("float32", (2, None))}'}, "of which the first may be None"),
        ({"FEATURES": '{"x": ("bytes", (2,))}'}, "a file has no shape"),
        ({"FEATURES": '{"x": ("int64", (None,))}'}, "rows of different lengths are 'float32'"),
        ({"FEATURES": '{"x": ("float32", (2000, 2000))}'}, "a field has 1048576 values at most"),
        ({"GROUP": '"y"'}, "TARGET and GROUP are both y"),
        ({"WEIGHT": '"x"'}, "FEATURES holds x, which is WEIGHT"),
        ({"SUMMARIES": "[f]"}, "SUMMARIES is [<function f"),
        ({"SUMMARIES": '{"x": {"field": "x", "function": f}}'}, "SUMMARIES['x']: a field has this name"),
        ({"SUMMARIES": '{"x (mean)": {"field": "x", "function": f}}'}, "SUMMARIES['x (mean)']: a field has this name"),
        ({"SUMMARIES": '{"s": {"field": "x"}}'}, "SUMMARIES['s']: expected a dict with field and function"),
        ({"SUMMARIES": '{"s": {"field": "z", "function": f}}'}, "SUMMARIES['s']: there is no field 'z'"),
        ({"METRICS": '{"m": f}'}, "METRICS['m']: expected a dict with a function"),
        ({"METRICS": '{"m": {"function": f}}'}, "METRICS['m']: greater_is_better is True or False"),
        (
            {"METRICS": '{"m": {"function": f, "greater_is_better": True, "output": "z"}}'},
            "METRICS['m']: there is no output 'z'",
        ),
        (
            {"METRICS": '{"m": {"function": f, "greater_is_better": True, "output": ["y"]}}'},
            "METRICS['m']: there is no output ['y']",
        ),
        (
            {
                "KIND": '"regression"',
                "METRICS": '{"m": {"function": f, "greater_is_better": True, "response": "label"}}',
            },
            "METRICS['m']: response is 'label': a number has none",
        ),
        (
            {"METRICS": '{"log_loss": {"function": f, "greater_is_better": True}}'},
            "METRICS['log_loss']: a built-in metric has this name",
        ),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused_before_anything_is_read(task, changes, words):
    declare(task, **changes)
    code, said = task.prepare()
    assert code == 2
    assert said.startswith("bad input: model/__init__.py: ")
    assert words in said


def test_a_metric_that_the_task_does_not_have_is_refused_by_configure(task):
    (task.folder / "pipeline.yaml").write_text(
        (task.folder / "pipeline.yaml").read_text() + "gates: {primary: auk, limits: {}}\n"
    )
    code, said = task.prepare()
    assert (code, "gates.primary: a binary task has no metric auk, only auc, log_loss" in said) == (2, True)


@pytest.mark.parametrize(
    ("output", "column", "expected"),
    [
        (Output("y", "multiclass", ("y",), ("a", "b")), ["b", "a", "b"], [1, 0, 1]),
        (Output("y", "multiclass", ("y",), ("3", "7")), [7, 3, 7.0], [1, 0, 1]),
        (Output("y", "binary", ("y",), ("dry", "wet")), ["wet", 0, 1], [1, 0, 1]),
        (Output("y", "binary", ("y",)), [True, False, 1.0], [1, 0, 1]),
        (Output("y", "regression", ("y",)), [1.5, 2, -3], [1.5, 2, -3]),
    ],
)
def test_outcomes_are_numbers_in_the_order_of_the_classes(output, column, expected):
    table = pd.DataFrame({"y": pd.Series(column, dtype=object)})
    assert not columns.target_rule(output).wrong(table["y"]).any()
    assert columns.outcomes(table, output).tolist() == expected


@pytest.mark.parametrize(
    ("weights", "wrong"),
    [
        ([0, 2.5, 1e38], [False, False, False]),
        ([-1.0, None, 1.0], [True, True, False]),
        ([float("inf"), float("nan")], [True, True]),
        (["1", "2"], [True, True]),
        ([pd.Timestamp("2024-01-01"), pd.NaT], [True, True]),
        ([True, False], [False, False]),
    ],
)
def test_a_weight_is_a_number_that_is_not_negative(weights, wrong):
    assert columns.WEIGHT.wrong(pd.Series(weights)).tolist() == wrong
    assert columns.WEIGHT.wrong(pd.Series(weights, dtype=object)).tolist() == wrong


@pytest.mark.parametrize(
    ("field", "value", "fits"),
    [
        (Field("float32", (2,)), [1.0, float("nan")], True),
        (Field("float32", (2,)), [1.0, 2.0, 3.0], False),
        (Field("float32", (2,)), np.array([1, 2]), True),
        (Field("float32", (2,)), 1.0, False),
        (Field("float32", (2,)), None, False),
        (Field("float32", (2,)), [1.0, 1e39], False),
        (Field("float32", (2, 1)), [[1], [2]], True),
        (Field("float32", (2, 1)), [[1], [2, 3]], False),
        (Field("float32", (None,)), [], True),
        (Field("float32", (None,)), [1.0] * 9, True),
        (Field("string", (None,)), ["a", "b"], True),
        (Field("string", (2,)), ["a", 1], False),
        (Field("int64", (2,)), [1, 2.5], False),
    ],
)
def test_a_list_holds_what_is_declared_in_its_shape(field, value, fits):
    column = pd.Series([None], dtype=object)
    column[0] = value
    assert columns.field_rule(field).wrong(column).tolist() == [not fits]


def test_lists_come_back_from_a_file_as_they_were(tmp_path):
    features = {"a": Field("float32", (2, 2)), "b": Field("float32", (None,)), "c": Field("string", (None,))}
    table = pd.DataFrame({"a": [np.eye(2), [[1, 2], [3, 4]]], "b": [[1.0], [2.0, 3.0]], "c": [["x"], []], "y": [0, 1]})
    wanted = declarations.Task((Output("y", "binary", ("y",)),), None, features, ())
    columns.stored(table, wanted).to_parquet(tmp_path / "t.parquet")
    again = pd.read_parquet(tmp_path / "t.parquet")
    assert not columns.problems(again, wanted)
    found = values.arrays(again, features)
    assert found["a"].tolist() == [[[1, 0], [0, 1]], [[1, 2], [3, 4]]]
    assert np.isnan(found["b"][0, 1])
    assert found["b"][1].tolist() == [2.0, 3.0]
    assert found["c"].tolist() == [["x"], [""]] or found["c"].tolist() == [["x"], []]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("KIND", "SUMMARY", "GROUPS"), [("SUMMARY", "SUMMARIES"), ("GROUPS", "GROUP")]),
        (("CLASS_WEIGHTS", "METRIC"), [("CLASS_WEIGHTS", "CLASS_WEIGHT"), ("METRIC", "METRICS")]),
        (("GROUP", "GROUPS", "WORDS", "weight", "SLICES", "CLASSES"), []),
    ],
)
def test_a_name_that_looks_like_an_optional_one_is_found_where_that_is_not_declared(names, found):
    assert declaration.misspelt(names) == found
