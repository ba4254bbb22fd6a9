"""The Jenkinsfile, run as the Groovy script that it is by tests/jenkins/record.groovy, and what it said.

Jenkins compiles with Groovy 2.4.21, which is Debian's version too.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from ci import workspace
from ci.settings import Tuning
from ci.stages import NAMES
from scripts import configure
from tests import pods
from tests.pods import REPOSITORY
from tests.programs import needed

HOSTILE = {
    "AS_OF": "2013-07-01",
    "MAX_TRIALS": "30",
    "STRATEGY": "random",
    "SETTINGS": "placement.inventory=\"$HOME ${PATH} $$ $(touch pwned) `touch pwned` 'x'; touch pwned\"\nseed=7",
    "DEPLOY": True,
    "ROLLBACK": "",
}

PLUGINS = {
    "kubernetes": {
        "agent": ["kubernetes"],
        "kubernetes": ["yaml", "yamlFile", "defaultContainer", "retries", "slaveConnectTimeout"],
    },
    "pipeline-model-definition": {
        "options": ["skipDefaultCheckout"],
        "parameters": ["string", "choice", "text", "booleanParam"],
        "when": ["beforeOptions", "beforeAgent", "expression", "not"],
        "steps": ["script"],
    },
    "workflow-basic-steps": {"options": ["timeout"], "steps": ["readFile", "writeFile", "echo", "archiveArtifacts"]},
    "workflow-durable-task-step": {"steps": ["sh"]},
    "workflow-scm-step": {"steps": ["checkout"]},
    "workflow-job": {"options": ["buildDiscarder", "logRotator"]},
    "timestamper": {"options": ["timestamps"]},
    "lockable-resources": {"options": ["lock"]},
    "pipeline-milestone-step": {"steps": ["milestone"]},
    "junit": {"steps": ["junit"]},
}
"""Which plugin brings what may be said in which block."""

Call = dict[str, Any]


def record(jenkinsfile: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    groovy = needed("groovy", "apt-get install groovy")
    environment = dict(os.environ)
    if "JAVA_HOME" not in environment and (java := shutil.which("java")):
        environment["JAVA_HOME"] = str(Path(java).resolve().parent.parent)
    script = REPOSITORY / "tests/jenkins/record.groovy"
    ran = subprocess.run(
        [groovy, script, jenkinsfile, json.dumps(parameters)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def recording() -> dict[str, Any]:
    return record(REPOSITORY / "Jenkinsfile", HOSTILE)


@pytest.fixture(scope="module")
def pipeline(recording) -> Call:
    [pipeline] = recording["calls"]
    return pipeline


def block(call: Call, name: str) -> list[Call]:
    """Return what is in the block `name` of a call, or nothing if it has none."""
    return next((inner["body"] for inner in call["body"] if inner["name"] == name), None) or []


def everything(call: Call) -> Iterator[Call]:
    yield call
    for inner in call["body"] or []:
        yield from everything(inner)


def stages(call: Call) -> dict[str, Call]:
    return {inner["args"][0]: inner for inner in block(call, "stages")}


def shell(call: Call) -> list[str]:
    return [inner["args"][0] for inner in everything(call) if inner["name"] == "sh"]


def test_real_groovy_of_the_version_of_jenkins_compiles_and_runs_it(recording):
    assert recording["groovy"].startswith("2.4.")
    assert [call["name"] for call in recording["calls"]] == ["pipeline"]


def test_groovy_that_does_not_compile_is_noticed(tmp_path):
    text = (REPOSITORY / "Jenkinsfile").read_text(encoding="utf-8")
    broken = tmp_path / "Jenkinsfile"
    broken.write_text(text.replace("agent none", "agent none }", 1), encoding="utf-8")
    with pytest.raises(AssertionError, match=r"Jenkinsfile|unexpected token"):
        record(broken, HOSTILE)


def test_two_directives_on_one_line_are_noticed_because_declarative_refuses_them(tmp_path, recording):
    assert recording["crowded"] == []
    crowded = tmp_path / "Jenkinsfile"
    crowded.write_text("pipeline {\n  agent none\n  stages { agent { label 'x' }; steps { sh 'y' } }\n}\n")
    assert record(crowded, {})["crowded"] == [3]


def test_stages_have_the_articles_names_and_tuning_comes_before_the_final_training(pipeline):
    order = {name: list(stages(stage)) for name, stage in stages(pipeline).items()}
    assert order == {
        "Plan": [],
        "Search": [],
        "Model": ["Prepare", "Tune", "Train", "Test", "Package"],
        "Release": ["Place", "Deploy", "Monitor"],
        "Rollback": [],
    }


def test_no_pod_is_held_by_the_pipeline_itself(pipeline):
    assert pipeline["body"][0] == {"name": "agent", "args": ["none"], "interpolated": False, "body": None}
    assert any(option["name"] == "skipDefaultCheckout" for option in block(pipeline, "options"))


def test_blocks_hold_only_what_declarative_allows_there(pipeline):
    assert {call["name"] for call in pipeline["body"]} <= {"agent", "options", "parameters", "stages", "post"}
    for stage in (call for call in everything(pipeline) if call["name"] == "stage"):
        directives = [call["name"] for call in stage["body"]]
        assert len(directives) == len(set(directives)), stage["args"]
        assert set(directives) <= {"agent", "options", "environment", "when", "steps", "stages", "post"}
        assert ("steps" in directives) != ("stages" in directives), stage["args"]


def test_every_word_comes_from_a_plugin_that_the_guide_names(pipeline):
    guide = (REPOSITORY / "docs/jenkins.md").read_text(encoding="utf-8")
    known: dict[str, set[str]] = {}
    for plugin, words in PLUGINS.items():
        assert f"`{plugin}`" in guide
        for place, names in words.items():
            known.setdefault(place, set()).update(names)
    known["always"] = known["steps"]
    for call in everything(pipeline):
        if call["name"] in known and call["name"] != "not" and call["body"] is not None:
            assert {inner["name"] for inner in call["body"]} <= known[call["name"]], call["name"]


@pytest.mark.parametrize(
    ("stage", "file", "container"),
    [
        ("Plan", "tools", "tools"),
        ("Search", "tuner", "tools"),
        ("Model", "training", "tensorflow"),
        ("Release", "release", "tools"),
        ("Rollback", "release", "tools"),
    ],
)
def test_each_pod_has_the_container_that_its_steps_run_in(pipeline, stage, file, container):
    [kubernetes] = block(stages(pipeline)[stage], "agent")
    said = {call["name"]: call["args"][0] for call in kubernetes["body"]}
    if stage == "Model":
        assert said["yaml"] == "<build/agent.json>"  # what Plan read, made of ci/agents/training.yaml
    else:
        assert said["yamlFile"] == f"ci/agents/{file}.yaml"
    pod = yaml.safe_load((REPOSITORY / f"ci/agents/{file}.yaml").read_text(encoding="utf-8"))
    assert said["defaultContainer"] == container
    assert container in [each["name"] for each in pod["spec"]["containers"]]


def test_pods_take_the_hand_over_with_the_commit_that_plan_did_before_they_run_anything(pipeline):
    parts = stages(pipeline)
    for first in (parts["Search"], stages(parts["Model"])["Prepare"], stages(parts["Release"])["Place"]):
        steps = [(call["name"], call["args"][0]) for call in block(first, "steps") if call["name"] != "milestone"]
        assert steps[:3] == [
            ("checkout", "scm"),
            ("writeFile", {"file": "build/handoff.json", "text": "<build/handoff.json>"}),
            ("sh", "python -m scripts.handoff restore"),
        ]


def test_the_hand_over_and_the_training_pod_are_all_that_the_build_itself_carries(pipeline):
    names = ("readFile", "writeFile")
    carried = [(call["name"], call["args"][0]) for call in everything(pipeline) if call["name"] in names]
    packed = {"file": "build/handoff.json", "text": "<build/handoff.json>"}
    assert carried == [
        ("readFile", "build/handoff.json"),
        ("readFile", "build/agent.json"),
        ("readFile", "build/tuning-job.json"),
        ("writeFile", packed),
        ("writeFile", packed),
        ("readFile", "build/handoff.json"),
        ("writeFile", packed),
    ]
    lines = shell(pipeline)
    packs = [index for index, line in enumerate(lines) if line == "python -m scripts.handoff pack"]
    assert len(packs) == 2
    assert lines[packs[0] - 1] == "python -m scripts.agent"  # whose pod is packed too
    assert lines[packs[1] - 2] == "python -m scripts.pipeline package"


def test_results_travel_by_the_dvc_remote_after_every_stage_and_never_by_stash(pipeline):
    for name, stage in stages(stages(pipeline)["Model"]).items():
        lines = shell(stage)
        assert lines.index("dvc push --run-cache") == lines.index(f"python -m scripts.pipeline {name.lower()}") + 1
    prepare = shell(stages(stages(pipeline)["Model"])["Prepare"])
    assert prepare.index("dvc pull --allow-missing") < prepare.index("python -m scripts.pipeline prepare")
    place = shell(stages(stages(pipeline)["Release"])["Place"])
    # The build's own pods have ended by now: only the server's need room.
    assert place.index("dvc pull") < place.index("python -m scripts.place --group serving")
    assert not {call["name"] for call in everything(pipeline)} & {"stash", "unstash"}


def test_the_stages_together_run_every_stage_of_the_pipeline_once(pipeline):
    lines = [line.split()[2:] for line in shell(pipeline) if line.startswith("python -m scripts.")]
    named = [word for module, *words in lines for word in (words if module == "scripts.pipeline" else [module[8:]])]
    # What makes the training pod, carries texts and removes what was left is no stage, nor is going back to a release,
    # nor the Job whose result Tune restores.
    besides = ("agent", "handoff", "sweep", "tune_job")
    named = [word for word in named if word not in besides]
    *named, configured, back = [word for word in named if word != "report"]
    assert (configured, back) == ("configure", "rollback")
    assert named == [stage for stage in NAMES if stage != "report"]
    help_text = subprocess.run(
        [sys.executable, "-m", "scripts.pipeline", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        timeout=60,
    ).stdout
    assert set(named) <= set(re.findall(r"\w+", help_text))


def test_every_command_of_ours_exists(pipeline):
    modules = {module for line in shell(pipeline) for module in re.findall(r"python -m scripts\.(\w+)", line)}
    assert modules
    assert [module for module in modules if not (REPOSITORY / f"scripts/{module}.py").exists()] == []


def test_shell_lines_are_single_commands_without_anything_of_groovy_in_them(pipeline):
    assert not [call for call in everything(pipeline) if call["name"] == "sh" and call["interpolated"]]
    for line in shell(pipeline):
        assert re.match(r"(python -m scripts|dvc|git) ?\.?", line), line
        assert "\n" not in line
        assert not re.search(r"[;|]|&&", line), line


def test_parameters_reach_the_settings_unaltered_and_unexecuted(pipeline, tmp_path, monkeypatch):
    [variable] = block(stages(pipeline)["Plan"], "environment")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable["name"], variable["args"][0])
    assert configure.main(["--file", str(REPOSITORY / "tests/pipeline.yaml")]) == 0
    settings = yaml.safe_load((tmp_path / "build/settings.yaml").read_text())
    assert str(settings["as_of"]) == HOSTILE["AS_OF"]
    assert (settings["tuning"]["max_trials"], settings["tuning"]["strategy"], settings["seed"]) == (30, "random", 7)
    assert settings["placement"]["inventory"] == "$HOME ${PATH} $$ $(touch pwned) `touch pwned` 'x'; touch pwned"


def test_parameters_left_alone_change_nothing(pipeline, tmp_path, monkeypatch):
    defaults = {
        call["args"][0]["name"]: call["args"][0].get("defaultValue", call["args"][0].get("choices", [None])[0])
        for call in block(pipeline, "parameters")
    }
    [plan] = record(REPOSITORY / "Jenkinsfile", defaults)["calls"]
    [variable] = block(stages(plan)["Plan"], "environment")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIPELINE_SET", raising=False)
    arguments = ["--file", str(REPOSITORY / "tests/pipeline.yaml")]
    assert configure.main(arguments) == 0
    shipped = Path("build/settings.yaml").read_bytes()
    monkeypatch.setenv(variable["name"], variable["args"][0])
    assert configure.main(arguments) == 0
    assert Path("build/settings.yaml").read_bytes() == shipped


def test_the_guide_lists_every_parameter_and_strategies_are_those_of_the_settings(pipeline):
    guide = (REPOSITORY / "docs/jenkins.md").read_text(encoding="utf-8")
    parameters = {call["args"][0]["name"]: call["args"][0] for call in block(pipeline, "parameters")}
    assert set(parameters) == set(HOSTILE)
    assert all(f"| `{name}` |" in guide for name in parameters)
    strategies = get_args(Tuning.model_fields["strategy"].annotation)
    assert parameters["STRATEGY"]["choices"] == ["", *strategies]


@pytest.mark.parametrize("name", ["Release", "Rollback"])
def test_one_release_at_a_time_and_never_an_older_one_after_a_newer(pipeline, name):
    release = stages(pipeline)[name]
    assert {"name": "lock", "args": [{"resource": "deploy-demo"}], "interpolated": True, "body": None} in block(
        release, "options"
    )
    first = stages(release)["Place"] if name == "Release" else release
    assert block(first, "steps")[0]["name"] == "milestone"
    [kubernetes] = block(release, "agent")
    assert "retries" not in [call["name"] for call in kubernetes["body"]], "a milestone cannot be passed twice"
    # Otherwise a build that releases nothing waits for the lock, and for a pod, to find that out.
    first = [(call["name"], call["args"]) for call in block(release, "when")][:2]
    assert first == [("beforeOptions", [True]), ("beforeAgent", [True])]


def test_results_are_published_whatever_happened_and_the_last_line_says_where(pipeline):
    published = {
        "Model": "build/evaluation/junit.xml",
        "Release": "build/rollout/*.xml",
        "Rollback": "build/rollout/*.xml",
    }
    for name, results in published.items():
        [always] = block(stages(pipeline)[name], "post")
        calls = {call["name"]: call["args"][0] for call in always["body"]}
        assert always["name"] == "always"
        assert calls["junit"]["testResults"] == results
        assert calls["archiveArtifacts"]["artifacts"] == "build/report/**"
        recorded = name == "Release"  # only a build that went through every stage is one for the history
        assert shell(always) == [f"python -m scripts.{'report --record' if recorded else 'pipeline report'}"]
    [always] = block(pipeline, "post")
    [last] = always["body"]
    assert last["args"] == [
        "SUCCESS: the decision and why: https://jenkins.example.com/job/demo/7/artifact/build/report/index.html"
    ]


def runs(stage: Call, build: dict[str, bool]) -> bool:
    """Tell whether a stage runs in a build, by its whole `when`; conditions are those that `build` names."""
    verdicts = []
    for condition in block(stage, "when"):
        name = condition["name"]
        if name in ("beforeOptions", "beforeAgent"):
            continue
        if name == "not":
            [inner] = condition["body"]
            verdicts.append(not build[inner["name"]])
        else:
            verdicts.append(condition["value"] if name == "expression" else build[name])
    return all(verdicts)


def test_whether_a_stage_runs_is_known_before_it_waits_for_its_pod_or_its_lock(pipeline):
    for stage in stages(pipeline).values():
        if when := block(stage, "when"):
            said = {call["name"]: call["args"] for call in when if call["name"].startswith("before")}
            locks = any(option["name"] == "lock" for option in block(stage, "options"))
            assert said == {"beforeAgent": [True], **({"beforeOptions": [True]} if locks else {})}, stage["args"]


BUILDS = [
    # DEPLOY, ROLLBACK, a pull request: what runs
    (True, "", False, {"Plan", "Search", "Model", "Release"}),
    (False, "", False, {"Plan", "Search", "Model"}),
    (True, "", True, {"Plan", "Search", "Model"}),
    (False, "", True, {"Plan", "Search", "Model"}),
    (True, "3", False, {"Rollback"}),
    (False, "3", False, {"Rollback"}),
    (True, "0", False, {"Rollback"}),
    (True, "3", True, set()),
    (False, "3", True, set()),
]


@pytest.fixture(scope="module")
def recorded() -> Callable[[bool, str], Call]:
    """Records the file once for each pair of DEPLOY and ROLLBACK."""

    @cache
    def of(deploy: bool, rollback: str) -> Call:
        [pipeline] = record(REPOSITORY / "Jenkinsfile", {**HOSTILE, "DEPLOY": deploy, "ROLLBACK": rollback})["calls"]
        return pipeline

    return of


@pytest.mark.parametrize(("deploy", "rollback", "pull_request", "run"), BUILDS)
def test_only_a_build_that_is_to_deploy_and_is_no_pull_request_releases(recorded, deploy, rollback, pull_request, run):
    pipeline = recorded(deploy, rollback)
    build = {"changeRequest": pull_request}
    assert {name for name, stage in stages(pipeline).items() if runs(stage, build)} == run
    for outer in stages(pipeline).values():
        assert all(runs(stage, build) for stage in stages(outer).values())


@pytest.mark.parametrize(
    ("line", "stage", "deploy", "rollback", "pull_request"),
    [
        ("expression { params.DEPLOY && !params.ROLLBACK }", "Release", False, "", False),
        ("expression { params.DEPLOY && !params.ROLLBACK }", "Release", True, "3", False),
        ("expression { params.ROLLBACK }", "Rollback", True, "", False),
        ("expression { !params.ROLLBACK }", "Model", True, "3", False),
        ("!params.ROLLBACK && ", "Search", True, "3", False),
        ("not { changeRequest() }", "Release", True, "", True),
        ("not { changeRequest() }", "Rollback", True, "3", True),
    ],
)
def test_a_condition_that_is_removed_would_be_noticed(tmp_path, line, stage, deploy, rollback, pull_request):
    text = (REPOSITORY / "Jenkinsfile").read_text(encoding="utf-8")
    assert line in text
    (tmp_path / "Jenkinsfile").write_text(text.replace(line, ""), encoding="utf-8")
    parameters = {**HOSTILE, "DEPLOY": deploy, "ROLLBACK": rollback}
    [pipeline] = record(tmp_path / "Jenkinsfile", parameters)["calls"]
    assert runs(stages(pipeline)[stage], {"changeRequest": pull_request})


@pytest.mark.parametrize(("pods", "searches"), [(1, False), (2, True), (10, True), (100, True)])
def test_one_worker_tunes_in_the_pod_of_model_and_several_in_a_job(tmp_path, pods, searches):
    text = (REPOSITORY / "Jenkinsfile").read_text(encoding="utf-8")
    job = workspace.json_text({"spec": {"completions": pods, "parallelism": pods}})
    read = "readFile('build/tuning-job.json')"
    assert read in text
    (tmp_path / "Jenkinsfile").write_text(text.replace(read, f"'''{job}'''"), encoding="utf-8")
    [pipeline] = record(tmp_path / "Jenkinsfile", HOSTILE)["calls"]
    assert runs(stages(pipeline)["Search"], {"changeRequest": False}) is searches


def test_the_release_to_go_back_to_is_checked_and_never_part_of_a_shell_line(pipeline, tmp_path):
    parameters = {**HOSTILE, "ROLLBACK": "3; touch pwned $(touch pwned) --dry-run"}
    [pipeline] = record(REPOSITORY / "Jenkinsfile", parameters)["calls"]
    rollback = stages(pipeline)["Rollback"]
    [variable] = block(rollback, "environment")
    [line] = [line for line in shell(rollback) if "scripts.rollback" in line]
    environment = {**os.environ, variable["name"]: variable["args"][0], "PYTHONPATH": str(REPOSITORY)}
    line = line.replace("python", sys.executable, 1)
    ran = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "argument --to: invalid int value" in ran.stderr


def test_plan_first_removes_what_builds_that_were_stopped_have_left(pipeline):
    assert shell(stages(pipeline)["Plan"])[0] == "python -m scripts.sweep"


def test_no_pod_outlives_a_build(pipeline):
    [limit] = [option["args"][0] for option in block(pipeline, "options") if option["name"] == "timeout"]
    assert limit["unit"] == "HOURS"
    for agent in (REPOSITORY / "ci/agents").glob("*.yaml"):
        spec = yaml.safe_load(agent.read_text(encoding="utf-8"))["spec"]
        assert spec["activeDeadlineSeconds"] == limit["time"] * 3600, agent


def test_the_pod_that_releases_is_the_tools_pod_with_another_account_and_tensorflow():
    tools, release = (
        yaml.safe_load((REPOSITORY / f"ci/agents/{name}.yaml").read_text(encoding="utf-8"))
        for name in ("tools", "release")
    )
    assert (tools["spec"].pop("serviceAccountName"), release["spec"].pop("serviceAccountName")) == (
        "pipeline",
        "deployer",
    )
    component = "app.kubernetes.io/component"
    assert tools["metadata"]["labels"].pop(component) != release["metadata"]["labels"].pop(component)
    # Deploy asks the SavedModel itself once more, so it needs TensorFlow.
    for pod, image in ((tools, "tools"), (release, "pipeline")):
        [container] = [each for each in pod["spec"]["containers"] if each["name"] == "tools"]
        assert container.pop("image") == pods.images()[image]
    assert tools == release


def test_the_pod_that_makes_the_tuning_job_is_the_tools_pod_with_an_account_that_may_do_nothing_else():
    tools, tuner = (
        yaml.safe_load((REPOSITORY / f"ci/agents/{name}.yaml").read_text(encoding="utf-8"))
        for name in ("tools", "tuner")
    )
    assert tools["spec"].pop("serviceAccountName") != tuner["spec"].pop("serviceAccountName") == "tuner"
    component = "app.kubernetes.io/component"
    assert tools["metadata"]["labels"].pop(component) != tuner["metadata"]["labels"].pop(component)
    [container] = [each for each in tuner["spec"]["containers"] if each["name"] == "tools"]
    own = [each for each in container["env"] if each["name"].startswith("POD_")]
    assert {each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"] for each in own} == {
        "POD_NAME": "metadata.name",
        "POD_UID": "metadata.uid",
    }
    container["env"] = [each for each in container["env"] if each not in own]
    assert tools == tuner
