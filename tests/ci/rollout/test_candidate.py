"""The decision about a promotion, row by row: what both ledgers hold, who approves, and what comes of it."""

from typing import Any

import pytest

from ci.rollout.candidate import Approval, Stand, chosen, promotable
from tests.ci.rollout.clusters import digest


def release(number: int, letter: str, *, over: tuple[int, str] | None = None, **more: Any) -> dict[str, Any]:
    """Return release `number` of an image, compared with one of production's releases, or with nothing."""
    champion = {"release": over[0], "digest": digest(over[1])} if over else None
    found = {"release": number, "digest": digest(letter), "version": letter, "inputs": letter, "champion": champion}
    return {**found, "as_of": "2013-04-01", **more}


FIRST, SECOND = release(1, "a"), release(2, "b", over=(1, "a"))
ASKED, ADA = Approval(needed=True), Approval(needed=True, by="ada")
LISTED = Approval(needed=True, may=("ada", "grace"), by="mallory")

ROWS: dict[str, tuple[list[Any], list[Any], str | None, Approval, str, str]] = {
    "nothing was ever in staging": ([], [], None, Approval(), "none", "nothing was released in staging yet"),
    "the first one": ([FIRST], [], None, Approval(), "deploy", "verified as release 1 of staging"),
    "the first one by its digest": ([FIRST], [], "a", Approval(), "deploy", "verified as release 1 of staging"),
    "a better one": ([FIRST, SECOND], [FIRST], None, Approval(), "deploy", "verified as release 2 of staging"),
    "never in staging": ([FIRST], [], "c", Approval(), "none", "was never verified in staging"),
    "rolled back in staging": (
        [FIRST, SECOND, release(3, "a", instead_of=2)], [FIRST], "b", Approval(), "none", "2 of staging was rolled",
    ),
    "what staging went back to serves already": (
        [FIRST, SECOND, release(3, "a", instead_of=2)], [FIRST], None, Approval(), "nothing", "is already serving",
    ),
    "brought back in staging": (
        [FIRST, SECOND, release(3, "a", instead_of=2), release(4, "b", over=(1, "a"), instead_of=3)],
        [FIRST], None, Approval(), "deploy", "verified as release 4 of staging",
    ),
    "already there": ([FIRST], [release(1, "a")], None, Approval(), "nothing", "already serving as release 1 of prod"),
    "already there, though nobody approves": ([FIRST], [release(1, "a")], None, ASKED, "nothing", "already serving"),
    "it was there and something newer serves": (
        [FIRST, SECOND], [FIRST, SECOND], "a", Approval(), "refuse", "rollback --environment production --to 1`",
    ),
    "it was rolled back there": (
        [FIRST, SECOND], [FIRST, SECOND, release(3, "a", instead_of=2)], None, Approval(), "refuse",
        "rollback --environment production --to 2`",
    ),
    "older than what serves": (
        [release(1, "a"), release(2, "b"), release(3, "c")], [release(1, "c")], "b", Approval(), "refuse",
        "release 2 of staging is older than what serves: production serves release 3",
    ),
    "compared with nothing, but something serves": (
        [FIRST], [release(1, "d")], None, Approval(), "refuse", "compared with nothing, but release 1 serves now",
    ),
    "compared with the same number of a record that was begun anew": (
        [SECOND], [release(1, "d")], None, Approval(), "refuse",
        f"release 1 (sha256:{'a' * 12}), but release 1 (sha256:{'d' * 12}) serves",
    ),
    "compared with what was replaced since": (
        [SECOND], [FIRST, release(2, "d")], None, Approval(), "refuse", "compared with release 1, but release 2 serves",
    ),
    "compared with what was rolled back since": (
        [release(1, "c", over=(2, "b"))], [FIRST, SECOND, release(3, "a", instead_of=2)], None, Approval(), "refuse",
        "compared with release 2, but release 3 serves",
    ),
    "nobody approves": ([FIRST], [], None, ASKED, "refuse", "production needs an approval"),
    "somebody approves": ([FIRST], [], None, ADA, "deploy", "approved by ada"),
    "somebody approves who need not": ([FIRST], [], None, Approval(by="ada"), "deploy", "approved by ada"),
    "one who may not approves": ([FIRST], [], None, LISTED, "refuse", "mallory may not approve for production: ada"),
    "one who may approves": (
        [FIRST], [], None, Approval(needed=True, may=("ada", "grace"), by="grace"), "deploy", "approved by grace",
    ),
    "approved, but never in staging": ([FIRST], [], "c", ADA, "none", "was never verified"),
    "approved, but older": (
        [release(1, "a"), release(2, "b")], [release(1, "b")], "a", ADA, "refuse", "older than what serves",
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_what_may_be_promoted(row: str) -> None:
    before, there, letter, approval, action, words = ROWS[row]
    staging, production = Stand("staging", before), Stand("production", there)
    found, why = chosen(staging, letter and digest(letter))
    if found is None:
        assert action == "none"
        assert words in why
        return
    decision = promotable(found, staging, production, approval, there[-1] if there else None)
    assert (decision.action, words in decision.reason) == (action, True), decision


def test_only_what_staging_holds_is_ever_rolled_out() -> None:
    for before, there, letter, approval, action, _ in ROWS.values():
        found, _why = chosen(Stand("staging", before), letter and digest(letter))
        assert (action == "none") == (found is None)
        assert found is None or found in before
        best = there[-1] if there else None
        if found and promotable(found, Stand("s", before), Stand("p", there), approval, best).action == "deploy":
            assert found["digest"] not in {each["digest"] for each in there}


def test_on_the_way_to_the_last_environment_its_champion_counts_not_that_of_the_one_between() -> None:
    build = release(2, "b", over=(7, "f"))
    staging, between = Stand("staging", [FIRST, build]), Stand("qa", [release(1, "d")])
    assert promotable(build, staging, between, Approval(), release(7, "f")).action == "deploy"
    assert promotable(build, staging, between, Approval(), release(8, "e")).action == "refuse"
