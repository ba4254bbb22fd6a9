"""The decisions of a rollout."""

from itertools import product
from typing import Any

import pytest

from ci.releases.ledger import target, withdrawn
from ci.rollout.decision import (
    TRIES,
    WAITS,
    Observed,
    Phase,
    Step,
    admit,
    expected,
    next_step,
    plan,
    smoke_problem,
    stuck,
    unrecorded,
)

A, L, F, R, S, P = Phase.ABSENT, Phase.LOADING, Phase.FAILED, Phase.READY, Phase.SERVING, Phase.PAUSED
U, C, G = Phase.UNREACHABLE, Phase.SHARING, Phase.ROLLING


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (Observed(A), Step.START),
        (Observed(A, started=True), Step.ABORT),
        (Observed(F), Step.ABORT),
        (Observed(L), Step.WAIT),
        (Observed(L, late=True), Step.ABORT),
        (Observed(R), Step.SMOKE),
        (Observed(R, smoked=True), Step.PROMOTE),
        (Observed(U), Step.ABORT),
        (Observed(R, U, frozenset({U}), smoked=True), Step.ABORT),
        (Observed(S, P, frozenset({P, U}), smoked=True), Step.VERIFY),
        (Observed(S, A, frozenset({U}), smoked=True, verified=True, recorded=True), Step.RETIRE),
        (Observed(S), Step.SMOKE),
        (Observed(P, smoked=True), Step.PROMOTE),
        (Observed(A, S, frozenset({S})), Step.START),
        (Observed(A, P, frozenset({P})), Step.RESUME),
        (Observed(R, P, frozenset({P}), smoked=True), Step.RESUME),
        (Observed(S, P, frozenset({P}), smoked=True), Step.VERIFY),
        (Observed(S, S, frozenset({S}), smoked=True), Step.PAUSE),
        (Observed(S, S, frozenset({S})), Step.SMOKE),
        (Observed(S, P, frozenset({P}), smoked=True, verified=True), Step.RECORD),
        (Observed(S, A, frozenset({P}), smoked=True, verified=True, recorded=True), Step.RETIRE),
        (Observed(S, A, smoked=True, verified=True, recorded=True), Step.DONE),
        (Observed(S, A, frozenset({R}), smoked=True, verified=True, recorded=True), Step.RETIRE),
        (Observed(R, S, frozenset({S}), smoked=True, shares=True, released=True), Step.JOIN),
        (Observed(C, S, frozenset({S}), shares=True, released=True), Step.SMOKE),
        (Observed(C, S, frozenset({S}), smoked=True, shares=True, released=True), Step.ANALYSE),
        (Observed(C, S, frozenset({S}), smoked=True, shares=True, released=True, analysed=True), Step.PROMOTE),
        (Observed(A, A, shares=True, released=True), Step.RESUME),
        (Observed(C, A, smoked=True, shares=True, released=True), Step.RESUME),
        (Observed(A, A, shares=True, released=True, analysed=True), Step.START),
        (Observed(G, A, shares=True, released=True, smoked=True), Step.WAIT),
        (Observed(R, A, smoked=True, shares=True), Step.PROMOTE),
        (Observed(G, shares=True, leftover=True, smoked=True), Step.WAIT),
        (Observed(G, shares=True, leftover=True, smoked=True, late=True), Step.ABORT),
        (Observed(S, smoked=True, verified=True, recorded=True, leftover=True), Step.RETIRE),
    ],
)
def test_the_next_step_follows_from_what_is_seen(seen: Observed, step: Step) -> None:
    assert next_step(seen) is step


@pytest.mark.parametrize(("step", "most"), [(Step.JOIN, TRIES), (Step.RECORD, TRIES), (Step.WAIT, WAITS)])
def test_a_step_that_is_due_again_and_again_in_one_state_leads_nowhere(step: Step, most: int) -> None:
    seen, other = Observed(R, smoked=True), Observed(R)
    assert stuck({}, step, seen) is None
    assert stuck({(step, seen): most - 1}, step, seen) is None
    assert stuck({(step, other): 99, (Step.SMOKE, seen): 99}, step, seen) is None
    said = f"step {step} was taken {most} times, and the version is still ready as before it"
    assert stuck({(step, seen): most}, step, seen) == said


