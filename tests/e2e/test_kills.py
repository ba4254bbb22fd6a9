"""A build that is killed, even once in every long stage, ends as if nothing had happened when it is run again.

The random kills are 3 by default: `KILLS=20 KILLS_SEED=1 pytest -s tests/e2e/test_kills.py -k random` makes 20 others.
"""

import json
import os
import random
import re
import time

import pytest

from tests.e2e.forks import Build, Fork

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

KILLS = int(os.environ.get("KILLS", "3"))
SEED = os.environ.get("KILLS_SEED", "0")


def in_tuning(fork: Fork) -> bool:
    """One trial of three has ended."""
    return "· 1 of 3 ·" in fork.said.read_text(encoding="utf-8")


def in_training(fork: Fork) -> bool:
    """The SavedModel is half-written."""
    return (fork.folder / "build/.model.part").exists()


def in_packaging(fork: Fork) -> bool:
    return any((fork.folder / "build" / name).exists() for name in (".package.part", "package"))


def in_deployment(fork: Fork) -> bool:
    """The new version's server has started; it lives on, as it does not belong to the build."""
    return any((fork.folder / "build/state/serving").glob("*.sock"))


def test_a_build_killed_in_tune_train_package_and_deploy_ends_with_the_digests_of_an_undisturbed_one(
    expected, checkout
):
    fork = checkout("killed")
    for reached, next_stage in (
        (in_tuning, "Running stage 'train'"),
        (in_training, "Running stage 'test'"),
        (in_packaging, "place:"),
        (in_deployment, "monitor:"),
    ):
        assert next_stage not in fork.run_until(reached)
    build = fork.build()
    ends_as_undisturbed(fork, build, expected)


@pytest.mark.parametrize("number", range(KILLS))
def test_a_build_killed_at_a_random_moment_ends_as_an_undisturbed_one_and_repeats_no_finished_trial(
    expected, checkout, number
):
    chance = random.Random(f"{SEED}/{number}")
    lasts = float(re.findall(r"; ([\d.]+) in all", expected.said)[-1])
    while True:
        fork, moment = checkout(f"random-{number}"), chance.uniform(0, lasts)
        until = time.monotonic() + moment
        said = fork.run_until(lambda _, until=until: time.monotonic() >= until, may_end=True)
        if said is not None:
            break
        lasts = moment  # it was faster than the undisturbed one: any moment before this one will do
    finished = finished_trials(fork)
    last = said.splitlines()[-1] if said else "nothing said"
    print(
        f"\nkill {number + 1}/{KILLS} (seed {SEED}) after {moment:.2f} s, {len(finished)} trials finished: {last[:100]}"
    )
    build = fork.build()
    fork.stop()  # twenty servers would be too many
    ends_as_undisturbed(fork, build, expected)
    assert not [trial for trial in finished if re.search(rf"^ *trial {trial}:", build.said, re.MULTILINE)]
    assert finished.items() <= finished_trials(fork).items()


def ends_as_undisturbed(fork: Fork, build: Build, expected: Build) -> None:
    assert build.manifest["digests"] == expected.manifest["digests"]
    assert build.package == expected.package
    assert build.evaluation == expected.evaluation
    assert _found(build) == _found(expected)
    assert [release["digest"] for release in build.releases] == [expected.manifest["image"]["digest"]]
    assert build.monitoring == expected.monitoring
    assert not list((fork.folder / "build").rglob(".*.part")), "nothing half-written is left"


def _found(build: Build) -> list[tuple[str, dict[str, object], float]]:
    return [(row["trial"], row["hyperparameters"], row["objective"]) for row in build.trials]


def finished_trials(fork: Fork) -> dict[str, float]:
    """Return the objective of each trial that the search has written down as completed."""
    found = {}
    for path in (fork.folder / "build/state/tuning").glob("*/search.json"):
        content = json.loads(json.loads(path.read_text(encoding="utf-8"))["content"])
        found |= {trial["trial_id"]: trial["score"] for trial in content["trials"] if trial["status"] == "COMPLETED"}
    return found
