"""The Jenkinsfile, run as the Groovy script that it is by tests/jenkins/record.groovy, and what it said.

Jenkins compiles with Groovy 2.4.21, which is Debian's version too.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from ci.pods import templates
from ci.settings.building import Tuning
from ci.stages import CACHED, NAMES
from scripts import configure
from tests import pods
from tests.jenkins import guide
from tests.jenkins.recording import Call, block, everything, record, returned, shell, stages
from tests.pods import REPOSITORY

HOSTILE = {
    "AS_OF": "2013-07-01",
    "STRATEGY": "random",
    "MAX_TRIALS": "30",
    "WORKERS": "2",
    "SETTINGS": "placement.inventory=\"$HOME ${PATH} $$ $(touch pwned) `touch pwned` 'x'; touch pwned\"\nseed=7",
    "FORCE": "train",
    "DEPLOY": "auto",
    "PROMOTE": "",
    "ROLLBACK": "",
    "ENVIRONMENT": "",
    "REQUEST": "$(touch pwned)",
}

PLUGINS = {
    "kubernetes": {
        "agent": ["kubernetes"],
        "kubernetes": ["namespace", "yaml", "yamlFile", "defaultContainer", "retries", "slaveConnectTimeout"],
    },
    "pipeline-model-definition": {
        "options": ["skipDefaultCheckout"],
        "parameters": ["string", "choice", "text", "booleanParam"],
        "when": ["beforeOptions", "beforeAgent", "changeRequest", "expression", "not"],
        "environment": [*(f"PARAMETER_{name}" for name in HOSTILE), "NOTIFY_TOKEN"],
        "steps": ["script"],
    },
    "workflow-basic-steps": {
        "options": ["timeout"],
        "steps": ["readFile", "writeFile", "echo", "archiveArtifacts", "withEnv", "catchError"],
    },
    "pipeline-input-step": {"script": ["readFile", "input"]},
    "workflow-durable-task-step": {"steps": ["sh"], "script": ["sh"]},
    "workflow-scm-step": {"steps": ["checkout"]},
    "credentials-binding": {"environment": ["credentials"]},
    "workflow-job": {"options": ["buildDiscarder", "logRotator"]},
    "timestamper": {"options": ["timestamps"]},
    "lockable-resources": {"options": ["lock"]},
    "pipeline-milestone-step": {"steps": ["milestone"]},
    "junit": {"steps": ["junit"]},
}
"""Which plugin brings what may be said in which block."""


@pytest.fixture(scope="module")
def recording() -> dict[str, Any]:
    return record(REPOSITORY / "Jenkinsfile", HOSTILE)


@pytest.fixture(scope="module")
def pipeline(recording) -> Call:
    [pipeline] = recording["calls"]
    return pipeline


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
        "Plan": ["Checkout", "Target branch", "Request", "Candidate", "Pods"],
        "Search": [],
        "Model": ["Restore", "Prepare", "Check", "Tune", "Train", "Test", "Package"],
        "Pull request": [],
        "Notify": [],
        "Release": ["Place", "Deploy", "Monitor"],
        "Approve": [],
        "Promote": [],
        "Rollback": [],
    }


def test_no_pod_is_held_by_the_pipeline_itself(pipeline):
    assert pipeline["body"][0] == {"name": "agent", "args": ["none"], "interpolated": False, "body": None}
    assert any(option["name"] == "skipDefaultCheckout" for option in block(pipeline, "options"))


def test_blocks_hold_only_what_declarative_allows_there(pipeline):
    assert {call["name"] for call in pipeline["body"]} <= {
        "agent",
        "options",
        "parameters",
        "environment",
        "stages",
        "post",
    }
    for stage in (call for call in everything(pipeline) if call["name"] == "stage"):
        directives = [call["name"] for call in stage["body"]]
        assert len(directives) == len(set(directives)), stage["args"]
        work = {"steps", "stages", "parallel"}
        assert set(directives) <= {"agent", "options", "environment", "when", "failFast", "post", *work}
        assert len(work & set(directives)) == 1, stage["args"]


def test_every_word_comes_from_a_plugin_of_the_list(pipeline):
    listed = (REPOSITORY / "ci/jenkins/plugins.txt").read_text(encoding="utf-8")
    known: dict[str, set[str]] = {}
    for plugin, words in PLUGINS.items():
        assert f"\n{plugin}:" in listed
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
        ("Pull request", "pull-request", "tensorflow"),
        ("Notify", "tools", "tools"),
        ("Release", "release", "tools"),
        ("Promote", "release", "tools"),
        ("Rollback", "release", "tools"),
    ],
)
def test_each_pod_has_the_container_that_its_steps_run_in(pipeline, stage, file, container):
    [kubernetes] = block(stages(pipeline)[stage], "agent")
    said = {call["name"]: call["args"][0] for call in kubernetes["body"]}
    if stage in ("Model", "Pull request"):
        assert said["yaml"] == "<build/agent.json>"  # what Plan read, made of that file
    else:
        assert said["yamlFile"] == f"ci/agents/{file}.yaml"
    pod = yaml.safe_load((REPOSITORY / f"ci/agents/{file}.yaml").read_text(encoding="utf-8"))
    assert said["defaultContainer"] == container
    assert container in [each["name"] for each in pod["spec"]["containers"]]


def test_pods_take_the_hand_over_with_the_commit_that_plan_did_before_they_run_anything(pipeline):
    parts = stages(pipeline)
    for first in (parts["Search"], stages(parts["Model"])["Restore"], stages(parts["Release"])["Place"]):
        steps = [(call["name"], call["args"][0]) for call in block(first, "steps") if call["name"] != "milestone"]
        assert steps[:3] == [
            ("checkout", "scm"),
            ("writeFile", {"file": "build/handoff.json", "text": "<build/handoff.json>"}),
            ("sh", "python -m scripts.handoff restore"),
        ]


def test_the_hand_over_the_training_pod_and_the_champion_are_all_that_the_build_itself_carries(pipeline):
    names = ("readFile", "writeFile")
    carried = [(call["name"], call["args"][0]) for call in everything(pipeline) if call["name"] in names]
    packed = {"file": "build/handoff.json", "text": "<build/handoff.json>"}
    shown = [("readFile", "build/report/name.txt"), ("readFile", "build/report/headline.txt")]
    assert carried == [
        ("readFile", "build/does.txt"),
        ("readFile", "build/candidate.txt"),
        ("readFile", "build/handoff.json"),
        ("readFile", "build/agent.json"),
        ("readFile", "build/tuning-job.json"),
        ("readFile", "build/champion.json"),
        ("readFile", "build/prior.json"),
        ("writeFile", packed),
        ("writeFile", packed),
        ("readFile", "build/handoff.json"),
        *shown,
        ("writeFile", {"file": "build/champion.json", "text": "<build/champion.json>"}),
        ("writeFile", {"file": "build/prior.json", "text": "<build/prior.json>"}),
        ("writeFile", {"file": "build/report/summary.md", "text": f"<{returned(pipeline)[-1]}>"}),
        ("writeFile", packed),
        shown[1],
    ]
    # What code of a pull request says of itself is read where that code runs, and not by Jenkins' own container.
    assert returned(pipeline) == returned(stages(pipeline)["Pull request"])
    for name, line in zip(("name.txt", "headline.txt", "summary.md"), returned(pipeline), strict=True):
        assert re.fullmatch(rf"dd if=build/report/{name} iflag=nofollow bs=[0-9]+ count=1 status=none", line)
    lines = shell(pipeline)
    packs = [index for index, line in enumerate(lines) if line == "python -m scripts.handoff pack"]
    assert len(packs) == 2
    assert lines[packs[0] - 1] == "python -m scripts.agent"  # whose pod is packed too
    assert lines[packs[1] - 2] == "python -m scripts.pipeline package"


def test_results_travel_by_the_dvc_remote_after_every_stage_and_never_by_stash(pipeline):
    model = stages(stages(pipeline)["Model"])
    for name in CACHED:
        lines = shell(model[name.capitalize()])
        assert lines.index("dvc push --run-cache") == lines.index(f"python -m scripts.pipeline {name}") + 1
    assert shell(model["Restore"])[-1] == "dvc pull --allow-missing"
    place = shell(stages(stages(pipeline)["Release"])["Place"])
    # The build's own pods have ended by now: only the server's need room.
    assert place.index("dvc pull") < place.index("python -m scripts.place --group serving")
    assert not {call["name"] for call in everything(pipeline)} & {"stash", "unstash"}


def test_the_stages_together_run_every_stage_of_the_pipeline_once(pipeline):
    parts = stages(pipeline)
    said = [line for name in ("Plan", "Search", "Model", "Release") for line in shell(parts[name])]
    for line in shell(stages(parts["Plan"])["Candidate"]):  # of builds that promote, and train nothing
        said.remove(line)
    lines = [line.split()[2:] for line in said if line.startswith("python -m ")]
    named = [word for module, *words in lines for word in (words if module == "scripts.pipeline" else [module[8:]])]
    # What decides what the build does, checks model/, makes the training pod, carries texts and removes what was left
    # is no stage, nor is the Job whose result Tune restores.
    besides = ("request", "check", "agent", "handoff", "sweep", "tune_job", "report")
    named = [word for word in named if word not in besides and not word.startswith("-")]
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


def test_a_pull_request_runs_the_same_cached_stages_and_pushes_nothing(pipeline):
    lines = shell(stages(pipeline)["Pull request"])
    assert f"python -m scripts.pipeline {' '.join(CACHED)}" in lines
    assert not [line for line in lines if "push" in line or "handoff" in line]


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


def variables(pipeline: Call) -> dict[str, str]:
    return {call["name"]: call["args"][0] for call in block(pipeline, "environment")}


def test_parameters_reach_the_settings_unaltered_and_unexecuted(pipeline, tmp_path, monkeypatch):
    wanted = {f"PARAMETER_{name}": value for name, value in HOSTILE.items() if name != "REQUEST"}  # no command reads it
    assert variables(pipeline) == wanted
    monkeypatch.chdir(tmp_path)
    for name, value in variables(pipeline).items():
        monkeypatch.setenv(name, value)
    assert configure.main(["--file", str(REPOSITORY / "tests/pipeline.yaml")]) == 0
    settings = yaml.safe_load((tmp_path / "build/settings.yaml").read_text())
    assert str(settings["as_of"]) == HOSTILE["AS_OF"]
    tuning = settings["tuning"]
    assert (tuning["max_trials"], tuning["strategy"], tuning["workers"], settings["seed"]) == (30, "random", 2, 7)
    assert settings["placement"]["inventory"] == "$HOME ${PATH} $$ $(touch pwned) `touch pwned` 'x'; touch pwned"


def test_parameters_left_alone_change_nothing(pipeline, tmp_path, monkeypatch):
    defaults = {
        call["args"][0]["name"]: call["args"][0].get("defaultValue", call["args"][0].get("choices", [None])[0])
        for call in block(pipeline, "parameters")
    }
    [plain] = record(REPOSITORY / "Jenkinsfile", defaults)["calls"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIPELINE_SET", raising=False)
    arguments = ["--file", str(REPOSITORY / "tests/pipeline.yaml")]
    assert configure.main(arguments) == 0
    shipped = Path("build/settings.yaml").read_bytes()
    for name, value in variables(plain).items():
        monkeypatch.setenv(name, value)
    assert configure.main(arguments) == 0
    assert Path("build/settings.yaml").read_bytes() == shipped


def test_parameters_are_described_and_strategies_are_those_of_the_settings(pipeline):
    parameters = {call["args"][0]["name"]: call["args"][0] for call in block(pipeline, "parameters")}
    assert list(parameters) == list(HOSTILE)
    assert all(each["description"].endswith(".") for each in parameters.values())
    strategies = get_args(Tuning.model_fields["strategy"].annotation)
    assert parameters["STRATEGY"]["choices"] == ["", *strategies]


def test_the_guide_has_the_tables_of_the_jenkinsfile(pipeline):
    text = guide.GUIDE.read_text(encoding="utf-8")
    assert text.count("<!-- end of ") == 2
    assert guide.written(text, pipeline) == text, "python -m tests.jenkins.guide writes them again"


@pytest.mark.parametrize("name", ["Release", "Rollback"])
def test_one_release_at_a_time_and_never_an_older_one_after_a_newer(pipeline, name):
    release = stages(pipeline)[name]
    [lock] = [option["args"] for option in block(release, "options") if option["name"] == "lock"]
    assert lock == [{"resource": "deploy-first-environment"}]
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
        "Pull request": "build/evaluation/junit.xml",
        "Release": "build/rollout/*.xml",
        "Promote": "build/rollout/*.xml",
        "Rollback": "build/rollout/*.xml",
    }
    for name, results in published.items():
        [always] = block(stages(pipeline)[name], "post")
        calls = {call["name"]: call["args"][0] for call in always["body"] if call["args"]}
        assert always["name"] == "always"
        assert calls["junit"]["testResults"] == results
        assert calls["archiveArtifacts"]["artifacts"] == "build/report/**"
        # A pull request's code may leave links to what Jenkins' own container has.
        assert calls["archiveArtifacts"].get("followSymlinks", True) == (name != "Pull request")
        recorded = name == "Release"  # only a build that went through every stage is one for the history
        assert shell(always) == [f"python -m scripts.{'report --record' if recorded else 'pipeline report'}"]
    [always] = block(pipeline, "post")
    [last] = always["body"]
    assert last["args"] == [
        "SUCCESS: the decision and why: https://jenkins.example.com/job/demo/7/artifact/build/report/index.html"
    ]


def test_whether_a_stage_runs_is_known_before_it_waits_for_its_pod_or_its_lock(pipeline):
    for name, stage in stages(pipeline).items():
        if (when := block(stage, "when")) and name != "Approve":  # which has neither
            said = {call["name"]: call["args"] for call in when if call["name"].startswith("before")}
            locks = any(option["name"] == "lock" for option in block(stage, "options"))
            assert said == {"beforeAgent": [True], **({"beforeOptions": [True]} if locks else {})}, stage["args"]


def test_plan_first_removes_what_builds_that_were_stopped_have_left(pipeline):
    lines = shell(stages(pipeline)["Plan"])
    assert next(line for line in lines if not line.startswith("git ")) == "python -m scripts.sweep"


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


def test_the_pod_of_a_pull_request_is_the_training_pod_in_another_namespace_and_reads_only():
    training, other = (
        yaml.safe_load((REPOSITORY / f"ci/agents/{name}.yaml").read_text(encoding="utf-8"))
        for name in ("training", "pull-request")
    )
    assert other["metadata"].pop("namespace") == templates.UNTRUSTED
    component = "app.kubernetes.io/component"
    assert training["metadata"]["labels"].pop(component) != other["metadata"]["labels"].pop(component)
    [container], [changed] = (
        [each for each in pod["spec"]["containers"] if each["name"] == "tensorflow"] for pod in (training, other)
    )
    container["env"] = [each for each in container["env"] if each["name"] != "TUNING_STATE"]
    for pod, volumes in ((training, container["volumeMounts"]), (other, changed["volumeMounts"])):
        [mount] = [each for each in volumes if each["name"] == "dvc-remote"]
        [volume] = [each["persistentVolumeClaim"] for each in pod["spec"]["volumes"] if each["name"] == "dvc-remote"]
        assert mount.pop("readOnly", False) == volume.pop("readOnly", False) == (pod is other)
    assert training == other


def test_where_pull_requests_run_there_is_no_secret_and_no_account_with_a_role():
    file = REPOSITORY / "ci/jenkins/pull-requests/namespace.yaml"
    documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    by_kind: dict[str, list[Any]] = {}
    for document in documents:
        by_kind.setdefault(document["kind"], []).append(document)
        assert document["metadata"].get("namespace", templates.UNTRUSTED) == templates.UNTRUSTED
    assert "Secret" not in by_kind
    assert [each["spec"]["hard"]["count/secrets"] for each in by_kind["ResourceQuota"]] == ["0"]
    [account] = by_kind["ServiceAccount"]
    assert (account["metadata"]["name"], account["automountServiceAccountToken"]) == ("default", False)
    for binding in by_kind["RoleBinding"]:
        assert not [each for each in binding["subjects"] if each.get("namespace") == templates.UNTRUSTED]
    [namespace] = by_kind["Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    [claim] = by_kind["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadOnlyMany"]


def test_only_texts_outlive_a_step_so_that_a_build_can_go_on_after_a_restart_of_the_controller():
    text = (REPOSITORY / "Jenkinsfile").read_text(encoding="utf-8")
    names = re.findall(r"^def (\w+) = ''$", text, re.MULTILINE)
    assert len(names) == len(re.findall(r"^def ", text, re.MULTILINE)) > 0
    assert not re.findall(r"^ +def ", text, re.MULTILINE)
    for name in names:
        assert re.findall(rf"\b{name} = (?!'')(\w+)", text)
        assert set(re.findall(rf"\b{name} = (?!'')(\w+)", text)) <= {"readFile", "input", "sh"}


def test_nothing_is_tried_twice_but_what_the_infrastructure_has_lost(pipeline):
    for call in everything(pipeline):
        assert call["name"] != "retry"
        if call["name"] == "kubernetes":
            assert {each["name"]: each["args"] for each in call["body"]}.get("retries", [2]) == [2]
