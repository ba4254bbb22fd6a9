"""Values of a Kubernetes object, read with errors that name their place."""

from types import NoneType
from typing import Any

from ci.errors import InputError


def an_object(value: object, where: str) -> dict[str, Any]:
    """Return a value of a document that must be an object or absent."""
    if not isinstance(value, dict | NoneType):
        raise InputError(f"{where}: expected an object, found {type(value).__name__}")
    return value or {}


def a_list(value: object, where: str) -> list[dict[str, Any]]:
    """Return a value of a document that must be a list of objects or absent."""
    if value is not None and not (isinstance(value, list) and all(isinstance(each, dict) for each in value)):
        raise InputError(f"{where}: expected a list of objects")
    return value or []


def texts(value: object, where: str) -> dict[str, str]:
    """Return a value of a document that must be an object of texts, such as labels, or absent."""
    found = an_object(value, where)
    if wrong := [key for key, each in found.items() if not isinstance(each, str)]:
        raise InputError(f"{where}.{wrong[0]}: expected a text, found {type(found[wrong[0]]).__name__}")
    return found
