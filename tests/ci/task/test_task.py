"""What `model/` must provide is checked before any work is done; its code that fails is told of by file and line."""

import pytest

from ci import task as declarations
from ci.errors import InputError
from scripts import prepare
from tests.tasks import DATA, INIT, SCHEMA


def test_a_task_is_what_it_declares(task):
    fields = {name: declarations.Field(dtype) for name, dtype in {"x": "float32", "k": "int64", "c": "string"}.items()}
    output = declarations.Output("y", "binary", ("y",))
    assert declarations.load() == declarations.Task((output,), "day", fields, ("c",))


FIELDS = '{"x": "float32", "k": "int64", "c": "string"}'


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("KIND", '"ranking"', "KIND is 'ranking': expected 'binary', 'multiclass', 'multilabel' or 'regr"),
        ("KIND", "None", "KIND is None"),
        ("KIND", '["binary"]', "KIND is ['binary']"),
        ("TARGET", "7", "TARGET: 7 is no name of a column"),
        ("TARGET", "None", "TARGET: None is no name"),
        ("TARGET", '["y", 7]', "TARGET: 7 is no name"),
        ("TARGET", '["y", "z"]', "TARGET names 2 columns: a binary output has one"),
        ("TARGET", '""', "TARGET: '' is no name"),
        ("TIME", '["day"]', "TIME: ['day'] is no name of a column"),
        ("TIME", "{}", "TIME: {} is no name"),
        ("FEATURES", "None", "FEATURES is None: expected the names of fields and their types"),
        ("FEATURES", "{}", "FEATURES is {}: expected the names of fields"),
        ("FEATURES", '["x", "k"]', "FEATURES is ['x', 'k']: expected the names of fields"),
        ("FEATURES", '"x"', "FEATURES is 'x': expected the names of fields"),
        ("FEATURES", '{"x": "float64"}', "FEATURES['x'] is 'float64': expected one of string, int64, float32"),
        ("FEATURES", '{"x": None}', "FEATURES['x'] is None"),
        ("FEATURES", '{"x": ["float32"]}', "FEATURES['x'] is ['float32']"),
        ("FEATURES", '{1: "float32"}', "FEATURES: 1 is no name of a column"),
        ("FEATURES", '{"x": "float32", "y": "int64"}', "FEATURES holds y, which is TARGET"),
        ("FEATURES", '{"x": "float32", "day": "string"}', "FEATURES holds day, which is TIME"),
        ("SLICES", "None", "SLICES is None: expected a tuple of columns"),
        ("SLICES", '"c"', "SLICES is 'c': expected a tuple of columns, such as ('a',) or ()"),
        ("SLICES", '{"c": 1}', "SLICES is {'c': 1}"),
        ("SLICES", '("c", None)', "SLICES: None is no name of a column"),
        ("SLICES", '("c", ["k"])', "SLICES: ['k'] is no name of a column"),
        ("SLICES", '("c", "k", "c")', "SLICES holds c more than once"),
        ("SLICES", '("c", "y")', "SLICES holds y, which is TARGET"),
        ("TARGET", '"day"', "TARGET and TIME are both day"),
        ("TARGET", '"x"', "FEATURES holds x, which is TARGET"),
        ("TIME", '"k"', "FEATURES holds k, which is TIME"),
    ],
)
def test_a_declaration_that_is_none_is_refused(task, name, value, words):
    declared = {"KIND": '"binary"', "TARGET": '"y"', "TIME": '"day"', "FEATURES": FIELDS, "SLICES": '("c",)'}
    task.write("__init__.py", "".join(f"{key} = {text}\n" for key, text in {**declared, name: value}.items()))
    code, said = task.prepare()
    assert code == 2
    assert said.startswith(f"bad input: model/__init__.py: {words}")


