"""Asking the API server: what is repeated, what is not, and what is said."""

import pytest

from ci.errors import InputError, StageError
from ci.kube.api import TRIES, ApiServer, Conflict, Denied, Missing
from tests.ci import apiservers

PATH = "/api/v1/namespaces/models/configmaps"
ONE = {"metadata": {"name": "one"}}


@pytest.fixture
def server():
    with apiservers.serving() as parts:
        yield parts


def test_what_was_written_is_read(server):
    _, api, _ = server
    api.ask("POST", PATH, ONE)
    assert api.get(f"{PATH}/one")["metadata"]["name"] == "one"


@pytest.mark.parametrize("faults", [[429, 500], [503], ["drop", "drop"]])
def test_a_server_that_is_busy_or_gone_for_a_moment_is_asked_again(server, faults):
    store, api, waits = server
    api.ask("POST", PATH, ONE)
    store.faults += faults
    assert api.get(f"{PATH}/one")
    assert not store.faults
    assert len(waits) == len(faults) - 1  # the first time it is asked again at once


def test_the_server_says_how_long_to_wait(server):
    store, api, waits = server
    api.ask("POST", PATH, ONE)
    store.faults, store.retry_after = [429], "3"
    api.get(f"{PATH}/one")
    assert waits == [3.0]


@pytest.mark.parametrize(("status", "kind"), [(401, Denied), (403, Denied), (404, Missing), (409, Conflict)])
def test_a_refusal_is_not_repeated_and_has_the_servers_words(server, status, kind):
    store, api, waits = server
    store.faults = [status]
    with pytest.raises(kind, match=f"GET {PATH}/one: the API server answers {status}: told to answer {status}"):
        api.get(f"{PATH}/one")
    assert not waits


def test_a_server_that_stays_busy_is_given_up(server):
    store, api, waits = server
    store.faults = [500] * 20
    with pytest.raises(StageError, match=f"answers 500: told to answer 500, {TRIES} times"):
        api.get(f"{PATH}/one")
    assert 0.5 < waits[0] < waits[1] < waits[2] <= 2.25
    assert len(waits) == TRIES - 2  # the first time it is asked again at once
    assert len(store.faults) == 20 - TRIES


def test_a_write_whose_answer_was_lost_is_refused_the_second_time_and_so_is_never_made_twice(server):
    store, api, _ = server
    seen = api.ask("POST", PATH, ONE)
    store.faults = ["drop"]
    with pytest.raises(Conflict):
        api.ask("PUT", f"{PATH}/one", {**seen, "data": {"count": "1"}})
    assert store.version == 2


@pytest.mark.parametrize("when", ["Wed, 21 Oct 2015 07:28:00 GMT", "soon", "-1", "", "0"])
def test_what_is_no_time_to_wait_for_is_no_fault(server, when):
    store, api, waits = server
    api.ask("POST", PATH, ONE)
    store.faults, store.retry_after = [503], when
    assert api.get(f"{PATH}/one")
    assert not waits


@pytest.mark.parametrize("when", ["Wed, 21 Oct 2199 07:28:00 GMT", "86400", "9" * 30])
def test_no_server_makes_us_wait_long(server, when):
    store, api, waits = server
    api.ask("POST", PATH, ONE)
    store.faults, store.retry_after = [503], when
    assert api.get(f"{PATH}/one")
    assert waits == [10]


def test_no_redirect_is_followed_with_the_credentials(server):
    store, api, _ = server
    store.faults = [307]
    with pytest.raises(StageError, match="answers 307"):
        api.get(f"{PATH}/one")
    assert not store.asked


@pytest.mark.parametrize("answer", [[1], "text", 3, True])
def test_an_answer_that_is_no_object_is_told(server, answer):
    store, api, _ = server
    store.handle = lambda *_: (200, answer)
    with pytest.raises(StageError, match=f"GET {PATH}/one: this is no API server"):
        api.get(f"{PATH}/one")


@pytest.mark.parametrize("content", [b"{", b"plain text", b"\xff\xfe\x00"])
def test_a_file_that_is_no_kubeconfig_is_named(tmp_path, monkeypatch, content):
    file = tmp_path / "kubeconfig"
    file.write_bytes(content)
    monkeypatch.setenv("KUBECONFIG", str(file))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    with pytest.raises(InputError, match=r"is no kubeconfig|no cluster"):
        ApiServer()
