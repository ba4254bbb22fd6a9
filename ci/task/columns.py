"""Which values a column may hold, by its declared type: one table that all other code uses.

A declared type is a promise to clients, so each value is checked and not pandas' name for the column's type. A whole
number is allowed in a column of floats; a text that looks like a number is not.
"""

import numbers
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from ci.task.declaration import Field, Output, Task

Mask = npt.NDArray[np.bool_]
"""Shape (rows,)."""
EXAMPLES = 5
"""Wrong values that a message shows, at most."""
_LONG = 40
"""Characters of an example."""
LARGEST = float(np.finfo(np.float32).max)
"""Largest number of a column: the network computes in float32."""


@dataclass(frozen=True)
class Rule:
    """What a column may hold."""

    holds: str
    """In words."""
    wrong: Callable[[pd.Series], Mask]
    """The rows that hold something else."""
    number: type | None = None
    """The type to store values as if pandas holds them as objects; None: unchanged."""
    store: Callable[[Any], Any] | None = None
    """How to store a value that is no number; None: unchanged."""

    def stored(self, column: pd.Series) -> pd.Series:
        """Return a column of objects that holds what it may as what its values are."""
        if self.store is not None:
            return column.map(self.store, na_action="ignore")
        if self.number is None:
            return column
        if self.number is float:
            return column.where(column.notna(), np.nan).astype("float64")
        if not (gaps := column.isna()).any():
            return column.astype("int64")
        whole = [None if gap else int(value) for value, gap in zip(column, gaps, strict=True)]
        return pd.Series(pd.array(whole, dtype="Int64"), index=column.index)


def _each(column: pd.Series, right: Callable[[Any], bool], *, missing: bool) -> Mask:
    """Return the rows whose value is not right; `missing` says whether rows without a value are."""
    absent = column.isna().to_numpy(dtype=bool)
    wrong = np.array([not right(value) for value in column.astype(object)], dtype=bool)
    return np.where(absent, not missing, wrong)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real | Decimal | np.bool_)


def _is_float32(value: Any) -> bool:
    try:
        return _is_number(value) and abs(float(value)) <= LARGEST
    except (OverflowError, ValueError):  # a whole number of hundreds of digits, a Decimal that signals
        return False


def _is_int64(value: Any) -> bool:
    try:
        return _is_number(value) and int(value) == value and -(2**63) <= int(value) < 2**63
    except (OverflowError, ValueError):  # an infinite number, as above
        return False


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        return False
    return True


def _is_single(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value)) and pd.api.types.is_hashable(value)


def _no_float32(column: pd.Series) -> Mask:
    if _plain(column):
        values = column.to_numpy(dtype="float64", na_value=np.nan)
        wrong: Mask = ~np.isnan(values) & ~(np.abs(values) <= LARGEST)
        return wrong
    return _each(column, _is_float32, missing=True)


def _no_int64(column: pd.Series) -> Mask:
    if _plain(column) and not pd.api.types.is_unsigned_integer_dtype(column.dtype):
        if pd.api.types.is_float_dtype(column.dtype):
            values = column.to_numpy(dtype="float64", na_value=np.nan)
            whole: Mask = (values == np.floor(values)) & (values >= -(2.0**63)) & (values < 2.0**63)
            return ~whole
        return column.isna().to_numpy(dtype=bool)
    return _each(column, _is_int64, missing=False)


def _plain(column: pd.Series) -> bool:
    """Return whether pandas holds a column as numbers of a machine, with or without gaps."""
    kind = column.dtype
    return bool(
        pd.api.types.is_bool_dtype(kind) or pd.api.types.is_integer_dtype(kind) or pd.api.types.is_float_dtype(kind)
    ) and not isinstance(kind, pd.CategoricalDtype | pd.SparseDtype)


def _no_text(column: pd.Series) -> Mask:
    return _each(column, _is_text, missing=False)