@pytest.mark.parametrize("name", ["KIND", "TARGET", "TIME", "FEATURES", "SLICES"])
def test_a_declaration_that_is_missing_is_named(task, name):
    task.write("__init__.py", INIT.replace(name, f"OTHER_{name}"))
    code, said = task.prepare()
    assert code == 2
    assert said == f"bad input: model/__init__.py: {name} is missing: docs/task.md says what a task provides\n"


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        (
            "__init__.py",
            "KIND = (\n",
            "model/__init__.py:1: model/__init__.py cannot be imported: SyntaxError: '(' was",
        ),
        (
            "data.py",
            "import pandas\ndef load(:\n",
            "model/data.py:2: model/data.py cannot be imported: SyntaxError: inv",
        ),
        ("data.py", "\timport os\n  x\n", "model/data.py:"),
        ("data.py", "\x00", "model/data.py cannot be imported: ValueError: source code string cannot contain null"),
        (
            "data.py",
            "\nimport xgboost_of_old\n",
            "model/data.py:2: model/data.py cannot be imported: ModuleNotFoundErr",
        ),
        (
            "data.py",
            "from math import tau2\n",
            "model/data.py:1: model/data.py cannot be imported: ImportError: cannot",
        ),
        (
            "data.py",
            "import model.helper\n",
            "model/data.py:1: model/data.py cannot be imported: ModuleNotFoundError: N",
        ),
        (
            "data.py",
            "import models_zoo\n",
            "model/data.py:1: model/data.py cannot be imported: ModuleNotFoundError: No",
        ),
        (
            "data.py",
            "1 / 0\n",
            "model/data.py:1: model/data.py cannot be imported: ZeroDivisionError: division by zero",
        ),
        ("data.py", "\n\nload = nothing\n", "model/data.py:3: model/data.py cannot be imported: NameError: name 'noth"),
        ("data.py", "raise SystemExit(0)\n", "model/data.py:1: model/data.py cannot be imported: SystemExit: 0"),
        ("data.py", "raise RuntimeError\n", "model/data.py:1: model/data.py cannot be imported: RuntimeError\n"),
        (
            "schema.py",
            f"{SCHEMA}\nassert 0, 'no'\n",
            "model/schema.py:5: model/schema.py cannot be imported: Assertion",
        ),
        (
            "schema.py",
            "def f():\n    f()\nf()\n",
            "model/schema.py:2: model/schema.py cannot be imported: RecursionError",
        ),
        (
            "__init__.py",
            "class Odd:\n    def __repr__(self):\n        raise ValueError\n\n\nKIND = Odd()\n",
            "model/__init__.py:3: model/__init__.py cannot be used: ValueError",
        ),
        (
            "__init__.py",
            "KIND = 'binary'\n\n\ndef __getattr__(name):\n    raise RuntimeError(name)\n",
            "model/__init__.py:5: model/__init__.py cannot be used: RuntimeError: ",
        ),
        (
            "data.py",
            "class Odd(Exception):\n    def __str__(self):\n        1 / 0\n\n\ndef load(source):\n    raise Odd\n",
            "model/data.py:7: load fails: Odd",
        ),
        (
            "data.py",
            "def load(source):\n    raise RuntimeError('\\x1b[1min user code\\x1b[0m')\n",
            "model/data.py:2: load fails: RuntimeError: in user code\n",
        ),
        ("data.py", "def load():\n    pass\n", "load fails: TypeError: load() takes 0 positional arguments but 1"),
        ("data.py", "load = 7\n", "load fails: TypeError: 'int' object is not callable"),
        (
            "data.py",
            "def load(source):\n    raise RuntimeError('a\\nb')\n",
            "model/data.py:2: load fails: RuntimeError: a",
        ),
        ("data.py", "def load(source):\n    return source.rows\n", "model/data.py:2: load fails: AttributeError: 'Po"),
        ("data.py", "def load(source):\n    exit()\n", "model/data.py:2: load fails: SystemExit"),
        (
            "data.py",
            "def load(source):\n    return open('no.csv')\n",
            "data.source: table.pickle: [Errno 2] No such file or directory: 'no.csv' (model/data.py:2)\n",
        ),
        (
            "data.py",
            "def load(source):\n    return {}['x']\n",
            "table.pickle: there is no column 'x' (model/data.py:2)\n",
        ),
    ],
)
def test_code_of_the_task_that_fails_is_told_of_by_file_and_line(task, file, text, words):
    task.write(file, text)
    code, said = task.prepare()
    assert code == 2
    assert words in said, said
    assert said.startswith("bad input: ")
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", ["data", "schema"])
def test_a_module_that_is_missing_is_named(task, name):
    (task.folder / f"model/{name}.py").unlink()
    code, said = task.prepare()
    assert code == 2
    assert said == f"bad input: model/{name}.py is missing: docs/task.md says what a task provides\n"


def test_a_folder_without_a_task_says_what_is_missing(task, monkeypatch, tmp_path):
    (task.folder / "model").rename(tmp_path / "elsewhere")
    monkeypatch.setattr(
        "sys.path", [str(tmp_path), *[path for path in __import__("sys").path if "site-packages" in path]]
    )
    with pytest.raises(InputError, match=r"model/__init__\.py is missing: docs/task\.md says"):
        declarations.part("model", "KIND")


def test_nothing_is_lost_of_what_was_prepared_before(task):
    assert task.prepare()[0] == 0
    before = (task.folder / "build/data/summary.json").read_bytes()
    task.write("data.py", DATA + "\n1 / 0\n")
    task.forget()
    assert prepare.main([]) == 2
    assert (task.folder / "build/data/summary.json").read_bytes() == before
