"""A build that is killed, even once in every long stage, ends as if nothing had happened when it is run again."""

import pytest

from tests.e2e.forks import Fork


def in_tuning(fork: Fork) -> bool:
    return "trial  2/3" in fork.said.read_text(encoding="utf-8")


def in_training(fork: Fork) -> bool:
    """The SavedModel is half-written."""
    return (fork.folder / "build/.model.part").exists()


def in_packaging(fork: Fork) -> bool:
    return any((fork.folder / "build" / name).exists() for name in (".package.part", "package"))


def in_deployment(fork: Fork) -> bool:
    """The new version's server has started; it lives on, as it does not belong to the build."""
    return any((fork.folder / "build/state/serving").glob("*.sock"))


@pytest.mark.slow
def test_a_build_killed_in_tune_train_package_and_deploy_ends_with_the_digests_of_an_undisturbed_one(
    undisturbed, checkout
):
    fork = checkout("killed")
    for reached, next_stage in (
        (in_tuning, "Running stage 'train'"),
        (in_training, "Running stage 'test'"),
        (in_packaging, "place:"),
        (in_deployment, "monitor:"),
    ):
        assert next_stage not in fork.run_until(reached)
    _, expected = undisturbed
    build = fork.build()
    assert build.manifest["digests"] == expected.manifest["digests"]
    assert build.package == expected.package
    assert [release["digest"] for release in build.releases] == [expected.manifest["image"]["digest"]]
    assert build.monitoring == expected.monitoring
    assert not list((fork.folder / "build").rglob(".*.part")), "nothing half-written is left"
