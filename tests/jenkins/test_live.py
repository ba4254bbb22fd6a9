"""That a build goes as it does in Jenkins: small files, run by live.groovy, on agents that are folders."""

import re
import shutil
import sys
import textwrap
from pathlib import Path

import pytest

from tests.jenkins import folders
from tests.jenkins.controller import Aborted, Build, Job
from tests.repositories import git

AGENT = """agent {
              kubernetes {
                yaml 'spec: {}'
                defaultContainer 'main'
                retries 2
              }
            }"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    git("init", "-q")
    Path("file.txt").write_text("content")
    git("add", "-A")
    git("commit", "-qm", "first")
    return Job(work, "main", tmp_path, folders.start(tmp_path / "agents"))


def build(job: Job, text: str, **parameters: object) -> Build:
    file = job.folder / "Jenkinsfile"
    file.write_text(textwrap.dedent(text).replace("AGENT", AGENT))
    return job.build(jenkinsfile=file, **parameters)


def test_a_failure_skips_what_follows_but_not_post_and_each_agent_starts_empty(job):
    found = build(
        job,
        """
        def text = ''
        pipeline {
          agent none
          parameters {
            string(name: 'WORD', defaultValue: 'default')
            booleanParam(name: 'GO', defaultValue: true)
          }
          stages {
            stage('One') {
              AGENT
              environment {
                WORD_AS_TYPED = "${params.WORD}"
              }
              steps {
                checkout scm
                sh 'test "$(cat file.txt)" = content; echo "typed $WORD_AS_TYPED, in $CONTAINER"'
                writeFile file: 'build/note', text: "from ${env.JOB_NAME}"
                script {
                  text = readFile('build/note')
                }
              }
            }
            stage('Never') {
              when {
                beforeAgent true
                expression { !params.GO }
              }
              AGENT
              steps {
                sh 'echo never'
              }
            }
            stage('Two') {
              AGENT
              stages {
                stage('Inner') {
                  steps {
                    echo "handed over: ${text}"
                    sh 'ls -A; test ! -e build/note'
                    sh 'false; echo not reached'
                  }
                }
                stage('After') {
                  steps {
                    sh 'echo after'
                  }
                }
              }
              post {
                always {
                  sh 'mkdir kept && echo kept > kept/file'
                  archiveArtifacts artifacts: 'kept/**'
                  echo "so far ${currentBuild.currentResult}"
                }
              }
            }
            stage('Last') {
              AGENT
              steps {
                sh 'echo last'
              }
            }
          }
          post {
            always {
              echo "result ${currentBuild.currentResult}"
            }
            success {
              echo 'all is well'
            }
          }
        }
        """,
        WORD="$HOME `touch pwned` ${JOB_NAME}",
    )
    assert found.result == "FAILURE"
    assert found.skipped == {"Never": "when", "After": "earlier failure", "Last": "earlier failure"}
    assert len(found.agents) == 2
    assert "typed $HOME `touch pwned` ${JOB_NAME}, in main" in found.log
    for said in ("handed over: from demo", "so far FAILURE", "result FAILURE"):
        assert said in found.lines
    assert not {"not reached", "never", "after", "last", "all is well"} & {*found.lines}
    assert (found.artifacts / "kept/file").read_text() == "kept\n"
    assert not [*(job.folder / "agents").iterdir()]


RETRIED = """
pipeline {
  agent none
  stages {
    stage('Outer') {
      AGENT
      stages {
        stage('First') {
          steps {
            sh 'echo begun'
          }
        }
        stage('Second') {
          steps {
            sh 'echo working; COMMAND'
          }
        }
      }
      post {
        always {
          echo 'post'
        }
      }
    }
  }
}
"""


@pytest.mark.parametrize(
    ("losses", "command", "result", "begun"),
    [(1, "true", "SUCCESS", 2), (2, "true", "ABORTED", 2), (0, "exit 3", "FAILURE", 1)],
)
def test_a_lost_agent_is_replaced_once_and_an_exit_code_is_no_loss(job, losses, command, result, begun):
    lost: list[str] = []

    def watch(line, agent):
        if line == "working" and len(lost) < losses:
            lost.append(agent.name)
            shutil.rmtree(agent.workspace)
        if line == "working" and lost:
            command_ends_badly = agent.name in lost
            assert command_ends_badly == (not agent.workspace.exists())

    job.watch = watch
    text = RETRIED.replace("COMMAND", "ls . > /dev/null" if losses else command)
    # A command in a folder that is gone fails as one in a pod that is gone does.
    text = text.replace("ls . > /dev/null", 'sleep 0.2; cd "$PWD"')
    found = build(job, text)
    assert found.result == result
    assert found.lines.count("begun") == begun
    assert found.lines.count("post") == begun


def test_results_of_tests_make_a_build_unstable_and_unreadable_ones_fail_it(job):
    text = """
        pipeline {
          agent none
          stages {
            stage('Only') {
              AGENT
              steps {
                writeFile file: 'a.xml', text: params.XML
                junit testResults: '*.xml', allowEmptyResults: true
                sh 'echo goes on'
              }
            }
          }
        }
        """
    failed = '<testsuite><testcase name="x"><failure/></testcase><testcase name="y"/></testsuite>'
    unstable, broken = build(job, text, XML=failed), build(job, text, XML="<testsuite")
    assert (unstable.result, unstable.tests) == ("UNSTABLE", {".x": False, ".y": True})
    assert "goes on" in unstable.lines
    assert (broken.result, "goes on" in broken.lines) == ("FAILURE", False)


def test_a_milestone_stops_an_older_build_and_a_missing_file_or_an_unknown_step_is_an_error(job):
    text = """
        pipeline {
          agent none
          stages {
            stage('Only') {
              options {
                lock(resource: "deploy-${env.JOB_NAME}")
              }
              AGENT
              steps {
                milestone(10)
                script {
                  if (params.WHAT == 'read') {
                    readFile('nothing')
                  } else if (params.WHAT == 'unknown') {
                    unheard 'of'
                  }
                }
              }
            }
          }
        }
        """
    job.milestones[10] = 5
    assert build(job, text, WHAT="").result == "NOT_BUILT"
    job.milestones[10] = 0
    for what, message in (("read", "NoSuchFileException: nothing"), ("unknown", "No such DSL method 'unheard'")):
        found = build(job, text, WHAT=what)
        assert found.result == "FAILURE"
        assert message in found.log
        assert "Lock released on resource [Resource: deploy-demo]" in found.lines


def test_a_build_that_is_stopped_ends_aborted_and_still_runs_post(job):
    def watch(line, _):
        if line == "working":
            raise Aborted("Aborted by somebody")

    job.watch = watch
    found = build(job, RETRIED.replace("COMMAND", "true"))
    assert (found.result, found.lines.count("begun"), found.lines.count("post")) == ("ABORTED", 1, 1)


def test_stages_beside_each_other_all_run_and_a_failure_of_one_skips_what_follows(job):
    text = """
        pipeline {
          agent none
          stages {
            stage('Outer') {
              AGENT
              stages {
                stage('Both') {
                  failFast true
                  parallel {
                    stage('Left') {
                      steps {
                        sh 'echo left; test "$WHAT" != left'
                      }
                    }
                    stage('Right') {
                      steps {
                        sh 'echo right'
                      }
                    }
                  }
                }
                stage('Next') {
                  steps {
                    sh 'echo next'
                  }
                }
              }
            }
          }
        }
        """
    assert build(job, text, WHAT="none").stages == ["Outer", "Both", "Left", "Right", "Next"]
    failed = build(job, text.replace('"$WHAT"', "left"), WHAT="none")
    assert (failed.result, failed.stages) == ("FAILURE", ["Outer", "Both", "Left", "Right"])


def test_an_error_that_is_caught_makes_the_build_red_and_it_goes_on(job):
    text = """
        pipeline {
          agent none
          stages {
            stage('Only') {
              AGENT
              environment {
                TOKEN = credentials('known')
              }
              steps {
                catchError(buildResult: 'FAILURE', stageResult: 'FAILURE', catchInterruptions: false) {
                  sh 'false'
                }
                sh 'test "$TOKEN" = "sec""ret"'
                withEnv(["OWN=${params.WHAT}"]) {
                  sh 'echo "own $OWN"'
                }
              }
            }
            stage('Next') {
              steps {
                echo 'next'
              }
            }
          }
        }
        """
    job.secrets["known"] = "secret"
    found = build(job, text, WHAT="$HOME")
    assert (found.result, found.stages) == ("FAILURE", ["Only", "Next"])
    assert {"own $HOME", "next"} <= {*found.lines}
    assert "+ test **** = ****" in found.lines


def test_a_restart_of_the_controller_in_each_stage_loses_nothing_and_does_nothing_twice(job):
    text = """
        def text = ''
        pipeline {
          agent none
          stages {
            stage('One') {
              AGENT
              steps {
                sh 'echo begun; echo content > file'
                script {
                  text = readFile('file')
                }
              }
              post {
                always {
                  sh 'echo post'
                }
              }
            }
            stage('Two') {
              when {
                expression { text.contains('content') }
              }
              options {
                lock(resource: 'one')
              }
              AGENT
              steps {
                milestone(10)
                sh 'echo two'
                sh 'false'
              }
            }
          }
        }
        """
    plain = build(job, text)
    job.restarts = lambda _: True
    found = build(job, text)
    assert found.log.count("Resuming build after Jenkins restart") == 4
    assert (found.result, found.stages, len(found.agents)) == ("FAILURE", ["One", "Two"], 2)
    again = [line for line in found.lines if "Resuming" not in line]
    assert [re.sub(r"\d", "", line) for line in again] == [re.sub(r"\d", "", line) for line in plain.lines]


def test_a_step_of_a_build_that_is_stopped_is_told_to_end_and_may_put_things_right_first(job):
    def watch(line, _):
        if line == "may be stopped now":
            raise Aborted("Aborted by somebody")

    job.watch = watch
    file = job.folder / "put right"
    step = job.folder / "step.py"
    step.write_text(
        "import pathlib, signal, sys, time\n"
        f"there = pathlib.Path({str(file)!r})\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(there.write_text('yes')))\n"
        "print('may be stopped now', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = f'"{sys.executable}" "{step}"'
    found = build(job, RETRIED.replace("COMMAND", command))
    assert found.result == "ABORTED"
    assert file.read_text() == "yes"
