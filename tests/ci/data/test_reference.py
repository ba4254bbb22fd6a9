"""What a reference says of a column of texts or numbers, by counts that can be checked by hand."""

import numpy as np
import pandas as pd
import pytest

from ci.data.reference import counts, describe, describe_column, describe_predictions, shares
from ci.task import Field

LETTERS = [f"v{n:02}" for n in range(60)]


def texts(**times: int) -> pd.Series:
    return pd.Series([value for value, count in times.items() for _ in range(count)])


def test_up_to_thirty_texts_are_categories_in_the_order_of_the_alphabet():
    column = pd.Series(LETTERS[:30] * 2)[::-1]
    found = describe_column(column, "string")
    assert found["categories"] == LETTERS[:30]
    assert found["rest"] == ["values not seen before", "missing"]
    assert "seen" not in found
    assert found["shares"] == pytest.approx([1 / 30] * 30 + [0.0, 0.0])


def test_of_more_texts_the_thirty_most_frequent_are_categories():
    """`v00` is there 60 times and each next one once less: the last ones are the rarest."""
    found = describe_column(texts(**{value: 60 - n for n, value in enumerate(LETTERS[:40])}), "string")
    assert found["categories"] == LETTERS[:30]
    assert found["rest"][-2:] == ["values not seen before", "missing"]


def test_a_text_of_less_than_a_two_hundredth_of_the_rows_is_rare():
    column = texts(**dict.fromkeys(LETTERS[:4], 200), a=5, b=4, **dict.fromkeys(LETTERS[10:50], 2))
    assert len(column) < 1000
    assert "a" in describe_column(column, "string")["categories"]
    assert "b" not in describe_column(pd.concat([column, texts(v00=120)]), "string")["categories"]


@pytest.mark.parametrize(
    ("rare", "names"),
    [
        (1, ["rare values"]),
        (3, [f"rare values, part {part} of 2" for part in (1, 2)]),
        (5, [f"rare values, part {part} of 3" for part in (1, 2, 3)]),
    ],
)
def test_rare_texts_that_came_again_share_bins_of_about_a_tenth(rare, names):
    """Of 2,000 rows 200, 400 or 600 have one of a hundred rare texts, each of them more than once."""
    again = {f"r{n}": rare + 1 for n in range(100)}
    frequent = {value: (2000 - sum(again.values())) // 3 for value in LETTERS[:3]}
    found = describe_column(texts(**again, **frequent), "string")
    assert found["categories"] == LETTERS[:3]
    assert found["rest"] == [*names, "values not seen before", "missing"]
    assert sum(found["shares"]) == pytest.approx(1)


def test_texts_that_were_seen_once_need_no_bins_of_their_own():
    found = describe_column(texts(a=1400, **{f"o{n}": 1 for n in range(600)}), "string")
    assert found["rest"] == ["rare values", "values not seen before", "missing"]
    assert found["shares"][2] == pytest.approx(0.3, abs=0.01)


def test_of_new_rows_as_many_are_expected_to_be_new_as_were_seen_once():
    once = {f"o{n}": 1 for n in range(50)}
    twice = {f"t{n}": 2 for n in range(25)}
    found = describe_column(texts(a=900, **once, **twice), "string")
    rare, new, missing = found["shares"][1:]
    assert found["shares"][0] == pytest.approx(0.9)
    assert missing == 0
    assert rare + new == pytest.approx(0.1)
    assert new == pytest.approx(0.05, abs=0.002)  # a hash may meet another


def test_missing_and_unknown_texts_are_counted_apart():
    found = describe_column(texts(a=50, b=50), "string")
    assert shares(counts(pd.Series(["a", "b", None, "z", "z", "a", "a", "a", "a", None]), found), found).tolist() == [
        0.5,
        0.1,
        0.2,
        0.2,
    ]


def test_fewer_new_texts_than_expected_are_no_change_and_more_are():
    twice = {f"t{n}": 2 for n in range(50)}
    description = describe_column(texts(a=850, **twice, **{f"o{n}": 1 for n in range(50)}), "string")
    expected = np.array(description["shares"])
    known = pd.Series(["a"] * 850 + [f"t{n}" for n in range(50)] * 3)
    assert shares(counts(known, description), description) == pytest.approx(expected)
    new = pd.Series(["a"] * 850 + [f"x{n}" for n in range(150)])
    assert shares(counts(new, description), description)[-2] > 0.14


def test_numbers_are_clipped_rounded_and_counted_with_missing_last():
    found = describe_column(pd.Series([0.1, 0.1, 0.2, 0.2, np.nan] * 10), "float32")
    assert found["values"] == [float(np.float32(0.1)), float(np.float32(0.2))]
    assert found["shares"] == pytest.approx([0.0, 0.4, 0.4, 0.2])
    largest = describe_column(pd.Series([np.inf, 1e300] * 10), "float32")["values"]
    assert largest == [float(np.finfo(np.float32).max)]
    assert describe_column(pd.Series([2**53 + 1] * 9), "int64")["values"] == [2**53 + 1]


def test_each_feature_is_described_by_its_declared_type_and_predictions_by_six_digits():
    table = pd.DataFrame({"x": [1, 2] * 10, "c": ["1", "2"] * 10})
    found = describe(table, {"x": Field("int64"), "c": Field("string")})
    assert (found["x"]["values"], found["c"]["categories"]) == ([1, 2], ["1", "2"])
    assert [found[name]["rows"] for name in "xc"] == [20, 20]
    assert describe_predictions(np.full(20, 0.123456789))["values"] == pytest.approx([0.123457])
    assert describe_predictions(np.full(20, 0.5))["digits"] == 6
