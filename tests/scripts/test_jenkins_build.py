"""`make jenkins-build` and its command, against a double of the remote API; and retraining as a build."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ci.releases.machine import MachineLedger
from scripts import configure, jenkins_build, retrain
from scripts import jenkins as own
from tests import builds
from tests.ci.jenkins.double import TOKEN, Controller, serving
from tests.ci.jenkins.test_client import PARAMETERS
from tests.pods import REPOSITORY


@pytest.fixture
def jenkins(tmp_path, monkeypatch):
    """A controller that the settings of an otherwise empty folder name."""
    controller = Controller()
    controller.waits = 0
    controller.job("/job/model-pipeline/", branches=[
        {"name": "main", "displayName": "main", "url": f"{controller.public}/job/model-pipeline/job/main/"}
    ])  # fmt: skip
    controller.job("/job/model-pipeline/job/main/", PARAMETERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JENKINS_USER", "robot")
    monkeypatch.setenv("JENKINS_TOKEN", TOKEN)
    with serving(controller) as url:
        Path("pipeline.yaml").write_text(
            f"schema_version: 1\nas_of: 2013-04-01\nmodel: {{name: demo}}\njenkins: {{url: '{url}'}}\n"
        )
        yield controller


@pytest.mark.parametrize(("result", "code"), [("SUCCESS", 0), ("UNSTABLE", 1), ("FAILURE", 1), ("ABORTED", 1)])
def test_a_build_is_followed_and_its_result_is_the_exit_code(jenkins, capsys, result, code):
    jenkins.result = result
    assert jenkins_build.main(["AS_OF=2013-07-01", "SETTINGS=a=b=c"]) == code
    said = capsys.readouterr().out.splitlines()
    url = "https://ci.example.com/job/model-pipeline/job/main/1/"
    assert said == ["jenkins: model-pipeline/main: queue item 1", f"jenkins: {url}", "Started", "Finished: SUCCESS",
                    f"jenkins: model-pipeline/main #1: {result}"]  # fmt: skip
    assert jenkins.items[1]["values"]["SETTINGS"] == "a=b=c"


def test_settings_come_from_the_variable_too(jenkins, monkeypatch, capsys):
    file = Path("pipeline.yaml").read_text()
    Path("pipeline.yaml").write_text(file.replace("url:", "job: model-pipeline, branch: another, url:"))
    assert jenkins_build.main([]) == 2
    monkeypatch.setenv("PIPELINE_SET", "jenkins.branch=main")
    assert jenkins_build.main([]) == 0
    monkeypatch.setenv("PIPELINE_SET", "jenkins.brunch=main")
    assert jenkins_build.main([]) == 2
    assert "did you mean jenkins.branch" in capsys.readouterr().err


def test_the_same_request_from_another_process_follows_the_same_build(jenkins):
    for _ in range(2):
        command = [sys.executable, "-m", "scripts.jenkins_build", "--request", "nightly"]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert "nightly was asked for before" in done.stdout
    assert jenkins.started() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["AS_OF"], "'AS_OF': expected PARAM=VALUE"),
        (["=x"], "'=x': expected PARAM=VALUE"),
        (["--from=NOWHERE"], "--from NOWHERE: there is no such variable"),
        (["DEPLOY=no", "DEPLOY=yes"], "DEPLOY is given twice"),
        (["AS_OF=\udcff"], "AS_OF: "),
        (["--request=\udcff"], "--request: "),
        (["--branch=\udcff"], "Jenkins knows no branch"),
        (["--job=\udcff"], "jenkins.job: "),
        (["ASOF=latest"], "model-pipeline/main has no parameter 'ASOF': perhaps AS_OF"),
        (["--branch=other"], "model-pipeline: Jenkins knows no branch 'other'; it has main"),
        (["--job=other"], "Jenkins has no job other"),
    ],
)
def test_bad_input_is_told_by_name_and_starts_nothing(jenkins, capsys, arguments, message):
    assert jenkins_build.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert jenkins.items == {}


def test_without_a_login_nothing_is_asked(jenkins, monkeypatch, capsys):
    monkeypatch.delenv("JENKINS_TOKEN")
    assert jenkins_build.main([]) == 2
    assert "set JENKINS_USER and JENKINS_TOKEN" in capsys.readouterr().err
    assert jenkins.asked == []


@pytest.mark.parametrize("command", [jenkins_build.main, lambda arguments: own.main(["push", *arguments])])
def test_where_there_is_neither_an_address_nor_kind_it_is_said_what_to_do(tmp_path, monkeypatch, capsys, command):
    shutil.copy(REPOSITORY / "tests/pipeline.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command([]) == 2
    assert "no controller on the cluster model-pipeline of Kind: `make jenkins` makes one" in capsys.readouterr().err


NASTY = ["$(touch executed)", "`touch executed`", "';touch executed;'", '"; touch executed; "', "a b\\c", "ü\u2028x"]


@pytest.mark.parametrize("value", NASTY)
def test_make_passes_what_it_was_given_and_executes_none_of_it(jenkins, tmp_path, value):
    """The value goes by the environment: in make's own command line only the names stand."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    (tmp_path / "scripts").symlink_to(REPOSITORY / "scripts")
    (tmp_path / "ci").symlink_to(REPOSITORY / "ci")
    (tmp_path / ".venv").symlink_to(REPOSITORY / ".venv")
    given = f"SETTINGS=model.name={value.replace('$', '$$')}"
    command = ["make", "--silent", "--assume-old=.venv/.ready", "jenkins-build", given, "AS_OF=latest", "REQUEST=it's"]
    around = {**os.environ, "BRANCH": "another", "JOB": "another", "STRATEGY": "random"}  # not given to make
    done = subprocess.run(command, env=around, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert jenkins.items[1]["values"]["STRATEGY"] == ""
    expected = {"SETTINGS": f"model.name={value}", "AS_OF": "latest", "REQUEST": "it's"}
    assert {name: jenkins.items[1]["values"][name] for name in expected} == expected
    assert not list(tmp_path.rglob("executed"))


def test_a_retraining_is_one_build_however_often_it_is_found(jenkins, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(Path.cwd().parent))
    assert configure.main(["--set=tuning.max_trials=3", "--set=as_of=2013-04-01"]) == 0
    window = {"first": "2013-04-01", "end": "2013-05-01"}
    builds.write("monitoring/monitoring.json", builds.monitoring("drifted", window=window))
    MachineLedger().add(builds.release())
    assert retrain.main([]) == 0
    assert jenkins.items == {}, "without --start it is only said"
    for _ in range(2):
        assert retrain.main(["--start"]) == 0
    [item] = jenkins.items.values()
    digest = builds.release()["digest"].removeprefix("sha256:")[:12]
    assert item["values"] == {
        "AS_OF": "2013-05-01", "STRATEGY": "", "SETTINGS": "tuning.max_trials=3", "DEPLOY": "true",
        "REQUEST": f"retrain-{digest}-2013-05-01",
    }  # fmt: skip
    assert TOKEN not in "".join(capfd.readouterr())
