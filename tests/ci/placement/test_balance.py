"""Hard spreads of the pods' own, against every placement that there is."""

from collections import Counter
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from ci.placement.inventory import Inventory, Node, Pod
from ci.placement.peers import HOST, ZONE, Apart, Even, Peers
from ci.placement.planning import Question

LABELS = {"app": "a"}
PODS = (("app", "In", ("a",)),)


def nodes(cpu: list[int], zones: list[str]) -> tuple[Node, ...]:
    made = []
    for index, (amount, zone) in enumerate(zip(cpu, zones, strict=True)):
        labels = {HOST: f"host-{index}", ZONE: zone}
        made.append(Node(f"n{index}", {"cpu": amount}, {"cpu": amount}, labels=labels))
    return tuple(made)


def tasks(count: int, peers: Peers) -> list[Pod]:
    return [Pod(f"t{index}", "g", {"cpu": 1}, labels=LABELS, peers=peers) for index in range(count)]


def fewest(count: int, offer: tuple[Node, ...], even: tuple[Even, ...], apart: tuple[Apart, ...]) -> int | None:
    """Return how many nodes the best of all placements uses, by trying every one; None if there is none."""
    best = None
    for counts in product(*(range(min(count, node.free["cpu"]) + 1) for node in offer)):
        if sum(counts) != count:
            continue
        holds = True
        for key, skew in [(each.key, each.skew) for each in even] + [(each.key, None) for each in apart]:
            domains = Counter[str]()
            for node, number in zip(offer, counts, strict=True):
                domains[node.labels[key]] += number
            most = 1 if skew is None else min(domains[node.labels[key]] for node in offer) + skew
            holds &= max(domains.values()) <= most
        if holds:
            used = sum(number > 0 for number in counts)
            best = used if best is None else min(best, used)
    return best


CLUSTERS = st.integers(1, 5).flatmap(
    lambda size: st.tuples(
        st.lists(st.integers(0, 4), min_size=size, max_size=size),
        st.lists(st.sampled_from("abc"), min_size=size, max_size=size),
    )
)
DEMANDS = st.tuples(
    st.lists(st.tuples(st.sampled_from([HOST, ZONE]), st.integers(1, 3)), max_size=2, unique_by=lambda each: each[0]),
    st.sampled_from([(), (), (), (HOST,), (ZONE,)]),
)


@settings(deadline=None, max_examples=60)
@given(CLUSTERS, st.integers(1, 6), DEMANDS)
def test_plans_are_as_even_and_as_small_as_the_best_of_all_placements(cluster, count, demands):
    offer = nodes(*cluster)
    even = tuple(Even(key, skew, PODS) for key, skew in demands[0])
    apart = tuple(Apart(key, PODS, ("",), None) for key in demands[1])
    question = Question.of(Inventory("test", offer), tasks(count, Peers(apart=apart, even=even)), ())
    assert not question.unmodelled
    _, solution = question.solve(10)
    best = fewest(count, offer, even, apart)
    assert bool(solution.unplaced) is (best is None)
    question.require(solution.plan(question.pods, offer))
    if best is not None:
        assert solution.objective == best
        assert solution.bound <= best
