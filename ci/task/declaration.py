"""What a task declares in `model/__init__.py`: outputs, fields, and the columns that split, group and weigh rows."""

import keyword
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from numbers import Real
from typing import Any, Literal, get_args

from ci.errors import InputError
from ci.task.code import GUIDE, optional, part

Kind = Literal["binary", "multiclass", "multilabel", "regression"]
Dtype = Literal["string", "int64", "float32", "bytes"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
_INIT = "model/__init__.py"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SIZE = 2**20
"""Values that a field may have in a row."""
_CLASSES = 10_000
"""Classes of an output at most."""
_HEAVIEST = 1e6
"""Largest weight of a class."""
_OPTIONAL = ("CLASSES", "CLASS_WEIGHT", "OUTPUTS", "GROUP", "WEIGHT", "METRICS", "SUMMARIES")
_OUTPUT_KEYS = ("kind", "target", "classes", "class_weight")
_METRIC_KEYS = ("function", "greater_is_better", "response", "output")


@dataclass(frozen=True)
class Field:
    """A field of a request.

    Attributes:
        dtype: type of its values. `bytes` is the content of a file, whose path the column holds.
        shape: of one row's value; () for a single one. The first axis may be None: rows differ in length.
    """

    dtype: Dtype
    shape: tuple[int | None, ...] = ()

    def __str__(self) -> str:
        """Name type and shape as the task declares them."""
        return f"{self.dtype} of shape {self.shape}" if self.shape else self.dtype


@dataclass(frozen=True)
class Output:
    """What is predicted.

    Attributes:
        name: of the served output.
        kind: of the problem.
        target: columns of the table: one, or for a vector and for several labels one for each value.
        classes: names in the order of the outputs: of the classes, or of a vector's values; () for one number.
        class_weight: how much an example of a class counts in training, by the class's name; 1 where it has none.
    """

    name: str
    kind: Kind
    target: tuple[str, ...]
    classes: tuple[str, ...] = ()
    class_weight: Mapping[str, float] = field(default_factory=dict)

    @property
    def width(self) -> int | None:
        """How many numbers a prediction has; None if it is a single number and no list."""
        if self.kind == "multiclass":
            return len(self.classes)
        return len(self.target) if self.kind == "multilabel" or len(self.target) > 1 else None


@dataclass(frozen=True)
class Metric:
    """A metric of the task's own.

    Attributes:
        function: `f(y_true, y_pred, *, sample_weight)`, a number, as scikit-learn's metrics are.
        greater_is_better: its direction.
        response: whether `y_pred` is the label or what the model says (`score`).
        output: the output that it is about.
    """

    function: Callable[..., float]
    greater_is_better: bool
    response: Literal["label", "score"]
    output: str


@dataclass(frozen=True)
class Summary:
    """A number of the task's own that sums up a field, and is watched for drift.

    Attributes:
        field: the field's name.
        function: from one row's value to a number: a text, an array, or the content of a file.
    """

    field: str
    function: Callable[[Any], float]


@dataclass(frozen=True)
class Task:
    """What is to be predicted, from which fields; the names mean the same as in `model/__init__.py`."""

    outputs: tuple[Output, ...]
    time: str | None
    features: Mapping[str, Field]
    slices: tuple[str, ...]
    group: str | None = None
    weight: str | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    summaries: Mapping[str, Summary] = field(default_factory=dict)

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that hold what is predicted."""
        return tuple(column for output in self.outputs for column in output.target)

    def output(self, name: str) -> Output:
        """Return the output of a name."""
        return next(output for output in self.outputs if output.name == name)


def read() -> Task:
    """Return the task that `model/__init__.py` declares.

    Raises:
        InputError: a name is missing or has a value that the pipeline cannot use.
    """
    outputs = _outputs()
    names = {name: optional("model", name) for name in ("GROUP", "WEIGHT")}
    time = part("model", "TIME")
    columns = {name: None if value is None else _column(name, value) for name, value in {"TIME": time, **names}.items()}
    features = _features()
    slices = part("model", "SLICES")
    if not isinstance(slices, list | tuple):
        raise InputError(f"{_INIT}: SLICES is {slices!r}: expected a tuple of columns, such as ('a',) or (); {GUIDE}")
    for name in slices:
        _column("SLICES", name)
        if list(slices).count(name) > 1:
            raise InputError(f"{_INIT}: SLICES holds {name} more than once: remove one")
    _apart(outputs, columns, features, slices)
    return Task(
        outputs,
        columns["TIME"],
        features,
        tuple(slices),
        columns["GROUP"],
        columns["WEIGHT"],
        _metrics(outputs),
        _summaries(features),
    )


def misspelt(names: Collection[str]) -> list[tuple[str, str]]:
    """Return which of the names in `model/__init__.py` look like an optional one that is not declared, each with it.

    The pipeline does not read them. They may be the task's own, so they are no error.
    """
    meant = [name for name in _OPTIONAL if name not in names]
    near = {name: get_close_matches(name, meant, 1, 0.75) for name in names if name.isupper()}
    return [(name, found[0]) for name, found in near.items() if found]


def _outputs() -> tuple[Output, ...]:
    """Return the outputs: those of `OUTPUTS`, or the single output of the short form."""
    declared = optional("model", "OUTPUTS")
    if declared is None:
        kind = _kind(part("model", "KIND"), "KIND")
        target = part("model", "TARGET")
        first = target[0] if isinstance(target, tuple | list) and target else target
        name = target if isinstance(target, str) else f"{first}_and_more" if isinstance(first, str) else "prediction"
        more = {"classes": optional("model", "CLASSES"), "class_weight": optional("model", "CLASS_WEIGHT")}
        named = {"kind": "KIND", "target": "TARGET", "classes": "CLASSES", "class_weight": "CLASS_WEIGHT"}
        return (_output(name, {"kind": kind, "target": target, **more}, named),)
    for name in ("KIND", "TARGET"):
        if optional("model", name) is not None:
            raise InputError(f"{_INIT}: {name} and OUTPUTS both say what is predicted: remove one")
    if not isinstance(declared, Mapping) or not declared:
        raise InputError(f"{_INIT}: OUTPUTS is {declared!r}: expected names of outputs, each with a dict; {GUIDE}")
    for name, value in declared.items():
        if not isinstance(value, Mapping):
            raise InputError(f"{_INIT}: OUTPUTS[{name!r}] is {value!r}: expected a dict with kind and target; {GUIDE}")
        if unknown := sorted(map(str, set(value) - set(_OUTPUT_KEYS))):
            raise InputError(
                f"{_INIT}: OUTPUTS[{name!r}] has no key {unknown[0]}: the keys are {', '.join(_OUTPUT_KEYS)}"
            )
    _unique("OUTPUTS", list(declared))
    return tuple(
        _output(name, value, {key: f"OUTPUTS[{name!r}][{key!r}]" for key in _OUTPUT_KEYS})
        for name, value in declared.items()
    )


def _output(name: Any, declared: Mapping[str, Any], named: Mapping[str, str]) -> Output:
    """Return one output; `named` is what the task calls each of its keys.

    Raises:
        InputError: a key has a value that the pipeline cannot use.
    """
    kind = _kind(declared.get("kind"), named["kind"])
    target = declared.get("target")
    columns = tuple(target) if isinstance(target, tuple | list) else (target,)
    for column in columns or (None,):
        _column(named["target"], column)
    if len(set(columns)) < len(columns):
        raise InputError(f"{_INIT}: {named['target']} names a column twice: remove one")
    if kind in ("binary", "multiclass") and len(columns) > 1:
        raise InputError(
            f"{_INIT}: {named['target']} names {len(columns)} columns: a {kind} output has one; several columns of 0 "
            "and 1 are multilabel, several numbers are regression"
        )
    _name(named["target"] if named["target"] == "TARGET" else "OUTPUTS", name)
    classes = _classes(kind, columns, declared.get("classes"), named["classes"])
    return Output(name, kind, columns, classes, _class_weight(declared.get("class_weight"), classes, kind, named))


def _kind(value: Any, named: str) -> Kind:
    if not isinstance(value, str) or value not in KINDS:
        raise InputError(f"{_INIT}: {named} is {value!r}: expected {_any_of(KINDS)}; {GUIDE}")
    return next(kind for kind in KINDS if kind == value)


def _classes(kind: str, columns: tuple[str, ...], declared: Any, named: str) -> tuple[str, ...]:
    """Return the names of an output's values, in order.

    Raises:
        InputError: they are not what this kind needs.
    """
    if declared is None:
        if kind == "multiclass":
            raise InputError(
                f"{_INIT}: {named} is missing: a multiclass output needs the names of its classes, in the order of the "
                "network's outputs"
            )
        return columns if kind == "multilabel" or len(columns) > 1 else ()
    if not isinstance(declared, tuple | list) or not 2 <= len(declared) <= _CLASSES:
        raise InputError(f"{_INIT}: {named} is {str(declared)[:80]}: expected 2 to {_CLASSES} names; {GUIDE}")
    for each in declared:
        if not isinstance(each, str | int) or isinstance(each, bool) or each == "":
            raise InputError(f"{_INIT}: {named} holds {each!r}: a class has a name or a whole number")
    names = tuple(map(str, declared))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{_INIT}: {named} holds {twice} more than once: remove one")
    if kind == "regression" and len(columns) == 1:
        raise InputError(f"{_INIT}: {named}: one number has no classes: remove it, or choose another kind")
    wanted = {"binary": 2, "multiclass": len(names)}.get(kind, len(columns))
    if len(names) != wanted:
        raise InputError(f"{_INIT}: {named} holds {len(names)} names, expected {wanted}")
    return names


def _class_weight(declared: Any, classes: tuple[str, ...], kind: str, named: Mapping[str, str]) -> dict[str, float]:
    if declared is None:
        return {}
    what = f"{_INIT}: {named['class_weight']}"
    if kind not in ("binary", "multiclass"):
        raise InputError(f"{what}: only binary and multiclass outputs have weights of classes: remove it")
    known = classes or ("0", "1")
    if not isinstance(declared, Mapping):
        raise InputError(f"{what} is {declared!r}: expected a dict from classes to weights")
    for name, weight in declared.items():
        if str(name) not in known:
            raise InputError(f"{what} names {name!r}: the classes are {', '.join(known[:20])}")
        if not _is_weight(weight):
            raise InputError(f"{what}[{name!r}]: expected a number above 0, {_HEAVIEST:g} at most")
    return {str(name): float(weight) for name, weight in declared.items()}


def _is_weight(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and isinstance(value, Real) and 0 < float(value) <= _HEAVIEST
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _features() -> dict[str, Field]:
    features = part("model", "FEATURES")
    if not isinstance(features, Mapping) or not features:
        raise InputError(f"{_INIT}: FEATURES is {features!r}: expected the names of fields and their types; {GUIDE}")
    for name in features:
        _name("FEATURES", name)
    _unique("FEATURES", list(features))
    return {name: _field(name, declared) for name, declared in features.items()}


def _field(name: str, declared: Any) -> Field:
    dtype, shape = declared if isinstance(declared, tuple) and len(declared) == 2 else (declared, ())
    what = f"{_INIT}: FEATURES[{name!r}] is {declared!r}"
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise InputError(f"{what}: expected one of {', '.join(DTYPES)}, or a type and a shape, as ('float32', (8, 8))")
    if not isinstance(shape, tuple) or not all(_is_axis(axis) for axis in shape) or None in shape[1:]:
        raise InputError(f"{what}: a shape is a tuple of lengths from 1 on, of which the first may be None")
    if math.prod(axis or 1 for axis in shape) > _SIZE:
        raise InputError(f"{what}: a field has {_SIZE} values at most; larger ones are files: 'bytes'")
    if shape and dtype == "bytes":
        raise InputError(f"{what}: a file has no shape: decode it in the encoder")
    if None in shape and dtype == "int64":
        raise InputError(f"{what}: rows of different lengths are 'float32' (filled with NaN) or 'string' (with '')")
    return Field(next(each for each in DTYPES if each == dtype), shape)


def _is_axis(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


def _metrics(outputs: Sequence[Output]) -> dict[str, Metric]:
    """Return the task's own metrics.

    Raises:
        InputError: one is not declared as `docs/task.md` explains.
    """
    declared = optional("model", "METRICS", {})
    if not isinstance(declared, Mapping):
        raise InputError(f"{_INIT}: METRICS is {declared!r}: expected names of metrics, each with a dict; {GUIDE}")
    found = {}
    for name, value in declared.items():
        _name("METRICS", name)
        what = f"{_INIT}: METRICS[{name!r}]"
        if not isinstance(value, Mapping) or not callable(value.get("function")):
            raise InputError(f"{what}: expected a dict with a function f(y_true, y_pred, *, sample_weight); {GUIDE}")
        if unknown := sorted(map(str, set(value) - set(_METRIC_KEYS))):
            raise InputError(f"{what} has no key {unknown[0]}: the keys are {', '.join(_METRIC_KEYS)}")
        if not isinstance(value.get("greater_is_better"), bool):
            raise InputError(f"{what}: greater_is_better is True or False")
        response = value.get("response", "score")
        if response not in ("label", "score"):
            raise InputError(f"{what}: response is {response!r}: expected 'label' or 'score'")
        output = value.get("output", outputs[0].name)
        known = {each.name: each for each in outputs}
        if not isinstance(output, str) or output not in known:
            raise InputError(f"{what}: there is no output {output!r}")
        if response == "label" and known[output].kind == "regression":
            raise InputError(f"{what}: response is 'label': a number has none: remove it")
        found[name] = Metric(value["function"], value["greater_is_better"], response, output)
    return found


def _summaries(features: Mapping[str, Field]) -> dict[str, Summary]:
    """Return what the task sums fields up by.

    Raises:
        InputError: one is not declared as `docs/task.md` explains.
    """
    declared = optional("model", "SUMMARIES", {})
    if not isinstance(declared, Mapping):
        raise InputError(f"{_INIT}: SUMMARIES is {declared!r}: expected names of summaries, each with a dict; {GUIDE}")
    found = {}
    for name, value in declared.items():
        _column("SUMMARIES", name)
        what = f"{_INIT}: SUMMARIES[{name!r}]"
        if name in features or name.partition(" (")[0] in features:  # as `image (bytes)`, by which a field is watched
            raise InputError(f"{what}: a field has this name: choose another")
        if not isinstance(value, Mapping) or set(value) != {"field", "function"} or not callable(value["function"]):
            raise InputError(f"{what}: expected a dict with field and function, from a value to a number; {GUIDE}")
        if not isinstance(value["field"], str) or value["field"] not in features:
            raise InputError(f"{what}: there is no field {value['field']!r}: the fields are {', '.join(features)}")
        found[name] = Summary(value["field"], value["function"])
    return found


def _column(declared: str, name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise InputError(f"{_INIT}: {declared}: {name!r} is no name of a column; {GUIDE}")
    return name


def _name(declared: str, name: Any) -> None:
    """Check the name of a field or an output, which becomes one in the saved model and in requests.

    Raises:
        InputError: TensorFlow cannot save it.
    """
    _column(declared, name)
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or name == "self":
        better = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
        better = better if _NAME.fullmatch(better) and not keyword.iskeyword(better) else f"x_{better}".rstrip("_")
        raise InputError(
            f"{_INIT}: {declared} holds {name!r}: TensorFlow cannot save a field or an output of that name: call the "
            f"column {better!r} in model/data.py. A name has letters from a to z, digits and _, begins with a letter, "
            "and is no word of Python's"
        )


def _unique(declared: str, names: Sequence[str]) -> None:
    """Check that no two names are the same but for capitals, which TensorFlow does not tell apart."""
    seen: dict[str, str] = {}
    for name in names:
        if isinstance(name, str) and (other := seen.setdefault(name.lower(), name)) != name:
            raise InputError(f"{_INIT}: {declared} holds {other} and {name}: TensorFlow takes them for one; rename one")


def _apart(
    outputs: Sequence[Output],
    columns: Mapping[str, str | None],
    features: Mapping[str, Field],
    slices: Sequence[str],
) -> None:
    """Check that no column stands for two things that exclude each other.

    Raises:
        InputError: one does.
    """
    time, targets = columns["TIME"], [column for output in outputs for column in output.target]
    for target in targets:
        if target in features:
            raise InputError(
                f"{_INIT}: FEATURES holds {target}, which is TARGET: a model that is told the answer learns nothing "
                "else; remove it"
            )
        if target == time:
            raise InputError(f"{_INIT}: TARGET and TIME are both {target}: the day of a row is known, not predicted")
        if target in slices:
            raise InputError(
                f"{_INIT}: SLICES holds {target}, which is TARGET: where all answers are the same nothing can be "
                "judged; remove it"
            )
        for name in ("GROUP", "WEIGHT"):
            if target == columns[name]:
                raise InputError(f"{_INIT}: TARGET and {name} are both {target}: give one a column of its own")
    if time in features:
        raise InputError(f"{_INIT}: FEATURES holds {time}, which is TIME: give what matters of it a column of its own")
    if columns["WEIGHT"] is not None and columns["WEIGHT"] in features:
        raise InputError(f"{_INIT}: FEATURES holds {columns['WEIGHT']}, which is WEIGHT: no request has it")
    names = [output.name for output in outputs]
    if len(names) > 1 and (shared := next((name for name in targets if targets.count(name) > 1), None)):
        raise InputError(f"{_INIT}: OUTPUTS predicts {shared} twice: remove one")


def _any_of(names: Sequence[str]) -> str:
    return f"{', '.join(map(repr, names[:-1]))} or {names[-1]!r}"
