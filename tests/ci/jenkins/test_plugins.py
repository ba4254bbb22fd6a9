"""The list of plugins, held to what each of them needs.

tests/ci/jenkins/plugins.json is a record of the pom.xml of each plugin at the tag of the pinned version, or at the
newest commit before it: the oldest Jenkins that it runs on, and the plugins that it needs, at which version at least
(empty where the file leaves that to a parent).
"""

import itertools
import json
import re
from pathlib import Path

import pytest
import yaml

from tests.pods import REPOSITORY

LIST = (REPOSITORY / "ci/jenkins/plugins.txt").read_text().splitlines()
LINE = re.compile(r"^([a-z0-9-]+):([\w.-]+)  # (.+)$")
RECORD = json.loads(Path(__file__).with_name("plugins.json").read_text())
LINES = [found for line in LIST if (found := LINE.match(line))]
PINNED = {found[1]: found[2] for found in LINES}
ASKED = {found[1] for found in LINES if not found[3].startswith("needed by ")}
STEPS = {
    "sh": "workflow-durable-task-step", "checkout": "workflow-scm-step", "echo": "workflow-basic-steps",
    "readFile": "workflow-basic-steps", "writeFile": "workflow-basic-steps", "timeout": "workflow-basic-steps",
    "archiveArtifacts": "workflow-basic-steps", "retry": "workflow-basic-steps", "junit": "junit",
    "milestone": "pipeline-milestone-step", "lock": "lockable-resources", "input": "pipeline-input-step",
    "timestamps": "timestamper", "kubernetes": "kubernetes", "pipeline": "pipeline-model-definition",
    "catchError": "workflow-basic-steps", "readTrusted": "workflow-multibranch",
    "changeRequest": "workflow-multibranch", "properties": "workflow-multibranch",
    "withEnv": "workflow-basic-steps", "error": "workflow-basic-steps",
    "credentials": "credentials-binding", "disableConcurrentBuilds": "workflow-job", "buildDiscarder": "workflow-job",
}  # fmt: skip
"""Which plugin has a step, an option or an agent of the Jenkinsfile."""


def version(text: str) -> list[int]:
    """Return the numbers that a version begins with: what follows the first word is a commit."""
    parts = re.split(r"[.\-]", text)
    return [int(part) for part in itertools.takewhile(str.isdecimal, parts)]


def test_every_line_is_a_plugin_at_one_version_with_its_reason_and_named_once():
    other = [line for line in LIST if line and not line.startswith("#") and not LINE.match(line)]
    assert other == []
    assert len(PINNED) == len(LINES)
    assert not [found[2] for found in LINES if found[2] in ("latest", "experimental")]


def test_nothing_is_missing_and_nothing_is_there_for_nothing():
    needed, todo = set(), [*ASKED]
    while todo:
        name = todo.pop()
        if name not in needed:
            needed.add(name)
            todo += RECORD[name]["needs"]
    assert sorted(needed - set(PINNED)) == [], "needed, and not listed"
    assert sorted(set(PINNED) - needed) == [], "listed, and needed by nobody"


@pytest.mark.parametrize("name", PINNED)
def test_a_plugin_runs_on_this_jenkins_and_has_what_it_needs(name):
    images = yaml.safe_load((REPOSITORY / "ci/images/images.yaml").read_text())["images"]
    [jenkins] = [each["tag"].removesuffix("-jdk21") for each in images if each["name"] == "jenkins-base"]
    if core := RECORD[name]["core"]:
        assert version(core) <= version(jenkins)
    for other, least in RECORD[name]["needs"].items():
        assert version(PINNED[other]) >= version(least), f"{other} {least}"


@pytest.mark.parametrize("name", [found[1] for found in LINES if found[1] not in ASKED])
def test_who_needs_a_plugin_is_said_truly(name):
    [reason] = [found[3] for found in LINES if found[1] == name]
    for other in reason.removeprefix("needed by ").removesuffix(" and others").split(", "):
        assert name in RECORD[other]["needs"]


def test_every_step_of_the_jenkinsfile_has_its_plugin():
    text = re.sub(r"//.*|'[^'\n]*'|\"[^\"\n]*\"", "", (REPOSITORY / "Jenkinsfile").read_text())
    used = {step for step in STEPS if re.search(rf"(?m)^\s*{step}\b|\b{step}\(", text)}
    assert {"sh", "checkout", "lock", "milestone", "junit", "kubernetes", "pipeline"} <= used
    assert {STEPS[step] for step in used} <= ASKED


def test_the_image_installs_the_list_and_chooses_no_version_itself():
    text = (REPOSITORY / "ci/images/jenkins/Dockerfile").read_text()
    assert "COPY ci/jenkins/plugins.txt /usr/share/jenkins/ref/plugins.txt\n" in text
    assert re.search(r"jenkins-plugin-cli --plugin-file /usr/share/jenkins/ref/plugins.txt --latest=false", text)
