"""Watching a canary on a cluster, by its API server and its gateways alone."""

from typing import Any

from tests.ci.rollout.clusters import World, digest

A, B, C = (digest(letter) for letter in "abc")


def test_a_canary_is_watched_as_long_as_the_window(world: World) -> None:
    world.released("a")
    world.package("b")
    seconds = iter(range(1000))
    with world.lease() as lease:
        where = world.where(lease, clock=lambda: next(seconds) / 10)
        where.phases()
        where.start(B)
        where.phases()
        where.join(B)
        told: list[Any] = []
        measured = where.analyse(B, told.append)
        assert measured["requests"] >= 600
        spent = next(seconds) / 10
        assert spent >= world.settings.rollout.analysis.window
        assert len(told) >= 5
