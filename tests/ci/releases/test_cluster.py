"""A cluster's releases."""

import json
from typing import Any

import pytest

from ci.errors import StageError
from ci.releases.cluster import MOST, NAME, ClusterLedger
from tests.ci import apiservers
from tests.ci.rollout import journals

PATH = "/api/v1/namespaces/models/configmaps"
EVIDENCE = {"manifest.json": json.dumps({"model": "m", "digests": {"evaluation": "a"}}), "golden.json": "[1]"}


@pytest.fixture
def history():
    with apiservers.serving() as (store, api, _):
        api.ask("POST", PATH, {"metadata": {"name": NAME}})
        yield store, ClusterLedger(api, "models")


A, B, C = (journals.release(letter) for letter in "abc")


def written(store: apiservers.Store) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.objects[f"{PATH}/{NAME}"]["data"]["history.json"])
    return found


def test_releases_are_numbered_and_the_last_is_recorded_once(history):
    store, releases = history
    store.objects[f"{PATH}/{NAME}"]["data"] = {"notes": "an operator's"}
    assert releases.last() is None
    for release in (A, A, B, B):
        releases.add(release)
    assert releases.read() == [{"release": 1, **A}, {"release": 2, **B}]
    assert store.objects[f"{PATH}/{NAME}"]["data"]["notes"] == "an operator's"


def test_a_deployer_that_another_has_overtaken_records_nothing(history):
    store, releases = history
    releases.add(A)
    handle, late = store.handle, []

    def overtaking(method, path, body, *more):
        if method == "PUT" and not late:
            late.append(True)
            found = store.objects[path]
            other = {"schema": 1, "releases": [*written(store)["releases"], {"release": 2, **C}]}
            store.write(path, {**found, "metadata": {**found["metadata"]}, "data": {"history.json": json.dumps(other)}})
        return handle(method, path, body, *more)

    store.handle = overtaking
    with pytest.raises(StageError, match="another deployer has recorded a release meanwhile"):
        releases.add(B)
    assert [each["digest"] for each in releases.read()] == [A["digest"], C["digest"]]


def test_the_list_keeps_to_its_room_and_numbers_go_on(history):
    """What was written before there was a limit is longer than a ConfigMap will take with one record more."""
    store, releases = history
    rival = {"digest": f"sha256:{'e' * 64}", "version": "20130301120000", "as_of": "2013-03-01", "release": 1}
    more = {"model": "demo", "commit": "c" * 40, "revision": "5d4f8c7b9", "inputs": "d" * 64, "champion": rival}
    old = [{**A, **more, "digest": f"sha256:{n:064x}"} for n in range(1, 2031)]
    value = {"schema": 1, "releases": [{"release": n, **each} for n, each in enumerate(old, 1)]}
    store.objects[f"{PATH}/{NAME}"]["data"] = {"history.json": json.dumps(value)}
    assert len(json.dumps(value)) > MOST
    releases.require_room()
    assert releases.add(A)["release"] == 2031
    assert releases.add(B)["release"] == 2032
    found = written(store)
    assert len(json.dumps(found, sort_keys=True)) <= MOST
    assert found["releases"][-1]["release"] == 2032 == len(found["releases"]) + found["dropped"]
    assert len(releases.read()) > 1000
    assert releases.last() == {"release": 2032, **B}


def test_no_room_is_said_before_a_release_is_made(history):
    store, releases = history
    releases.require_room()
    store.objects[f"{PATH}/{NAME}"]["data"] = {"notes": "x" * 300_000}
    with pytest.raises(StageError, match=r"300,005 bytes in keys that are not ours \(notes\)"):
        releases.require_room()
    store.objects[f"{PATH}/{NAME}"] |= {"data": {}, "immutable": True}
    with pytest.raises(StageError, match="is immutable"):
        releases.require_room()
    with pytest.raises(StageError, match=r"the evidence of this release has 2,000,0\d\d bytes \(golden.json 2,000,000"):
        releases.keep(A["digest"], {"golden.json": "x" * 2_000_000})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "Input should be"),
        ('{"releases": []}', "schema: "),
        ('{"schema": 1, "releases": {}}', "releases: "),
        (json.dumps({"schema": 1, "releases": [{"release": 1, **A, "as_of": "never"}]}), "releases.0.as_of: "),
        (json.dumps({"schema": 1, "releases": [{"release": None, **A}]}), "releases.0.release: "),
        (json.dumps({"schema": 1, "releases": [{"release": 1, **A}, {"release": 1, **B}]}), "are not in order"),
        (json.dumps({"schema": 1, "releases": [{"release": 1, **A}, {"release": 3, **B}]}), "2 are listed and 0 were"),
        (json.dumps({"schema": 1, "releases": [{"release": 1, **A, "commit": "\ud800"}]}), "not JSON"),
    ],
)
def test_a_damaged_list_is_an_error_that_names_its_place(history, text, said):
    store, releases = history
    store.objects[f"{PATH}/{NAME}"]["data"] = {"history.json": text}
    with pytest.raises(StageError, match=r"ConfigMap rollout-history of namespace models, key history\.json") as error:
        releases.read()
    assert said in str(error.value)


