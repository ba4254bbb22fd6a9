"""The solver for size agrees with the plain formulation, proves what it says, and keeps its time."""

import itertools
import os
import signal
from dataclasses import replace
from time import process_time
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci.placement.check import faults
from ci.placement.inventory import Node, Pod
from ci.placement.model import Spread, build
from ci.placement.packing import listing, refine, solver
from ci.placement.packing.certificate import lower_bound
from ci.placement.packing.clock import Until
from ci.placement.packing.generation import dive
from ci.placement.packing.incumbent import Incumbent
from ci.placement.packing.kinds import Kinds
from ci.placement.packing.listing import Lister
from ci.placement.packing.patterns import Master, generate
from ci.placement.packing.plain import plain
from ci.placement.packing.problem import Problem
from ci.placement.packing.refine import repair
from ci.placement.packing.solution import Bound
from ci.placement.packing.solver import solve

EXAMPLES = int(os.environ.get("PLACEMENT_EXAMPLES", "200"))
"""How many random clusters the two formulations are compared on; thousands take minutes."""

TAINT = ({"key": "special", "value": "", "effect": "NoSchedule"},)
TOLERATES = '{"tolerations": [{"key": "special", "operator": "Exists"}]}'


@st.composite
def clusters(draw):
    """A few tasks of a few shapes, a few nodes, sometimes tainted ones, zones and spreads."""
    shapes = draw(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=3))
    tasks = [
        Pod(f"t{i}", draw(st.sampled_from("ab")), {"cpu": shape[0], "memory": shape[1]}, rules)
        for i, (shape, rules) in enumerate(
            draw(
                st.lists(st.tuples(st.sampled_from(shapes), st.sampled_from(["{}", TOLERATES])), min_size=1, max_size=6)
            )
        )
    ]
    nodes = []
    for j in range(draw(st.integers(1, 5))):
        amounts = {"cpu": draw(st.integers(0, 12)), "memory": draw(st.integers(0, 12))}
        labels = {"topology.kubernetes.io/zone": draw(st.sampled_from("xy"))}
        nodes.append(Node(f"n{j}", amounts, amounts, labels=labels, taints=draw(st.sampled_from([(), (), TAINT]))))
    spread = st.builds(Spread, st.sampled_from("ab"), st.integers(1, 3), st.sampled_from(["node", "zone"]))
    return tasks, nodes, draw(st.lists(spread, max_size=2, unique_by=lambda each: (each.group, each.by)))


def check_equal(tasks, nodes, spreads):
    problem = build(tasks, nodes, spreads)
    reference, solution = plain(problem, 30), solve(problem, 30)
    plan = solution.plan(tasks, nodes)
    assert not faults([task for task in tasks if task.name in plan], nodes, plan, spreads)
    assert len(solution.unplaced) == len(reference.unplaced)
    assert solution.least_unplaced <= len(reference.unplaced)
    if not reference.unplaced:
        assert solution.objective == reference.objective
        assert solution.bound <= reference.objective