def _no_answer(column: pd.Series) -> Mask:
    """Return the rows that hold no number to learn; a category is none, whatever it is called."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.notna().to_numpy(dtype=bool)
    return _no_float32(column)


def _no_yes_or_no(column: pd.Series) -> Mask:
    wrong = _no_answer(column).copy()
    answers = column[~wrong].astype(object)
    wrong[~wrong] = (answers.notna() & ~answers.isin([0, 1])).to_numpy(dtype=bool)
    return wrong


def _no_time(column: pd.Series) -> Mask:
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return column.isna().to_numpy(dtype=bool)
    return np.full(len(column), True)


def _not_single(column: pd.Series) -> Mask:
    if column.dtype == object:
        return _each(column, _is_single, missing=True)
    return np.full(len(column), False)


def _no_class(names: tuple[str, ...], column: pd.Series) -> Mask:
    known = set(names)
    return _each(column, lambda value: _class_name(value) in known, missing=True)


def _class_name(value: Any) -> str | None:
    """Return the name of a class as a column holds it: a text, or a whole number of any type; None for no name."""
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, str):
        return value
    return str(int(value)) if _is_int64(value) else None


def _is_float32_or_missing(value: Any) -> bool:
    return _is_missing(value) or _is_float32(value)


_HOLDS: Mapping[str, Callable[[Any], bool]] = {
    "string": _is_text,
    "int64": _is_int64,
    "float32": _is_float32_or_missing,
}


def _no_shape(field: Field, column: pd.Series) -> Mask:
    def holds(value: Any) -> bool:
        array = _array(value)
        if array is None or array.ndim != len(field.shape):
            return False
        if any(wanted not in (None, length) for wanted, length in zip(field.shape, array.shape, strict=True)):
            return False
        if field.dtype == "float32" and array.dtype.kind in "fiub":
            numbers = array.astype("float64")
            return bool((np.isnan(numbers) | (np.abs(numbers) <= LARGEST)).all())
        return all(_HOLDS[field.dtype](each) for each in array.reshape(-1).tolist())

    return np.array([not holds(value) for value in column], dtype=bool)


def _array(value: Any) -> npt.NDArray[Any] | None:
    """Return lists in lists, as a file has them, as an array; None if they are none, or of uneven lengths."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value
    if not isinstance(value, list | tuple | np.ndarray):
        return None
    plain = _plain_lists(value)
    try:
        found = np.array(plain)
    except ValueError:
        return None
    if found.dtype.kind in "USO":
        found = np.array(plain, dtype=object)
    return found


def _listed(value: Any) -> Any:
    found = _array(value)
    return value if found is None else found.tolist()


def plain_bytes(column: pd.Series, field: Field) -> pd.Series:
    """Return a field's column as values that can be hashed: lists as bytes, all others as they are."""
    if not field.shape:
        return column
    kind = "object" if field.dtype == "string" else field.dtype

    def packed(value: Any) -> bytes:
        found = _array(value)
        if found is None:
            return b""
        shape = repr(found.shape).encode()
        return shape + (repr(found.tolist()).encode() if kind == "object" else found.astype(kind).tobytes())

    return column.map(packed)


def _plain_lists(value: Any) -> Any:
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain_lists(each) for each in value]
    return value


