"""One deployer at a time."""

import threading
import time

import pytest

from ci.rollout.lease import Held, Lease, Lost
from tests.ci import apiservers

PATH = "/apis/coordination.k8s.io/v1/namespaces/models/leases/deployer"


@pytest.fixture
def server():
    with apiservers.serving() as (store, api, _):
        yield store, api


def lease(api, holder, **options):
    return Lease(api, "models", "deployer", holder, **{"seconds": 3, **options})


def test_a_lease_is_held_and_given_back(server):
    store, api = server
    with lease(api, "one") as held:
        held.check()
        assert store.objects[PATH]["spec"]["holderIdentity"] == "one"
    assert store.objects[PATH]["spec"]["holderIdentity"] == ""
    with lease(api, "two") as held:
        assert held.term == 2


def test_a_second_deployer_is_told_who_holds_it(server):
    _, api = server
    with lease(api, "one"), pytest.raises(Held, match="one is deploying to namespace models"), lease(api, "two"):
        pass


def test_a_second_deployer_waits_as_long_as_it_is_told(server):
    _, api = server
    order = []

    def second():
        with lease(api, "two", wait=10):
            order.append("two")

    with lease(api, "one"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.5)
        order.append("one")
    thread.join()
    assert order == ["one", "two"]


def test_the_lease_of_a_dead_deployer_is_taken_after_its_time_and_the_dead_one_may_not_write(server):
    _, api = server
    dead = lease(api, "dead", seconds=1)
    dead._take()  # it is killed before it renews
    begin = time.monotonic()
    time.sleep(0.6)
    with lease(api, "next", seconds=1) as held:
        assert time.monotonic() - begin >= 1
        assert held.term == dead.term + 1
        with pytest.raises(Lost, match="could not be renewed for 1 s"):
            dead.check()


def test_a_lease_that_lives_is_renewed_and_not_taken(server):
    _, api = server
    with lease(api, "one", seconds=1) as held:
        time.sleep(1.5)
        with pytest.raises(Held), lease(api, "two", seconds=1):
            pass
        held.check()


def test_a_holder_whose_lease_was_taken_by_force_notices(server):
    store, api = server
    with lease(api, "one", seconds=1) as held:
        taken = store.objects[PATH]
        api.ask("PUT", PATH, {**taken, "spec": {**taken["spec"], "holderIdentity": "thief"}})
        time.sleep(0.6)
        with pytest.raises(Lost, match="thief holds it now"):
            held.check()
    assert store.objects[PATH]["spec"]["holderIdentity"] == "thief"


def test_an_api_server_that_is_away_too_long_costs_the_lease(server):
    store, api = server
    with lease(api, "one", seconds=1) as held:
        store.faults = [500] * 10_000
        time.sleep(1.2)
        with pytest.raises(Lost, match="could not be renewed"):
            held.check()
        store.faults.clear()


@pytest.mark.parametrize("fault", ["drop", 500, 429])
def test_an_answer_that_is_lost_while_the_lease_is_taken_changes_nothing(server, fault):
    store, api = server
    store.faults = [None, fault]
    with lease(api, "one") as held:
        held.check()


@pytest.mark.slow
def test_of_a_thousand_races_each_is_won_by_one_deployer_at_a_time(server):
    _, api = server
    inside, most, won, refused = [], [0], [0], [0]
    guard = threading.Lock()

    def race(name):
        for turn in range(125):
            try:
                with lease(api, f"{name}-{turn}", pause=lambda _: None):
                    inside.append(name)
                    most[0] = max(most[0], len(inside))
                    inside.remove(name)
                    with guard:
                        won[0] += 1
            except Held:
                with guard:
                    refused[0] += 1

    threads = [threading.Thread(target=race, args=(f"deployer-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert won[0] + refused[0] == 1000
    assert won[0] >= 8
    assert refused[0]
