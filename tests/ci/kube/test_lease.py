"""One deployer at a time."""

import threading
import time

import pytest

from ci.errors import StageError
from ci.kube.lease import Held, Lease, Lost, holder
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


def test_what_others_keep_in_the_lease_stays(server):
    store, api = server
    theirs = {
        "labels": {"app.kubernetes.io/part-of": "models"},
        "annotations": {"team": "a"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "1"}],
        "finalizers": ["example.com/keep"],
    }
    api.ask("POST", PATH.rsplit("/", 1)[0], {"metadata": {"name": "deployer", **theirs}, "spec": {"strategy": "x"}})
    with lease(api, "one", seconds=1) as held:
        renewed = store.objects[PATH]["spec"]["renewTime"]
        until(lambda: store.objects[PATH]["spec"]["renewTime"] != renewed)
        held.check()
        assert store.objects[PATH]["metadata"].items() >= theirs.items()
    assert store.objects[PATH]["metadata"].items() >= theirs.items()
    assert store.objects[PATH]["spec"]["strategy"] == "x"


def until(holds):
    """Wait until something holds, ten seconds at most."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


class Time:
    """Seconds that pass only when somebody waits, and what happens at some of them."""

    def __init__(self):
        self.now, self.events = 0.0, []

    def __call__(self):
        return self.now

    def pause(self, seconds):
        self.now += seconds
        while self.events and self.events[0][0] <= self.now:
            self.events.pop(0)[1]()


@pytest.mark.parametrize("wait", [0.0, 60.0])
def test_the_lease_of_a_dead_deployer_is_taken_when_its_time_is_over_and_not_before(server, wait):
    store, api = server
    clock = Time()
    dead = lease(api, "dead", seconds=10, clock=clock)
    dead._take()
    store.objects[PATH]["spec"]["renewTime"] = "2013-01-01T00:00:00.000000Z"  # by its own word it is dead
    late = lease(api, "late", seconds=10, wait=wait, clock=clock, pause=clock.pause)
    late._take()
    assert clock.now == pytest.approx(10.0, abs=1.1)
    assert clock.now > 10.0
    assert late.term == 2


def test_a_lease_for_a_day_that_nobody_renews_is_not_waited_for_all_day(server):
    _, api = server
    clock = Time()
    spec = {"holderIdentity": "somebody", "leaseDurationSeconds": 86400}
    api.ask("POST", PATH.rsplit("/", 1)[0], {"metadata": {"name": "deployer"}, "spec": spec})
    with pytest.raises(Held, match=r"somebody is deploying.*lasts 86,400 s; if it is not, empty its holderIdentity"):
        lease(api, "late", seconds=10, clock=clock, pause=clock.pause)._take()
    assert clock.now <= 62.0


def test_a_holder_that_renews_is_never_taken_for_dead(server):
    _, api = server
    clock = Time()
    alive = lease(api, "alive", seconds=10, clock=clock)
    alive._take()
    clock.events = [(at, lambda: alive._put(alive._read(), "alive", 1)) for at in range(3, 100, 3)]
    with pytest.raises(Held, match="alive is deploying"):
        lease(api, "late", seconds=10, wait=60.0, clock=clock, pause=clock.pause)._take()
    assert clock.now >= 60.0


def test_of_two_that_saw_the_lease_free_one_gets_it(server):
    """Both have read it before either writes, which a race in one process never shows."""
    store, api = server
    api.ask("POST", PATH.rsplit("/", 1)[0], {"metadata": {"name": "deployer"}})
    one, two = lease(api, "one"), lease(api, "two")
    seen = two._read()
    one._take()
    two._read = iter([seen, *[two._read()] * 9]).__next__
    with pytest.raises(Held, match="one is deploying"):
        two._take()
    assert store.objects[PATH]["spec"]["holderIdentity"] == "one"


def test_the_time_counts_from_when_a_renewal_was_sent(server, monkeypatch):
    """An answer that comes late says nothing of how long the Lease is held from then on."""
    store, api = server
    clock = Time()
    held = lease(api, "one", seconds=10, clock=clock)
    handle = store.handle

    def slow(method, *more):
        clock.now += 8 * (method == "PUT")
        return handle(method, *more)

    api.ask("POST", PATH.rsplit("/", 1)[0], {"metadata": {"name": "deployer"}})
    monkeypatch.setattr(store, "handle", slow)
    held._take()
    held.check()
    clock.now += 3
    with pytest.raises(Lost, match="could not be renewed for 10 s"):
        held.check()


def test_a_lease_that_changes_all_the_time_is_not_tried_for_ever(server, monkeypatch):
    store, api = server
    api.ask("POST", PATH.rsplit("/", 1)[0], {"metadata": {"name": "deployer"}})
    handle = store.handle

    def written(method, path, body, *more):
        if method == "PUT":
            store.write(
                path, {**store.objects[path], "metadata": {**store.objects[path]["metadata"], "n": store.version}}
            )
        return handle(method, path, body, *more)

    monkeypatch.setattr(store, "handle", written)
    with pytest.raises(StageError, match="changes all the time: who writes it besides deployers"), lease(api, "one"):
        pass


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, None),
        ({"holderIdentity": "", "leaseDurationSeconds": 15}, None),
        ({"holderIdentity": "ann", "leaseDurationSeconds": 15, "renewTime": "2013-01-01T00:00:00.000000Z"}, None),
        ({"holderIdentity": "ann", "leaseDurationSeconds": 15, "renewTime": "2999-01-01T00:00:00.000000Z"}, "ann"),
        ({"holderIdentity": "ann", "leaseDurationSeconds": 15}, None),
    ],
)
def test_only_a_holder_that_lives_is_busy(server, spec, said):
    _, api = server
    api.ask("POST", PATH.rsplit("/", 1)[0], {"metadata": {"name": "deployer"}, "spec": spec})
    assert holder(api, "models", "deployer") == said


def test_a_second_deployer_is_told_who_holds_it(server):
    _, api = server
    with lease(api, "one"), pytest.raises(Held, match="one is deploying to namespace models"), lease(api, "two"):
        pass


def test_a_second_deployer_that_is_not_to_wait_is_told_at_once(server):
    _, api = server
    clock = Time()
    lease(api, "one", clock=clock)._take()
    with pytest.raises(Held, match="one is deploying"):
        lease(api, "two", clock=clock, pause=clock.pause)._take()
    assert clock.now == 0.0


def test_a_lease_that_is_given_back_meanwhile_is_taken_within_a_moment(server):
    store, api = server
    clock = Time()
    one = lease(api, "one", seconds=30, clock=clock)
    one._take()
    clock.events = [(7.0, lambda: one._put(one._read(), "", 1))]
    lease(api, "two", seconds=30, wait=60.0, clock=clock, pause=clock.pause)._take()
    assert store.objects[PATH]["spec"]["holderIdentity"] == "two"
    assert 7.0 <= clock.now <= 8.0


def test_a_renewal_that_fails_is_tried_again(server):
    store, api = server
    with lease(api, "one", seconds=1) as held:
        renewed = store.objects[PATH]["spec"]["renewTime"]
        store.faults = [403]
        until(lambda: not store.faults)
        until(lambda: store.objects[PATH]["spec"]["renewTime"] != renewed)
        held.check()


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