@settings(max_examples=EXAMPLES // 4, deadline=None, derandomize=True)
@given(clusters())
def test_listed_patterns_get_the_plain_formulations_optimum_too(cluster):
    with mock.patch.object(solver, "exact", return_value=False), mock.patch.object(solver, "_SMALL", 0):
        check_equal(*cluster)


@settings(max_examples=EXAMPLES, deadline=None)
@given(clusters())
def test_small_clusters_get_the_plain_formulations_optimum(cluster):
    check_equal(*cluster)


def fleet(seed: int, pods: int, nodes: int) -> Problem:
    """Eight pod shapes on four node shapes, as clouds sell them: milliCPU and MiB."""
    random = np.random.default_rng(seed)
    shapes = np.array([(4, 16), (8, 32), (16, 64), (32, 128)]) * (1000, 1024) - (110, 600)
    asked = random.integers(1, 17, (8, 2)) * (250, 512)
    return Problem.of(asked[random.integers(0, 8, pods)], shapes[random.integers(0, 4, nodes)])


@pytest.mark.parametrize("seed", range(3))
def test_two_thousand_pods_on_a_thousand_nodes_are_proven_optimal(seed):
    problem = fleet(seed, 2000, 1000)
    solution = solve(problem, 10)
    assert not solution.unplaced
    assert solution.proven
    used = np.zeros_like(problem.free)
    np.add.at(used, list(solution.node_of), problem.requests)
    assert np.all(used <= problem.free)


def test_the_time_limit_holds_and_the_plan_is_complete():
    # Processor time, so that a busy machine does not fail what only the solver can get wrong.
    random = np.random.default_rng(5)
    problem = Problem.of(random.integers(100, 401, (300, 2)), np.full((300, 2), 1000))
    started = process_time()
    solution = solve(problem, 1.0, clock=process_time)
    assert process_time() - started < 4
    assert not solution.unplaced
    assert solution.bound <= solution.objective


def test_eight_thousand_pods_that_all_differ_keep_the_limit_from_the_first_plan_on():
    random = np.random.default_rng(0)
    problem = Problem.of(random.integers(100, 4000, (8000, 2)), np.full((4000, 2), 16000))
    started = process_time()
    solution = solve(problem, 1.0, clock=process_time)
    assert process_time() - started < 2.5
    assert not solution.unplaced
    assert 1027 <= solution.bound <= solution.objective <= 1400


@pytest.mark.parametrize("seed", [18, 20, 26, 70, 111])
def test_small_problems_in_odd_bytes_that_no_grid_holds_are_proven(seed):
    random = np.random.default_rng(seed)
    count, hosts = int(random.integers(8, 20)), int(random.integers(5, 9))
    cpu = random.integers(1, 17, count) * 250 + random.integers(0, 40, count)
    asked = np.column_stack([cpu, random.integers(2**28, 6 * 2**30, count)])
    free = np.column_stack([random.integers(2, 5, hosts) * 3999, random.integers(4 * 2**30, 17 * 2**30, hosts)])
    solution = solve(problem := Problem.of(asked, free), 30)
    assert solution.proven
    assert solution.proof
    unplaced = bool(solution.unplaced)
    shown = lower_bound(problem, solution.proof, unplaced=unplaced)
    assert shown <= (solution.least_unplaced if unplaced else solution.bound)


@pytest.mark.parametrize(
    ("requests", "free"),
    [([[0.5], [0.6]], [[1.0]]), ([[-1], [2]], [[1]]), ([[1, 2]], [[1]]), ([1, 2], [[1]]), ([], [])],
)
def test_amounts_that_are_no_whole_numbers_are_refused(requests, free):
    with pytest.raises(ValueError, match=r"whole numbers|the same resources"):
        Problem.of(requests, free)


def test_amounts_that_no_sum_can_hold_are_refused_and_what_nodes_have_beyond_them_makes_no_difference():
    with pytest.raises(ValueError, match="more than can be counted: use larger units"):
        Problem.of(np.full((2, 1), 2**61), np.full((2, 1), 2**62))
    with pytest.raises(ValueError, match="more than can be counted"):
        Problem.of(np.full((1, 1), 2**64 - 1, dtype=np.uint64), np.ones((1, 1), dtype=int))
    huge = Problem.of(np.full((3, 1), 2**60), np.array([[2**64 - 1], [2**60], [2**61]], dtype=np.uint64))
    assert (huge.free >= 0).all()
    for of in (plain, solve):
        solution = of(huge, 5)
        assert (set(solution.node_of), solution.bound) == ({0}, 1)


def test_more_scarce_resources_than_a_grid_has_room_for():
    """Thirty kinds of devices, each scarce: no table over all of them, but a plan and a bound in time."""
    random = np.random.default_rng(0)
    problem = Problem.of(random.integers(0, 4, (60, 30)), np.full((40, 30), 10))
    started = process_time()
    solution = solve(problem, 2.0, clock=process_time)
    assert process_time() - started < 5
    assert not solution.unplaced
    assert 9 <= solution.bound <= solution.objective <= 25


def test_tasks_that_each_have_nodes_of_their_own():
    """As many kinds of nodes as there are tasks, by what they take: none of them can be left out."""
    problem = Problem.of(np.full((150, 1), 6), np.full((300, 1), 10))
    allowed = np.repeat(np.eye(150, dtype=bool), 2, axis=1)
    solution = solve(replace(problem, rule=np.arange(150), allowed=allowed), 2.0)
    assert not solution.unplaced
    assert solution.bound <= solution.objective == 150


@pytest.mark.parametrize("of", [plain, solve])
def test_a_byte_too_many_is_one_too_many(of):
    """Within a solver's tolerance of 1e-6 the first two tasks would fit, and so would the third beside one of them."""
    gib = 2**30
    problem = Problem.of([[4 * gib + 1], [4 * gib + 1], [500]], [[8 * gib], [5 * gib]])
    solution = of(problem, 10)
    asked = np.zeros((2, 1), int)
    np.add.at(asked, list(solution.node_of), problem.requests)
    assert solution.node_of.count(-1) == 0
    assert (asked <= problem.free).all()
    assert solution.objective == 2


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_plans_in_bytes_hold_in_bytes(data):
    """Nodes are a few bytes too small, or just large enough, for some of the tasks together."""
    sizes = data.draw(st.lists(st.integers(2**28, 2**33), min_size=2, max_size=5))
    free = [
        sum(data.draw(st.lists(st.sampled_from(sizes), min_size=1, max_size=3, unique=True)))
        + data.draw(st.integers(-6, 6))
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    problem = Problem.of([[size] for size in sizes], [[amount] for amount in free])
    solution = solve(problem, 5)
    for j, amount in enumerate(free):
        assert sum(size for size, node in zip(sizes, solution.node_of, strict=True) if node == j) <= amount
    fits = [
        sum(node >= 0 for node in plan)
        for plan in itertools.product(range(-1, len(free)), repeat=len(sizes))
        if all(sum(s for s, n in zip(sizes, plan, strict=True) if n == j) <= a for j, a in enumerate(free))
    ]
    assert sum(node < 0 for node in solution.node_of) >= solution.least_unplaced
    assert len(sizes) - max(fits) >= solution.least_unplaced


def test_perfect_triplets_are_at_most_one_node_from_a_third_as_many():
    random = np.random.default_rng(2)
    large = random.integers(380, 491, 20)
    middle = np.array([random.integers(250, (1000 - a) // 2 + 1) for a in large])
    sizes = np.concatenate([large, middle, 1000 - large - middle]).reshape(-1, 1)
    solution = solve(Problem.of(sizes, np.full((60, 1), 1000)), 5)
    assert solution.bound == 20
    assert solution.objective <= 21


def test_nodes_in_use_are_preferred_among_equally_many():
    amounts = {"cpu": 4000}
    busy = Pod("running", "running", {"cpu": 1000})
    nodes = [Node("a", amounts, amounts), Node("b", amounts, {"cpu": 3000}, running=(busy,))]
    problem = build([Pod("t", "t", {"cpu": 2000})], nodes)
    assert solve(problem, 5).node_of[0] == 1


@pytest.mark.parametrize("seed", range(4))
def test_as_many_nodes_in_use_as_the_plain_formulation_where_it_is_small(seed):
    random = np.random.default_rng(seed)
    problem = replace(
        Problem.of(random.integers(2, 9, (12, 2)), random.integers(9, 20, (10, 2))), preferred=random.random(10) < 0.5
    )
    solution, reference = solve(problem, 20), plain(problem, 20)
    assert solution.objective == reference.objective

    def new(plan):
        return sum(not problem.preferred[j] for j in set(plan.node_of) - {-1})

    assert new(solution) == new(reference)


@pytest.mark.parametrize("seed", [10, 17, 20])
def test_nodes_in_use_are_preferred_where_the_problem_is_too_large_for_the_plain_formulation(seed):
    random = np.random.default_rng(seed)
    asked = np.array([(3, 5), (5, 4), (4, 7), (7, 3)])[random.integers(0, 4, 60)]
    free = np.array([(16, 16), (17, 18), (20, 20)])[random.integers(0, 3, 30)]
    problem = replace(Problem.of(asked, free), preferred=random.random(30) < 0.6)
    solution = solve(problem, 20)
    assert solution.proven
    assert sum(not problem.preferred[j] for j in set(solution.node_of)) <= 1


def test_a_zone_that_is_nearly_full_neither_stops_the_search_nor_hides_the_optimum():
    rules, asked = ["{}" if i == 2 else TOLERATES for i in range(6)], {"cpu": 2, "memory": 1}
    tasks = [Pod(f"t{i}", group, asked, rules[i]) for i, group in enumerate("abbbab")]
    nodes = []
    for cpu, memory, zone, taints in (
        (6, 9, "x", ()), (2, 7, "y", ()), (6, 11, "y", ()), (6, 8, "x", TAINT), (0, 7, "x", TAINT)
    ):  # fmt: skip
        amounts, labels = {"cpu": cpu, "memory": memory}, {"topology.kubernetes.io/zone": zone}
        nodes.append(Node(f"n{len(nodes)}", amounts, amounts, labels=labels, taints=taints))
    solution = solve(build(tasks, nodes, [Spread("b", 3, "zone")]), 20)
    assert (solution.objective, solution.proven) == (2, True)
    assert solution.seconds < 10


def test_no_task_is_an_empty_plan():
    problem = Problem.of(np.zeros((0, 2), dtype=int), np.ones((3, 2), dtype=int))
    assert solve(problem, 1).objective == 0


def test_a_smaller_time_limit_never_makes_a_wrong_bound():
    problem = replace(fleet(1, 500, 200), preferred=np.zeros(200, dtype=bool))
    assert solve(problem, 0.01).bound <= solve(problem, 10).objective


@pytest.mark.parametrize(("low", "high", "room"), [(100, 400, 1000), (1, 1000, 1000), (200, 800, 1000), (20, 100, 150)])
def test_forty_tasks_that_all_differ_in_ten_resources_are_proven(low, high, room):
    random = np.random.default_rng(0)
    problem = Problem.of(random.integers(low, high + 1, (40, 10)), np.full((40, 10), room))
    solution = solve(problem, 20, clock=process_time)
    assert solution.proven
    assert (problem.left(np.array(solution.node_of)) >= 0).all()
    assert solution.proof
    assert lower_bound(problem, solution.proof) <= solution.bound


@pytest.mark.parametrize("nodes", [5, 6])
def test_listed_patterns_prove_what_the_plain_formulation_does(nodes):
    random = np.random.default_rng(nodes)
    asked = random.integers(10**6, 4 * 10**6, (10, 3)) * (1, 1000, 1)
    free = random.integers(6 * 10**6, 9 * 10**6, (nodes, 3)) * (1, 1000, 1)
    problem = Problem.of(asked, free[random.integers(0, 3, nodes)])
    solution, reference = solve(problem, 20, clock=process_time), plain(problem, 60)
    assert (len(solution.unplaced), solution.objective) == (len(reference.unplaced), reference.objective)
    assert solution.proven


def odd(tasks: int, seed: int) -> Problem:
    """Tasks that all differ in three resources, about three to a node."""
    random = np.random.default_rng(seed)
    return Problem.of(random.integers(100, 401, (tasks, 3)), np.full((tasks, 3), 1000))


def test_the_plan_and_the_bound_of_every_moment_are_told_and_the_last_ones_are_the_result():
    told = []
    random = np.random.default_rng(0)
    problem = Problem.of(random.integers(100, 401, (40, 10)), np.full((40, 10), 1000))
    solution = solve(problem, 20, clock=process_time, watch=told.append)
    for before, after in itertools.pairwise(told):
        assert after.nodes <= before.nodes
        assert after.bound >= before.bound
    assert (told[-1].nodes, told[-1].bound, told[-1].unplaced) == (solution.objective, solution.bound, 0)
    assert told[0].gap > told[-1].gap == 0
    assert 0 <= told[0].seconds <= told[-1].seconds <= solution.seconds
    assert solution.by in (Bound.LISTED, Bound.BRANCHING)


@pytest.mark.parametrize("moment", [1, 2])
def test_an_interrupt_gives_the_best_so_far(moment):
    told = []

    def watch(progress):
        told.append(progress)
        if len(told) == moment:
            raise KeyboardInterrupt

    problem = odd(40, 2)
    solution = solve(problem, 20, clock=process_time, watch=watch)
    assert solution.stopped
    assert not solution.unplaced
    assert (solution.objective, solution.bound) == (told[-1].nodes, told[-1].bound)
    assert len(told) == moment
    assert (problem.left(np.array(solution.node_of)) >= 0).all()


def test_some_nodes_of_a_plan_are_packed_again_on_fewer():
    problem, until = odd(90, 1), Until(process_time() + 20, process_time)
    weights = np.full(3, 1 / 1000)
    bad = solve(problem, 0.0).node_of
    found = Incumbent(problem, solver._linear(problem, weights), len(set(bad)) - 1, until, 20.0, None)
    found.offer(np.array(bad))
    repair(found, weights, until)
    assert found.score[1] == len(set(bad)) - 1
    assert not found.missing
    assert (problem.left(found.plan) >= 0).all()


@pytest.mark.parametrize("seed", range(12))
def test_of_a_small_problem_one_node_less_is_found_where_it_is_possible_and_else_ruled_out(seed):
    random, until = np.random.default_rng(seed), Until(process_time() + 100, process_time)
    nodes = int(random.integers(5, 8))
    problem = Problem.of(
        random.integers(2, 9, (int(random.integers(5, 9)), 2)),
        random.integers(10, 14, (2, 2))[random.integers(0, 2, nodes)],
    )
    reference, kinds = plain(problem, 60), Kinds.of(problem)
    assert not reference.unplaced
    found = Incumbent(problem, solver._linear(problem, np.zeros(2)), 0, until, 100.0, None)
    worse = np.array(reference.node_of)
    worse[np.argmax(worse == worse[0])] = min(set(range(nodes)) - set(reference.node_of), default=worse[0])
    found.offer(worse)
    for _ in range(3):
        if found.open:
            solver._branch(found, kinds, until)
    assert found.bound == found.score[1] == reference.objective
    assert not found.missing
    assert (problem.left(found.plan) >= 0).all()


@pytest.mark.parametrize(
    ("requests", "free", "plan", "nodes"),
    [
        ([[5]] * 10, [[10]] * 8, [0, 0, 1, 1, 2, 2, 3, 3, 4, 5], 5),  # Five nodes of the kind are needed.
        ([[3]] * 6, [[6]] * 3 + [[3]] * 3, [0, 0, 1, 1, 2, 2], 3),  # On two of each kind four would be.
    ],
)
def test_branch_and_bound_on_fewer_nodes_of_each_kind_proves_no_more_than_is_true(requests, free, plan, nodes):
    problem, until = Problem.of(requests, free), Until(process_time() + 60, process_time)
    found = Incumbent(problem, solver._linear(problem, np.zeros(1)), 0, until, 60.0, None)
    found.offer(np.array(plan))
    while found.open:
        solver._branch(found, Kinds.of(problem), until)
    assert (found.score[1], found.bound) == (nodes, nodes)


def test_what_is_small_is_proven_when_nothing_else_is_left_to_try():
    problem = Problem.of([[4, 7], [7, 4], [6, 6]] * 3, [[10, 10]] * 120)
    with mock.patch.multiple(solver, listable=lambda _: False, _FEW=0, repair=lambda *_: None):
        solution = solve(problem, 60, clock=process_time)
    assert (solution.objective, solution.proven, solution.by) == (9, True, Bound.BRANCHING)


def test_nodes_are_packed_again_to_the_end_and_have_together_a_nodes_room_to_spare():
    random, looks, seen = np.random.default_rng(0), itertools.count(), []

    def by_lists(found, *_, **__):
        seen.append(found.problem)

    problem = Problem.of(random.integers(50, 201, (200, 5)), np.full((200, 5), 1000))
    with (
        mock.patch.multiple(solver, listable=lambda _: False, _FEW=0, squeeze=lambda _, plan, *__: plan),
        mock.patch.object(refine, "by_lists", by_lists),
    ):
        solution = solve(problem, 1.0, clock=lambda: next(looks) / 2000)
    assert solution.bound < solution.objective
    assert solution.seconds >= 1.0
    assert seen
    for part in seen:
        assert (part.free.sum(axis=0) - part.requests.sum(axis=0) >= part.free[0]).all()


@pytest.mark.parametrize(("tasks", "nodes", "kinds"), [(120, 60, 20), (700, 300, 1)])
def test_while_the_gap_is_open_all_the_time_is_used(tasks, nodes, kinds):
    """On a clock of its own, which no fast machine outruns: a look at it is half a millisecond."""
    random, looks = np.random.default_rng(0), itertools.count()
    free = np.full((nodes, 10), 1000) - 20 * random.integers(0, kinds, (nodes, 1))
    problem = Problem.of(random.integers(100, 401, (tasks, 10)), free)
    solution = solve(problem, 1.0, clock=lambda: next(looks) / 2000)
    assert not solution.unplaced
    assert solution.bound < solution.objective
    assert 1.0 <= solution.seconds < 1.1


@pytest.mark.parametrize(("number", "times"), [(16, 1), (14, 1), (6, 3), (1, 3)])
def test_patterns_that_are_too_many_to_be_looked_at_together_are_looked_at_in_parts(number, times):
    random = np.random.default_rng(number)
    asked = np.repeat(random.integers(20, 60, (number, 3)), times, axis=0)
    kinds = Kinds.of(Problem.of(asked, np.full((number, 3), 100)))
    prices, until = random.random((1, number)), Until(process_time() + 100, process_time)
    patterns = [list(held) for n in range(1, 5) for held in itertools.combinations_with_replacement(range(number), n)]
    fitting = [held for held in patterns if (kinds.requests[held].sum(axis=0) <= kinds.free[0]).all()]
    best = max(prices[0, held].sum() for held in fitting if max(map(held.count, held)) <= times)
    worths = []
    for together, looked in ((250_000, 10**9), (3, 10**9), (3, 0)):
        with mock.patch.multiple(listing, _TOGETHER=together, _LOOKED=looked):
            lister = Lister(kinds, np.full(1, 0.1), 10**6)
            _, _, most = lister(prices, until)
            worths.append(lister.list(0, prices[0], 0.1, 10**6, until).worth)
        assert lister.exact == (looked == 10**9)
        assert most[0] == pytest.approx(best) if lister.exact else most[0] >= best - 1e-9
    assert worths[1] == pytest.approx(worths[0])


def test_a_dive_fixes_more_at_a_time_where_time_is_short():
    """On a clock that counts looks at it: in ten times as many, a pattern or two are fixed at a time."""
    kinds, every, one = Kinds.of(odd(48, 0)), np.arange(48), np.ones(1)
    master = Master(kinds, one, 1000.0)
    master.add(0 * every, np.eye(48, dtype=np.int64))
    duals, _ = generate(master, Lister(kinds, one, 30, 2), Until(process_time() + 60, process_time))
    for looks in (60, 30_000):
        count = itertools.count()
        until = Until(looks, lambda count=count: float(next(count)))
        chosen, rest = dive(master, duals, 48.0, 0.95, until, lambda rest: Lister(rest, one, 30, 2))
        assert not rest.demand.any()
        assert sum(times for _, _, times in chosen) < 20


def test_where_no_node_is_left_no_pattern_is_listed():
    kinds = replace(Kinds.of(odd(9, 0)), count=np.zeros(1, dtype=np.int64))
    lister = Lister(kinds, np.ones(1), 10)
    node, patterns, most = lister(np.ones((1, 9)), Until(process_time() + 10, process_time))
    assert (len(node), len(patterns), most.tolist(), lister.exact) == (0, 0, [1.0], True)


def test_an_interrupt_ends_an_integer_program_too():
    def clock():
        os.kill(os.getpid(), signal.SIGINT)
        return 0.0

    random, kinds = np.random.default_rng(0), Kinds.of(odd(60, 0))
    master = Master(kinds, np.ones(1), 1000.0)
    patterns = np.zeros((3000, 60), dtype=np.int64)
    for pattern in patterns:
        pattern[random.choice(60, 3, replace=False)] = 1
    master.add(np.zeros(3000, dtype=np.int64), patterns)
    with pytest.raises(KeyboardInterrupt):
        master.integer(Until(1.0, clock), 0.0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
