"""What tasks demand of each other, said by limits: neither more nor less than that no two clash."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from ci.placement.inventory import Node, Pod, exclusion
from ci.placement.limits import closed, shared
from ci.placement.peers import EVERY_IP, HOST, ZONE, Apart, Peers, Port

PORTS = st.builds(
    Port,
    st.sampled_from([80, 81]),
    st.sampled_from(["TCP", "UDP"]),
    st.sampled_from([EVERY_IP, "10.0.0.1", "10.0.0.2"]),
)
APP = st.sampled_from("ab")
TERMS = st.builds(lambda app, space: Apart(HOST, (("app", "In", (app,)),), (space,), None), APP, st.sampled_from("xy"))
KINDS = st.tuples(
    APP, st.sampled_from("xy"), st.lists(PORTS, max_size=2, unique=True), st.lists(TERMS, max_size=1), st.integers(1, 3)
)


def made(kinds):
    return [
        Pod(f"t{k}-{i}", f"g{k}", {}, "{}", space, {"app": app}, Peers(tuple(sorted(ports)), tuple(terms)))
        for k, (app, space, ports, terms, count) in enumerate(kinds)
        for i in range(count)
    ]


def clash(one: Pod, other: Pod) -> bool:
    """Whether two pods cannot share a node, as the scheduler sees it."""
    ports = any(
        a.number == b.number and a.protocol == b.protocol and (a.ip == b.ip or EVERY_IP in (a.ip, b.ip))
        for a in one.peers.ports
        for b in other.peers.ports
    )
    terms = [(term, whom) for a, whom in ((one, other), (other, one)) for term in a.peers.apart]
    return ports or any(
        whom.namespace in term.namespaces and term.pods == (("app", "In", (whom.labels["app"],)),)
        for term, whom in terms
    )


@settings(deadline=None, max_examples=200)
@given(st.lists(KINDS, min_size=1, max_size=3), st.data())
def test_tasks_keep_the_limits_of_a_node_where_and_only_where_no_two_clash(kinds, data):
    tasks = made(kinds)
    limits, named = shared(tasks)
    together = data.draw(st.lists(st.sampled_from(tasks), unique_by=lambda task: task.name))
    kept = all(sum(limit.counts(task) for task in together) <= limit.limit for limit in limits if limit.by == "node")
    apart = not any(clash(a, b) for a, b in combinations(together, 2))
    assert kept is apart or (named and kept)


@settings(deadline=None, max_examples=200)
@given(KINDS, KINDS)
def test_a_node_is_closed_to_a_task_where_and_only_where_a_pod_that_runs_there_clashes(first, second):
    (task, *_), (running, *_) = made([first]), made([second])
    nodes = [
        Node("with", {}, {}, running=(running,), labels={HOST: "with"}),
        Node("without", {}, {}, labels={HOST: "without"}),
    ]
    [found] = closed([task], nodes)
    assert (exclusion(found.rules, nodes[0]) is not None) is clash(task, running)
    assert exclusion(found.rules, nodes[1]) is None


def test_two_groups_that_avoid_only_each_other_cannot_be_said_by_limits_where_both_have_several_pods():
    def group(name, other, count):
        away = Apart(HOST, (("app", "In", (other,)),), ("",), None)
        return [Pod(f"{name}{i}", name, {}, labels={"app": name}, peers=Peers(apart=(away,))) for i in range(count)]

    limits, named = shared([*group("a", "b", 2), *group("b", "a", 1)])
    assert ([limit.limit for limit in limits], named) == ([2], ())
    _, named = shared([*group("a", "b", 2), *group("b", "a", 2)])
    assert named == ("podAntiAffinity between a and b, each of several pods",)


def test_anti_affinity_over_zones_closes_the_whole_zone():
    away = Apart(ZONE, (("app", "In", ("db",)),), ("",), None)
    task = Pod("t", "g", {}, peers=Peers(apart=(away,)))
    database = Pod("db", "db", {}, labels={"app": "db"})
    nodes = [
        Node("a", {}, {}, running=(database,), labels={ZONE: "1"}),
        Node("b", {}, {}, labels={ZONE: "1"}),
        Node("c", {}, {}, labels={ZONE: "2"}),
        Node("d", {}, {}),
    ]
    [found] = closed([task], nodes)
    assert [exclusion(found.rules, node) is None for node in nodes] == [False, False, True, True]
