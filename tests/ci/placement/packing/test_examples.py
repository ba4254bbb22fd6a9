"""The examples in the engine's docstrings give what they say."""

import doctest
import importlib
import pkgutil

import pytest

from ci.placement import packing

MODULES = ["", *(f".{module.name}" for module in pkgutil.iter_modules(packing.__path__))]


@pytest.mark.parametrize("name", MODULES)
def test_its_examples_hold(name):
    failed, _ = doctest.testmod(importlib.import_module(packing.__name__ + name))
    assert failed == 0


def test_there_are_examples():
    assert doctest.testmod(packing).attempted > 0
