"""What a deployment refuses whatever its verdict: what was changed by hand, another champion than was compared."""

import shutil

import pytest

from ci import workspace
from ci.lineage import file_digest
from ci.releases.machine import MachineLedger
from ci.results.rollout import RELEASES
from ci.rollout.decision import Phase
from ci.rollout.local import servers as local
from scripts import configure, deploy
from tests import builds
from tests.ci.rollout import journals

LEDGER = MachineLedger()

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of a good model that was compared with release 1, which serves; what it was compared with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIPELINE_SET", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for name in ("tests/pipeline.yaml", "dvc.yaml"):
        shutil.copy(builds.REPOSITORY / name, ".")
    assert configure.main([]) == 0
    monkeypatch.setattr("ci.lineage.inputs_digest", lambda: "now")
    monkeypatch.setattr(local.Local, "phases", lambda _: {A: Phase.SERVING})
    monkeypatch.setattr(local.Local, "start", lambda *_: pytest.fail("it was started"))
    LEDGER.add(journals.release("a", version="1"))
    champion = {"digest": A, "version": "1", "as_of": "2013-04-01", "release": 1}
    builds.write("evaluation/evaluation.json", builds.evaluation())
    builds.write("champion.json", champion)
    digests = {"evaluation": file_digest(workspace.EVALUATION / "evaluation.json")}
    manifest = {"image": {"digest": B}, "version": "2", "digests": digests}
    monkeypatch.setattr("ci.packaging.package.verify", lambda *_: manifest)
    return champion


def test_what_was_changed_by_hand_is_not_deployed_over(package, monkeypatch, capsys):
    monkeypatch.setattr(local.Local, "shares", True)  # as a cluster, where others can change what serves
    monkeypatch.setattr(local.Local, "changed", lambda *_: "it was changed by hand", raising=False)
    assert deploy.main([]) == 1
    assert "failed: not deployed: it was changed by hand; version 1 of release 1 serves" in capsys.readouterr().err
    assert len(LEDGER.read()) == 1


@pytest.mark.parametrize(
    ("was", "said"),
    [
        ({"release": 2}, "compared with release 2, but release 1 serves now"),
        (
            {"digest": C},
            f"compared with release 1 ({C[:19]}), but release 1 ({A[:19]}) serves now",
        ),  # of a record that was begun anew
        (None, "compared with nothing, but release 1 serves now"),
    ],
)
def test_a_model_that_was_compared_with_another_champion_is_not_deployed(package, capsys, was, said):
    builds.write("champion.json", was and {**package, **was})
    assert deploy.main([]) == 1
    assert said in capsys.readouterr().err
    assert RELEASES.path.read_text().count("\n") == 1
