"""Quantities, and what the scheduler counts for a pod."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci.errors import InputError
from ci.placement import amounts

MILLI = Fraction(1, 1000)


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("100m", MILLI, 100), ("1.5", MILLI, 1500), (2, MILLI, 2000), ("1e3", Fraction(1), 1000), (".5", MILLI, 500),
        ("128Mi", Fraction(1), 128 * 2**20), ("1G", Fraction(1), 10**9), ("1E", Fraction(1), 10**18),
        ("1k", Fraction(1), 1000), ("0.1m", MILLI, 1), ("100n", MILLI, 1), ("1500m", Fraction(1), 2),
        ("1.5Gi", Fraction(1), 3 * 2**29), ("+3", Fraction(1), 3), ("0", Fraction(1), 0), ("5e-1", MILLI, 500),
        ("2E2", Fraction(1), 200), ("3Ti", Fraction(1), 3 * 2**40),
    ],
)  # fmt: skip
def test_quantities_are_exact_and_round_up(text, unit, amount):
    assert amounts.quantity(text, "here", unit=unit) == amount


@pytest.mark.parametrize("text", ["", "-1", "1 Gi", "1gi", "Mi", "1e", "0x10", "1e999", None, True, [1], "١"])
def test_what_is_no_quantity_is_refused_with_its_place(text):
    with pytest.raises(InputError, match="here: "):
        amounts.quantity(text, "here")


@given(st.integers(0, 10**9), st.sampled_from(["", "k", "M", "Ki", "Mi", "Gi"]))
def test_whole_quantities_survive_exactly(number, suffix):
    scale = {"": 1, "k": 1000, "M": 10**6, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[suffix]
    assert amounts.quantity(f"{number}{suffix}", "here") == number * scale


def container(cpu=None, restart=None, **resources):
    if cpu:
        resources["requests"] = {"cpu": cpu}
    return {"resources": resources, **({"restartPolicy": restart} if restart else {})}


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({"containers": [container("1"), container("500m")]}, 1500),
        ({"containers": [container("1")], "initContainers": [container("3"), container("2")]}, 3000),
        ({"containers": [container("1")], "initContainers": [container("500m", "Always")]}, 1500),
        # A sidecar runs beside the init containers after it, not beside those before it.
        ({"containers": [container("1")], "initContainers": [container("500m", "Always"), container("2")]}, 2500),
        ({"containers": [container("1")], "initContainers": [container("2"), container("500m", "Always")]}, 2000),
        ({"containers": [container("1")], "overhead": {"cpu": "250m"}}, 1250),
        ({"containers": [container(limits={"cpu": "2"})]}, 2000),
        ({"containers": [container("1", limits={"cpu": "2"})]}, 1000),
        ({"containers": [container("1")], "resources": {"requests": {"cpu": "4"}}}, 4000),
        ({"containers": [container()]}, 0),
    ],
)
def test_effective_requests_are_what_the_scheduler_counts(spec, cpu):
    requests = amounts.effective_requests(spec, "spec")
    assert requests.get("cpu", 0) == cpu
    assert requests["pods"] == 1
