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


def running(cpu, **status):
    """A pod that asks for so much CPU, and its status."""
    return {"containers": [{"name": "c", **container(cpu)}]}, status


def state(name="c", allocated=None, cpu=None):
    resources = {"resources": {"requests": {"cpu": cpu}} if cpu else {}}
    return {"name": name, **resources, **({"allocatedResources": {"cpu": allocated}} if allocated else {})}


def pending(reason):
    return [{"type": "Ready", "reason": "Infeasible"}, {"type": "PodResizePending", "status": "True", "reason": reason}]


@pytest.mark.parametrize(
    ("spec", "status", "cpu"),
    [
        # Resized down: what its containers still run with counts, and what its node has set aside.
        (*running("500m", containerStatuses=[state(cpu="7")]), 7000),
        (*running("500m", containerStatuses=[state(allocated="6", cpu="1")]), 6000),
        # Resized up: what is asked for counts, also while the node has no room yet; not where it never will have.
        (*running("4", containerStatuses=[state(allocated="1", cpu="1")]), 4000),
        (*running("4", containerStatuses=[state(allocated="1", cpu="1")], conditions=pending("Deferred")), 4000),
        (*running("4", containerStatuses=[state(allocated="1", cpu="2")], conditions=pending("Infeasible")), 2000),
        # What is said of another container, or nothing of its resources, changes nothing.
        (*running("1", containerStatuses=[state("other", cpu="7")]), 1000),
        (*running("1", containerStatuses=[{"name": "c", "allocatedResources": {"cpu": "7"}}]), 1000),
        (*running("1", containerStatuses=[state(allocated="7")]), 7000),
        ({"containers": [container("1")], "initContainers": [{"name": "s", **container("1", "Always")}]},
         {"initContainerStatuses": [state("s", cpu="3")]}, 4000),
        # An init container that has run counts as it is written.
        ({"containers": [{"name": "c", **container("1")}], "initContainers": [{"name": "i", **container("2")}]},
         {"initContainerStatuses": [state("i", cpu="9")]}, 2000),
        # For the pod as a whole.
        ({"containers": [{"name": "c"}], "resources": {"requests": {"cpu": "500m"}}},
         {"resources": {"requests": {"cpu": "7"}}, "allocatedResources": {"cpu": "7"}}, 7000),
        ({"containers": [{"name": "c"}], "resources": {"requests": {"cpu": "8"}}},
         {"resources": {"requests": {"cpu": "3"}}, "conditions": pending("Infeasible")}, 3000),
        ({"containers": [{"name": "c"}], "resources": {"requests": {"cpu": "2"}}, "overhead": {"cpu": "1"}},
         {"resources": {"requests": {"cpu": "5"}}}, 6000),
        ({"containers": [{"name": "c", **container("1")}]}, {"resources": {"requests": {"cpu": "7"}}}, 1000),
        # What a claim takes of the node's own resources.
        (*running("1", nodeAllocatableResourceClaimStatuses=[{"resources": {"cpu": "2"}}]), 3000),
    ],
)  # fmt: skip
def test_a_pod_that_runs_counts_as_the_scheduler_counts_it_while_it_is_resized(spec, status, cpu):
    assert amounts.effective_requests(spec, "spec", status)["cpu"] == cpu


@pytest.mark.parametrize(
    ("spec", "asked"),
    [
        # A limit of the whole pod alone asks for what its containers do, and where they say nothing for itself.
        ({"containers": [container("1")], "resources": {"limits": {"cpu": "4"}}}, {"cpu": 1000}),
        ({"containers": [container()], "resources": {"limits": {"cpu": "4"}}}, {"cpu": 4000}),
        ({"containers": [container("1")], "resources": {"requests": {"example.com/gpu": "4"}}}, {"cpu": 1000}),
        ({"containers": [container()], "resources": {"requests": {"hugepages-2Mi": "4Mi"}}}, {"hugepages-2Mi": 2**22}),
    ],
)
def test_a_pod_can_ask_as_a_whole_for_cpu_memory_and_huge_pages(spec, asked):
    assert amounts.effective_requests(spec, "spec") == {**asked, "pods": 1}


@pytest.mark.parametrize("text", ["9223372036854775807", "9223372036854775808", "99999E"])
def test_quantities_beyond_64_bits_count_as_the_largest(text):
    assert amounts.quantity(text, "here") == 2**63 - 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({"containerStatuses": "x"}, r"items.0..status.containerStatuses: expected a list of objects"),
        ({"containerStatuses": [state(cpu="x")]}, r"items.0..status of the container c.resources.requests.cpu: 'x' is"),
        ({"conditions": [1]}, r"items.0..status.conditions: expected a list of objects"),
    ],
)
def test_a_status_that_is_none_is_named(status, message):
    with pytest.raises(InputError, match=message):
        amounts.effective_requests({"containers": [{"name": "c"}]}, "items[0].spec", status)
