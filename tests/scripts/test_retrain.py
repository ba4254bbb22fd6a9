"""`scripts.retrain`: what it starts, and that it starts it once."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ci.monitoring import memory
from ci.releases.machine import MachineLedger
from ci.settings.watching import History
from scripts import configure, retrain
from tests import builds
from tests.ci.jenkins.double import TOKEN, Controller, serving
from tests.ci.jenkins.test_client import PARAMETERS
from tests.pods import REPOSITORY

RECORDS = History()
DECISION = Path("build/retraining/decision.json")


@pytest.fixture
def controller(tmp_path, monkeypatch):
    """A folder with a release whose predictions drifted, and a controller that its settings name."""
    found = Controller()
    branch = {"name": "main", "displayName": "main", "url": f"{found.public}/job/model-pipeline/job/main/"}
    found.job("/job/model-pipeline/", branches=[branch])
    found.job("/job/model-pipeline/job/main/", PARAMETERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIPELINE_SET", raising=False)
    monkeypatch.delenv("BUILD_URL", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("JENKINS_USER", "robot")
    monkeypatch.setenv("JENKINS_TOKEN", TOKEN)
    shutil.copy(REPOSITORY / "dvc.yaml", "dvc.yaml")
    with serving(found) as url:
        text = (REPOSITORY / "tests/pipeline.yaml").read_text()
        Path("pipeline.yaml").write_text(text + f"\njenkins: {{url: '{url}'}}\n")
        assert configure.main([]) == 0
        window = {"first": "2013-04-01", "end": "2013-05-01"}
        builds.write("monitoring/monitoring.json", builds.monitoring("drifted", window=window))
        MachineLedger().add(builds.release())
        yield found


def decided():
    told = json.loads(DECISION.read_text())
    return told["retrain"], told["cause"], told["brake"]


def test_asked_twice_it_starts_one_build(controller):
    assert retrain.main([]) == 0
    assert controller.items == {}, "without --start nothing is"
    assert retrain.main(["--start"]) == 0
    assert decided() == (True, "predictions", None)
    assert controller.items[1]["values"]["AS_OF"] == "2013-05-01"
    for arguments in (["--start"], ["--start", "--by-hand"]):
        assert retrain.main(arguments) == 0
        assert decided()[0] is False
        assert decided()[2] == "same data"
    assert controller.started() == 1


def test_a_build_that_waits_or_runs_holds_it_back_but_not_the_one_that_asks(controller, monkeypatch):
    job = controller.jobs["/job/model-pipeline/job/main/"]
    controller._begin(job, "POST", "buildWithParameters", {"REQUEST": "nightly"})
    assert retrain.main(["--start"]) == 0
    assert decided() == (False, "predictions", "running")
    assert "queue item 1 of model-pipeline/main waits" in DECISION.read_text()
    controller.items[1]["left"] = 0
    controller.advance(controller.items[1])
    assert retrain.main(["--start"]) == 0
    assert "build 1 of model-pipeline/main runs" in DECISION.read_text()
    assert memory.attempts(RECORDS) == []
    monkeypatch.setenv("BUILD_URL", job["builds"][0]["url"])
    assert retrain.main(["--start"]) == 0
    assert decided() == (True, "predictions", None)
    assert controller.started() == 2


def test_one_that_was_killed_after_it_asked_asks_again_and_starts_no_second_build(controller):
    assert retrain.main(["--start"]) == 0
    (made,) = memory.attempts(RECORDS)
    memory.attempt(made.model_copy(update={"done": False}), RECORDS)
    controller.jobs["/job/model-pipeline/job/main/"]["builds"].clear()
    controller.advance(controller.items[1])
    controller.advance(controller.items[1])
    controller.items[1]["build"]["result"] = "SUCCESS"
    assert retrain.main(["--start"]) == 0
    assert decided()[0] is True
    assert [each.done for each in memory.attempts(RECORDS)] == [True]
    assert controller.started() == 1


def test_while_one_retrains_here_another_does_not(controller, tmp_path):
    """What runs holds the lock, also when the command that began it is gone."""
    with memory.alone(RECORDS) as lock:
        code = "import sys; sys.stdin.read()"
        child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, pass_fds=[lock.fileno()])
    command = [sys.executable, "-m", "scripts.retrain", "--start"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=120)
    assert "not now because a retraining runs here, though the predictions drifted" in done.stdout, done.stderr
    child.communicate()
    assert controller.started() == 0


def test_without_a_controller_and_without_tensorflow_nothing_is_begun(controller, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert configure.main(["--set=jenkins.url=null"]) == 0
    for _ in range(2):
        assert retrain.main(["--start"]) == 2
        assert "jenkins.url: name the controller that retrains" in capsys.readouterr().err
    assert decided() == (True, "predictions", None)
    assert memory.attempts(RECORDS) == []
    assert retrain.main([]) == 0, "who only asks is told"


def test_where_labels_arrive_late_it_knows_the_data_as_of_their_watermark(controller):
    found = {
        "counts": {},
        "maturity_days": 5,
        "method": "declared",
        "watermark": "2013-04-20",
        "source": "data/labelled",
    }
    found["labelled"] = {"2013-03-31": 7, "2013-04-01": 5, "2013-04-02": 6}
    memory.labels(RECORDS).write(found)
    assert configure.main(["--set=retraining.new_labels=11", "--set=monitoring.min_rows=7"]) == 0
    builds.write("monitoring/monitoring.json", builds.monitoring("stable", ["stable"]))
    assert retrain.main(["--start"]) == 0
    assert decided() == (True, "labels", None)
    assert "11 rows were labelled since" in DECISION.read_text()
    asked = controller.items[1]["values"]
    assert asked["AS_OF"] == "2013-04-20"
    assert asked["SETTINGS"].splitlines()[-1] == "data.source=data/labelled"