@pytest.mark.parametrize(
    ("released", "phases", "found"),
    [
        ("", {}, None),
        ("", {"a": S}, "a"),
        ("", {"a": G}, "a"),
        ("", {"a": R, "b": L, "c": F, "d": U, "e": P}, None),
        ("a", {"a": S}, None),
        ("a", {"b": S}, "b"),
        ("a", {"a": P, "b": S}, None),  # under way
        ("a", {"a": S, "b": C}, None),
        ("a b", {"a": S}, None),  # changed by hand, which is told otherwise
        ("a", {}, None),
    ],
)
def test_what_serves_is_recorded(released: str, phases: dict[str, Phase], found: str | None) -> None:
    assert unrecorded(history(released), phases) == found


def test_what_is_paused_is_the_stable_version_only_if_that_served() -> None:
    """Where a version that was never verified serves, the stable one may be ready beside it."""
    served = expected(Observed(S, S, frozenset({S})), Step.PAUSE)
    assert (served.stable, served.others) == (P, frozenset({P}))
    beside = expected(Observed(S, R, frozenset({S, R})), Step.PAUSE)
    assert (beside.stable, beside.others) == (R, frozenset({P, R}))


def test_a_first_and_a_later_rollout_take_these_steps() -> None:
    first = "start wait smoke promote verify record done"
    later = "start wait smoke promote pause verify record retire done"
    assert plan(Observed(A)) == first.split()
    assert plan(Observed(A, S, frozenset({S}))) == later.split()


def test_on_a_cluster_a_canary_shares_the_traffic_unless_there_is_nothing_to_compare_it_with() -> None:
    first = "start wait smoke promote wait verify record retire done"
    later = "start wait smoke join analyse promote wait verify record retire done"
    assert plan(Observed(A, shares=True)) == first.split()
    assert plan(Observed(A, S, frozenset({S}), shares=True, released=True)) == later.split()
    again = Observed(A, S, frozenset({S}), shares=True, released=True, analysed=True)
    assert plan(again) == ["start", "wait", "smoke", "promote", "wait", "verify", "record", "retire", "done"]


def test_from_every_state_a_rollout_ends_with_the_version_recorded_or_is_given_up() -> None:
    others = [frozenset(group) for group in ((), (S,), (P,), (R,), (S, P), (S, R, L), (F,), (U,))]
    flags = list(product([False, True], repeat=8))
    for wanted, stable, group, (smoked, verified, recorded, started, late, shares, released, analysed) in product(
        Phase, Phase, others, flags
    ):
        if (stable is not A and (stable not in group or not released)) or (released and recorded):
            continue
        seen = Observed(wanted, stable, group, smoked, verified, recorded, started, late, shares, released, analysed)
        steps = plan(seen)
        assert len(steps) < 15
        assert (Step.ANALYSE in steps) <= (shares and released and not analysed)
        if shares and released and not analysed and wanted in (A, L, R, C) and Step.PROMOTE in steps:
            assert Step.ANALYSE in steps[: steps.index(Step.PROMOTE)]
        if steps[-1] is Step.ABORT:
            assert (
                wanted in (F, U)
                or (U in group and wanted is not S)
                or (wanted in (L, G) and late)
                or (wanted is A and (started or late))
            )
        elif Step.PAUSE in steps:
            assert steps.index(Step.PAUSE) < (steps.index(Step.RECORD) if Step.RECORD in steps else len(steps))


@pytest.mark.parametrize(
    ("verdict", "same", "withdrawn", "overtaken", "action", "reason"),
    [
        ("promote", False, 4, None, "nothing", "release 4, which was rolled back"),
        ("keep", False, 4, None, "nothing", "release 4, which was rolled back"),
        ("block", False, 4, None, "refuse", "blocked this model"),
        ("promote", False, None, "release 2 serves now", "refuse", "release 2 serves now"),
        ("promote", True, None, "release 2 serves now", "nothing", "already serving"),
        ("keep", False, None, "release 2 serves now", "nothing", "the champion is kept"),
        ("promote", False, None, None, "deploy", "because"),
        ("promote", True, None, None, "nothing", "already serving"),
        ("keep", False, None, None, "nothing", "the champion is kept: because"),
        ("keep", True, None, None, "nothing", "already serving"),
        ("block", False, None, None, "refuse", "blocked this model: because"),
        ("block", True, None, None, "refuse", "blocked this model: because"),
        ("maybe", False, None, None, "refuse", "none of promote, keep and block"),
    ],
)
def test_a_package_is_admitted_by_its_verdict(
    verdict: str, same: bool, withdrawn: int | None, overtaken: str | None, action: str, reason: str
) -> None:
    decision = admit(verdict, "because", same=same, withdrawn=withdrawn, overtaken=overtaken)
    assert decision.action == action
    assert reason in decision.reason


