"""The examples in the engine's docstrings give what they say."""

import doctest
import importlib
import pkgutil

import pytest

from ci.tuning import bayes

MODULES = [bayes.__name__, *(f"{bayes.__name__}.{module.name}" for module in pkgutil.iter_modules(bayes.__path__))]


@pytest.mark.parametrize("name", MODULES)
def test_its_examples_hold(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried > 0
    assert failed == 0
