"""A cluster's releases."""

import json

import pytest

from ci.errors import StageError
from ci.rollout.history import NAME, History
from tests.ci import apiservers

PATH = "/api/v1/namespaces/models/configmaps"
EVIDENCE = {"manifest.json": json.dumps({"model": "m", "digests": {"evaluation": "a"}}), "golden.json": "[1]"}


@pytest.fixture
def history():
    with apiservers.serving() as (store, api, _):
        api.ask("POST", PATH, {"metadata": {"name": NAME}})
        yield store, History(api, "models")


def test_releases_are_numbered_and_the_last_is_recorded_once(history):
    _, releases = history
    assert releases.last() is None
    for digest in ("a", "b", "b"):
        releases.add({"digest": digest})
    assert [(each["release"], each["digest"]) for each in releases.read()] == [(1, "a"), (2, "b")]


def test_a_deployer_that_another_has_overtaken_records_nothing(history):
    store, releases = history
    releases.add({"digest": "a"})
    handle, late = store.handle, []

    def overtaking(method, path, body):
        if method == "PUT" and not late:
            late.append(True)
            found = store.objects[path]
            other = {"schema": 1, "releases": [*releases._parsed(found), {"release": 2, "digest": "theirs"}]}
            store.write(path, {**found, "metadata": {**found["metadata"]}, "data": {"history.json": json.dumps(other)}})
        return handle(method, path, body)

    store.handle = overtaking
    with pytest.raises(StageError, match="another deployer has recorded a release meanwhile"):
        releases.add({"digest": "ours"})
    assert [each["digest"] for each in releases.read()] == ["a", "theirs"]


def test_evidence_of_an_image_is_kept_once_whatever_it_was_compared_with(history):
    _, releases = history
    releases.keep("sha256:" + "a" * 64, EVIDENCE)
    again = {**EVIDENCE, "manifest.json": json.dumps({"model": "m", "digests": {"evaluation": "b"}})}
    releases.keep("sha256:" + "a" * 64, again)
    with pytest.raises(StageError, match="holds other evidence"):
        releases.keep("sha256:" + "a" * 64, {**EVIDENCE, "golden.json": "[2]"})
