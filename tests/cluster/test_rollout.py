"""Rollouts on a cluster with real pods, and what must happen when something goes wrong on the way."""

import json
from pathlib import Path

import pytest

from ci.apiserver import ApiServer
from ci.rollout import manifests
from ci.rollout.history import History
from tests import pods
from tests.cluster.drills import harness
from tests.cluster.tools import SERVING, kubectl

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def fork(operated, tmp_path_factory):
    """A fork's folder, current for the module, with one release that serves."""
    folder = tmp_path_factory.mktemp("fork")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        here.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent))
        Path("k8s").symlink_to(pods.REPOSITORY / "k8s")
        found = harness.Fork(operated, harness.bases(operated, folder), harness.settings())
        here.setattr("ci.lineage.inputs_digest", found.inputs)
        found.package({"bias": 1.0})
        assert found.deploy() == 0
        yield found
        kubectl("delete", "deployments", "--all", "-n", SERVING)


def serving() -> tuple[str, int]:
    """The version of the stable pods, and the last release."""
    stable = json.loads(kubectl("get", "deployment", manifests.STABLE, "-n", SERVING, "-o", "json"))
    container = next(e for e in stable["spec"]["template"]["spec"]["containers"] if e["name"] == "serving")
    version = next(each["value"] for each in container["env"] if each["name"] == "MODEL_VERSION")
    last = History(ApiServer(), SERVING).last()
    assert last is not None
    return version, last["release"]


def canaries() -> list[str]:
    listed = json.loads(kubectl("get", "deployments", "-n", SERVING, "-o", "json"))["items"]
    return [each["metadata"]["name"] for each in listed if each["metadata"]["name"] == manifests.CANARY]


def test_a_good_version_takes_over_under_load_without_a_failed_request(fork, tmp_path, capsys):
    with harness.Load(harness.node_port(), log=tmp_path / "load.txt") as load:
        digest = fork.package({"bias": 2.0})
        assert fork.deploy() == 0
    assert not load.failures, load.failures[:3]
    assert set(load.seen()) == {2.0, 3.0}
    assert serving() == (fork.versions[digest], 2)
    assert canaries() == []


def test_deploying_it_again_changes_nothing(fork, capsys):
    before = kubectl("get", "deployments,services,configmaps", "-n", SERVING, "-o", "json")
    assert fork.deploy() == 0
    assert "nothing to do" in capsys.readouterr().out
    after = kubectl("get", "deployments,services,configmaps", "-n", SERVING, "-o", "json")
    assert [e["metadata"]["resourceVersion"] for e in json.loads(after)["items"]] == [
        e["metadata"]["resourceVersion"] for e in json.loads(before)["items"]
    ]


@pytest.mark.parametrize(
    ("behaviour", "options", "reason"),
    [
        ({"bias": 3.0}, {"loaded": False}, "its image"),
        ({"crashes": True}, {}, "its server ends again and again"),
        ({"loads_for_ever": True}, {}, "had not loaded its model"),
        ({"dtype": "DT_STRING"}, {}, "the signature is"),
        ({"bias": 3.0}, {"golden_off": 0.5}, "golden prediction 0 is"),
        ({"nan": True}, {}, "no finite number"),
        ({"bias": 2.0, "seconds": 0.3}, {}, "latency p50 is"),
        ({"bias": 2.0, "errors": 0.2}, {}, "requests failed"),
    ],
)
def test_a_bad_version_never_takes_over_and_the_reason_is_said(fork, capsys, behaviour, options, reason):
    before = serving()
    with harness.Load(harness.node_port()):
        fork.package(behaviour, **options)
        assert fork.deploy() == 1
    said = capsys.readouterr().err
    assert reason in said
    assert serving() == before
    assert canaries() == []
