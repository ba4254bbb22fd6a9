"""The examples of a classify or regress request, checked as TensorFlow Serving does (util/json_tensor.cc)."""

from typing import Any

from ci.serving.document import shown
from ci.serving.tensors import InvalidArgument, binary, is_named, json_type


def check(document: dict[str, Any]) -> None:
    """Check context and examples.

    Raises:
        InvalidArgument: there are no examples, or one is no object of features.
    """
    if "context" in document:
        _example(document["context"])
    found, problem = document.get("examples"), None
    if "examples" not in document:
        problem = "When method is classify, key 'examples' is expected and was not found"  # of regress, too
    elif not isinstance(found, list):
        problem = "Expecting 'examples' value to be an list/array"
    elif not found:
        problem = "'examples' value is an empty array"
    if problem:
        raise InvalidArgument(f"JSON Value: {shown(document)} {problem}")
    for example in found or ():
        _example(example)


def _example(value: Any) -> None:
    if not isinstance(value, dict):
        raise InvalidArgument(f"Example must be JSON object but got JSON {json_type(value)}")
    for name, content in value.items():
        wanted = ""
        for item in content if isinstance(content, list) else [content]:
            wanted = _feature(name, item, wanted)


def _feature(name: str, value: Any, wanted: str) -> str:
    """Return the type of the list that a feature's value belongs to: the first value decides, the others must agree."""
    if value is None or isinstance(value, list) or is_named(value):
        raise InvalidArgument(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")
    if isinstance(value, str | dict):
        found = "bytes"
    else:  # a whole number that 64 bits do not hold is read as a float
        found = "float" if isinstance(value, float) or not -(2**63) <= value < 2**64 else "int64"
    if wanted not in ("", found):
        raise InvalidArgument(f"Unexpected element type in feature: {name} expecting type: {wanted}")
    if found == "int64" and value >= 2**63:
        raise InvalidArgument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    if isinstance(value, dict):
        binary(value)
    return found