def test_the_list_of_a_newer_pipeline_is_not_read(history):
    store, releases = history
    store.objects[f"{PATH}/{NAME}"]["data"] = {"history.json": '{"schema": 2, "entries": []}'}
    with pytest.raises(StageError, match="has schema 2, this pipeline reads 1: use a newer pipeline"):
        releases.last()


def test_a_list_that_was_deleted_is_told_with_what_to_do(history):
    store, releases = history
    del store.objects[f"{PATH}/{NAME}"]
    for asked in (releases.read, releases.last, releases.require_room, lambda: releases.add(A)):
        with pytest.raises(StageError, match=r"namespace models has no ConfigMap rollout-history.*from a backup"):
            asked()


def test_evidence_of_an_image_is_kept_once_whatever_it_was_compared_with(history):
    _, releases = history
    releases.keep("sha256:" + "a" * 64, EVIDENCE)
    again = {**EVIDENCE, "manifest.json": json.dumps({"model": "m", "digests": {"evaluation": "b"}})}
    releases.keep("sha256:" + "a" * 64, again)
    said = r"holds other evidence for this image \(golden.json\).*`kubectl delete configmap release-a{16} -n models`"
    with pytest.raises(StageError, match=said):
        releases.keep("sha256:" + "a" * 64, {**EVIDENCE, "golden.json": "[2]"})


def test_evidence_of_images_that_are_not_kept_is_deleted_and_nothing_else(history):
    store, releases = history
    for release in (A, B, C):
        releases.keep(release["digest"], EVIDENCE)
    mine = {"metadata": {"name": "release-notes", "labels": {"app.kubernetes.io/name": "model"}}}
    store.handle("POST", PATH, mine)
    store.handle("POST", PATH, {"metadata": {"name": "serving-1"}, "immutable": True})
    names = [f"ConfigMap release-{letter * 16} of namespace models" for letter in "ac"]
    before = {*store.objects}
    assert releases.forget({B["digest"]}, dry_run=True) == names
    assert {*store.objects} == before
    assert releases.forget({B["digest"]}, dry_run=False) == names
    assert before - {*store.objects} == {f"{PATH}/release-{letter * 16}" for letter in "ac"}
    assert releases.forget({B["digest"]}, dry_run=False) == []


def test_evidence_is_fetched_once_and_lies_in_a_folder_of_its_own(history, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store, releases = history
    releases.keep(A["digest"], EVIDENCE)
    kept = store.objects[f"{PATH}/release-{'a' * 16}"]
    assert kept["immutable"] is True
    assert kept["metadata"]["labels"] == {"app.kubernetes.io/name": "model"}
    folder = releases.evidence(A["digest"])
    assert {path.name: path.read_text() for path in folder.iterdir()} == EVIDENCE
    asked = len(store.asked)
    assert releases.evidence(A["digest"]) == folder
    assert len(store.asked) == asked
    with pytest.raises(StageError, match=f"ConfigMap release-{'b' * 16} with the evidence of {B['digest']} is gone"):
        releases.evidence(B["digest"])


def test_a_write_of_somebody_else_is_met_by_looking_again_some_times(history):
    """An operator who annotates the list makes it conflict; one who does so all the time is named."""
    store, releases = history
    handle, left = store.handle, [3]

    def annotating(method, path, body, *more):
        if method == "PUT" and left[0]:
            left[0] -= 1
            found = store.objects[path]
            metadata = {**found["metadata"], "annotations": {"n": str(left[0])}}
            store.write(path, {**found, "metadata": metadata})
        return handle(method, path, body, *more)

    store.handle = annotating
    assert releases.add(A)["release"] == 1
    left[0] = 99
    with pytest.raises(StageError, match="rollout-history changes all the time: who writes it besides the deployer"):
        releases.add(B)
    left[0] = 0
    assert [release["digest"] for release in releases.read()] == [A["digest"]]


def test_a_release_that_could_not_be_read_is_not_recorded(history):
    _, releases = history
    with pytest.raises(StageError, match=r"the release cannot be recorded: releases\.0\.as_of: "):
        releases.add({**A, "as_of": "never"})
    assert releases.read() == []


def test_how_many_are_listed_and_dropped_is_told_where_they_do_not_add_up(history):
    store, releases = history
    records = [{"release": 7, **A}, {"release": 9, **B}]
    for dropped, said in ((7, None), (6, "the last release is 9, but 2 are listed and 6 were dropped")):
        value = {"schema": 1, "releases": records, "dropped": dropped}
        store.objects[f"{PATH}/{NAME}"]["data"] = {"history.json": json.dumps(value)}
        if said is None:
            assert [release["release"] for release in releases.read()] == [7, 9]
        else:
            with pytest.raises(StageError, match=said):
                releases.read()
    store.objects[f"{PATH}/{NAME}"]["data"] = {"history.json": '{"schema": 1, "releases": [], "dropped": 0}'}
    assert releases.read() == []
    assert releases.last() is None


@pytest.mark.parametrize("more", [0, 1])
def test_the_room_for_the_list_is_counted_to_the_byte(history, more):
    """A ConfigMap holds 1 MiB, of which the list may have `MOST`, beside its key."""
    store, releases = history
    room = 2**20 - MOST - len("history.json")
    store.objects[f"{PATH}/{NAME}"]["data"] = {"notes": "x" * (room - len("notes") + more)}
    if more:
        with pytest.raises(StageError, match="no release can be recorded"):
            releases.require_room()
    else:
        releases.require_room()
