"""What a place's status says."""

from typing import Any

import pytest

from ci.rollout.decision import Phase
from ci.rollout.status import SHOWN, describe


def release(number: int, digest: str, **more: Any) -> dict[str, Any]:
    return {"release": number, "digest": digest, "version": f"v-{digest}", "time": f"2013-04-0{number % 9}", **more}


TWO = [release(1, "a"), release(2, "b")]
BACK = [*TWO, release(3, "a", instead_of=2)]


@pytest.mark.parametrize(
    ("phases", "releases", "more", "well", "said"),
    [
        ({}, [], {}, False, ["nothing was released yet"]),
        ({"b": Phase.SERVING}, TWO, {}, True, ["release 2, version v-b, serves"]),
        ({}, TWO, {}, False, ["release 2, version v-b, does not serve: it is absent"]),
        (
            {"b": Phase.SERVING, "c": Phase.LOADING},
            TWO,
            {"waiting": {"c": "pod x: it is loading"}, "busy": "ann@host"},
            False,
            ["a version not released, c, is loading: pod x: it is loading", "ann@host is deploying there now"],
        ),
        (
            {"a": Phase.SERVING},
            TWO,
            {"changed": "it was changed by hand"},
            False,
            ["does not serve", "it was changed by hand", "release 1, version v-a, is serving"],
        ),
        ({"a": Phase.SERVING}, BACK, {}, True, ["in place of release 2", "version v-b  (rolled back)"]),
        ({"b": Phase.SERVING}, TWO, {"leftover": True}, False, ["serves", "its canary still runs"]),
        ({"b": Phase.ROLLING}, TWO, {"waiting": {"b": "pod y"}}, False, ["it is rolling", "is rolling: pod y"]),
        ({"b": Phase.SERVING}, TWO, {"lacking": "3 of 5 pods"}, True, ["version v-b, serves\n3 of 5 pods"]),
        (
            {"b": Phase.ROLLING},
            TWO,
            {"lacking": "3 pods"},
            False,
            ["v-b, serves, and its pods are being replaced\n3 p"],
        ),
        ({"c": Phase.SERVING}, [], {"disagrees": "c serves, and is not recorded"}, False, ["c serves, and is not"]),
    ],
)
def test_a_status_says_what_serves_and_what_is_wrong(phases, releases, more, well, said):
    found = describe("here", phases, releases, **{"waiting": {}, **more})
    assert found.well is well
    text = "\n".join(found.lines)
    for part in said:
        assert part in text


def test_only_the_newest_releases_are_listed_and_the_others_counted():
    many = [release(n, f"d{n}") for n in range(1, SHOWN + 4)]
    found = describe("here", {many[-1]["digest"]: Phase.SERVING}, many, waiting={})
    assert found.lines[-1] == "and 3 before"
    assert sum(line.startswith("release") for line in found.lines) == SHOWN