def _is_missing(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _no_weight(column: pd.Series) -> Mask:
    wrong = _no_float32(column) | column.isna().to_numpy(dtype=bool)
    if not wrong.all():  # no number may be left of a column of another type
        wrong[~wrong] = column[~wrong].astype("float64").to_numpy() < 0
    return wrong


def _no_group(column: pd.Series) -> Mask:
    return _not_single(column) | column.isna().to_numpy(dtype=bool)


FIELDS: Mapping[str, Rule] = {
    "string": Rule("texts, none missing", _no_text),
    "int64": Rule("whole numbers from -2^63 to 2^63 - 1, none missing", _no_int64, int),
    "float32": Rule("finite numbers up to 3.4e38, or missing", _no_float32, float),
    "bytes": Rule("paths of files, none missing", _no_text),
}
"""By the declared type of a field without a shape."""
_YES_OR_NO = Rule("0 for no, 1 for yes, or missing where there is no label", _no_yes_or_no, float)
_NUMBER = Rule("finite numbers up to 3.4e38, or missing where there is no label", _no_answer, float)
TIME = Rule("dates or times in a column of pandas' type datetime64, none missing", _no_time)
SLICE = Rule("single values", _not_single)
GROUP = Rule("single values, none missing", _no_group)
WEIGHT = Rule("finite numbers of 0 or more, none missing", _no_weight, float)


def field_rule(field: Field) -> Rule:
    """Return what a column of a field may hold."""
    if not field.shape:
        return FIELDS[field.dtype]
    words = {"string": "texts", "int64": "whole numbers", "float32": "finite numbers up to 3.4e38, or NaN"}
    return Rule(f"lists of shape {field.shape} of {words[field.dtype]}", partial(_no_shape, field), store=_listed)


def target_rule(output: Output) -> Rule:
    """Return what a column of an output's target may hold."""
    if output.kind == "multilabel" or (output.kind == "binary" and not output.classes):
        return _YES_OR_NO
    if output.kind == "regression":
        return _NUMBER
    shown = ", ".join(output.classes[:5]) + (f" and {len(output.classes) - 5} more" if len(output.classes) > 5 else "")
    names = {*output.classes, "0", "1"} if output.kind == "binary" else output.classes
    holds = f"one of the classes {shown}, or missing where there is no label"
    return Rule(holds, partial(_no_class, tuple(names)), store=_class_name)


def declared(wanted: Task) -> Iterator[tuple[str, str, Rule]]:
    """Yield each column that a task declares, as what, and what it may hold."""
    if wanted.time is not None:
        yield wanted.time, "TIME", TIME
    for output in wanted.outputs:
        for name in output.target:
            yield name, f"TARGET of a {output.kind} task", target_rule(output)
    for name, field in wanted.features.items():
        yield name, f"{field} in FEATURES", field_rule(field)
    for name in wanted.slices:
        yield name, "one of SLICES", SLICE
    if wanted.group is not None:
        yield wanted.group, "GROUP", GROUP
    if wanted.weight is not None:
        yield wanted.weight, "WEIGHT", WEIGHT


def labelled(table: pd.DataFrame, wanted: Task) -> Mask:
    """Return the rows that have a label for every output; a column that is missing labels none."""
    found = np.full(len(table), True)
    for name in wanted.targets:
        found &= table[name].notna().to_numpy(dtype=bool) if name in table else False
    return found


def outcomes(table: pd.DataFrame, output: Output) -> npt.NDArray[Any]:
    """Return what happened, as numbers.

    Args:
        table: labelled rows, whose columns hold what the task declares.
        output: which one.

    Returns:
        shape (rows,): 0 or 1, the class's number in order, or the number to predict; for several labels and for
        vectors shape (rows, values).
    """
    if output.kind == "multiclass" or (output.kind == "binary" and output.classes):
        numbered = {name: number for number, name in enumerate(output.classes)}
        if output.kind == "binary":
            numbered = {"0": 0, "1": 1, **numbered}
        names, distinct = pd.factorize(table[output.target[0]].astype(object))
        numbers = np.array([numbered[str(_class_name(value))] for value in distinct], dtype="float64")
        return numbers[names]
    columns = [table[name].to_numpy(dtype="float64") for name in output.target]
    return columns[0] if output.width is None else np.stack(columns, axis=1)


def problems(table: pd.DataFrame, wanted: Task, only: str | None = None, *, learned: bool = True) -> list[str]:
    """Return for each column that does not hold what the task declares: which, how many rows, and examples.

    Args:
        table: the rows.
        wanted: the task.
        only: one column's name; None for all.
        learned: whether the rows are to be learned or judged. Where they stand for users' requests, a field may be
            missing: such a request gets no answer, and monitoring counts it.
    """
    found = []
    for name, what, rule in declared(wanted):
        if only not in (None, name):
            continue
        column = table[name]
        wrong = rule.wrong(column)
        if not learned and name in wanted.features:
            wrong = wrong & column.notna().to_numpy(dtype=bool)
        if wrong.any():
            examples = dict.fromkeys(map(_example, column[wrong].head(1000).astype(object)))
            found.append(
                f"column {name}: declared as {what}: {rule.holds}; {wrong.sum()} rows ({wrong.mean():.2%}) hold "
                f"something else, such as {', '.join(list(examples)[:EXAMPLES])}"
            )
    return found


def stored(table: pd.DataFrame, wanted: Task) -> pd.DataFrame:
    """Return the table as it can be stored and read again: numbers as numbers, where pandas held them as objects.

    Of Arrow's types, pandas does not read categories again, and dates of days only are no times to it.
    """
    known = {name: rule.stored(table[name]) for name, _, rule in declared(wanted) if table[name].dtype == object}
    for name, column in table.items():
        if isinstance(column.dtype, pd.ArrowDtype):
            kind = column.dtype.pyarrow_dtype
            if pa.types.is_dictionary(kind):
                known[str(name)] = column.astype(pd.ArrowDtype(kind.value_type))
            elif name == wanted.time and pa.types.is_date(kind):
                known[str(name)] = column.astype("datetime64[s]")
    return table.assign(**known)


def _example(value: Any) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "missing"
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, int) and abs(plain) >= 10**_LONG:
        return f"a number of {plain.bit_length()} bits"  # Python writes no whole number of more than 4,300 digits
    return str(plain)[:_LONG] if isinstance(plain, numbers.Real | Decimal | pd.Timestamp) else _SHORT.repr(plain)


def _short() -> reprlib.Repr:
    found = reprlib.Repr()
    found.maxstring = found.maxother = _LONG
    return found


_SHORT = _short()