def history(text: str) -> list[dict[str, Any]]:
    """Releases from their images' letters; `a<2` is image a, released in place of release 2."""
    parts = [part.partition("<") for part in text.split()]
    return [
        {"release": number, "digest": digest, **({"instead_of": int(of)} if of else {})}
        for number, (digest, _, of) in enumerate(parts, 1)
    ]


@pytest.mark.parametrize(
    ("releases", "to", "found", "gone"),
    [
        ("", None, None, {}),
        ("", 1, None, {}),
        ("a", None, None, {}),
        ("a b", None, 1, {}),
        ("a b c", None, 2, {}),
        ("a b c", 1, 1, {}),
        ("a b c", 4, None, {}),
        ("a b c b<3", None, 1, {"c": 3}),
        ("a b c b<3 a<4", None, None, {"c": 3, "b": 4}),
        ("a b c b<3 c<4", None, 1, {"b": 4}),
        ("a b a<2 c", None, 3, {"b": 2}),
        ("a b a<2 b<3", None, None, {"a": 3}),
    ],
)
def test_a_rollback_goes_to_the_newest_release_that_was_not_rolled_back(
    releases: str, to: int | None, found: int | None, gone: dict[str, int]
) -> None:
    chosen = target(history(releases), to)
    assert (chosen and chosen["release"]) == found
    assert withdrawn(history(releases)) == gone


SIGNATURE = {"inputs": {"x": "DT_FLOAT"}, "output": "y"}


def metadata(dtype: str = "DT_FLOAT", output: str = "y") -> dict[str, Any]:
    definition = {"inputs": {"x": {"dtype": dtype}}, "outputs": {output: {"dtype": "DT_FLOAT"}}}
    return {"metadata": {"signature_def": {"signature_def": {"serving_default": definition}}}}


@pytest.mark.parametrize(
    ("state", "answer", "served", "problem"),
    [
        ("AVAILABLE", metadata(), [0.5, 1.0], None),
        ("AVAILABLE", metadata(), [0.500009, 1], None),
        ("AVAILABLE", metadata(), [0.50002, 1.0], "golden prediction 0 is 0.50002, evaluated as 0.5"),
        ("AVAILABLE", metadata(), [0.5, float("nan")], "golden prediction 1 is nan, which is no finite number"),
        ("AVAILABLE", metadata(), [0.5, float("inf")], "no finite number"),
        ("AVAILABLE", metadata(), [0.5, [1.0]], "no finite number"),
        ("AVAILABLE", metadata(), [0.5, True], "no finite number"),
        ("AVAILABLE", metadata(), [0.5], "2 golden instances were answered by [0.5]"),
        ("AVAILABLE", metadata(), {"error": "x"}, "2 golden instances were answered by {'error': 'x'}"),
        ("AVAILABLE", metadata(dtype="DT_INT64"), [0.5, 1.0], "the signature is {'x': 'DT_INT64'}"),
        ("AVAILABLE", metadata(output="z"), [0.5, 1.0], "['z'], but the package's manifest says"),
        ("LOADING", metadata(), [0.5, 1.0], "['LOADING'], not AVAILABLE"),
    ],
)
def test_a_smoke_test_names_what_is_wrong(state: str, answer: Any, served: Any, problem: str | None) -> None:
    status = {"model_version_status": [{"state": state}]}
    found = smoke_problem(SIGNATURE, status, answer, [0.5, 1.0], served, 1e-5)
    if problem is None:
        assert found is None
    else:
        assert problem in str(found)


@pytest.mark.parametrize(("served", "differs"), [(0.75, False), (0.25, False), (0.75001, True), (0.2499, True)])
def test_a_prediction_may_differ_by_the_tolerance_and_by_no_more(served: float, differs: bool) -> None:
    status = {"model_version_status": [{"state": "AVAILABLE"}]}
    assert bool(smoke_problem(SIGNATURE, status, metadata(), [0.5], [served], 0.25)) is differs
