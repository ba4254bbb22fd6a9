"""What a column's reference statistics must be to count a window by them."""

import json

import pytest

from ci.data.reference import describe
from ci.errors import InputError
from ci.results.data import REFERENCE
from ci.task import Field
from tests.tasks import table


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"categories": ["a", "a", "c"]}, "it names a category twice"),
        ({"shares": [1.0]}, "it has 1 shares for 5 bins"),
        ({"edges": [1.0]}, "it must have either edges or categories"),
    ],
)
def test_reference_statistics_that_do_not_fit_together_are_told(tmp_path, change, problem):
    found = describe(table(), {"c": Field("string")})
    path = tmp_path / "reference.json"
    REFERENCE.write(found, tmp_path)
    assert REFERENCE.plain(path) == found
    path.write_text(json.dumps({"c": {**found["c"], **change}}))
    with pytest.raises(InputError, match=problem):
        REFERENCE.read(path)
