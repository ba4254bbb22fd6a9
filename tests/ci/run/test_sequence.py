"""The sequence of commands: the `Jenkinsfile` says it line by line, and it runs every stage in the pod it is for."""

import re

from ci.run.sequence import parts, tuning
from ci.stages import STAGES, named
from tests.pods import REPOSITORY

_JENKINS = ("python -m scripts.sweep", "python -m scripts.request", "python -m scripts.check", "git ")
"""How commands begin that are Jenkins' alone: they remove what stopped builds left, read parameters, and change the
code of a pull request for that of its target branch."""


def jenkinsfile() -> dict[str, list[tuple[str, str]]]:
    """Return for each stage of the Jenkinsfile that has a pod the commands, each with the innermost stage it is in.

    Those of its `post` are in the stage `always`.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    outer = inner = ""
    text = (REPOSITORY / "Jenkinsfile").read_text(encoding="utf-8")
    for indent, stage, command, always in re.findall(
        r"^( +)(?:stage\('([\w ]+)'\)|sh '(.+)'$|(always) \{)", text, flags=re.MULTILINE
    ):
        if stage and len(indent) == 8:
            outer, inner = stage, stage
        elif stage or always:
            inner = stage or always
        else:
            found.setdefault(outer, []).append((inner, command))
    return found


def test_the_jenkinsfile_runs_the_same_commands_in_the_same_pods():
    said = jenkinsfile()
    assert [*said] == ["Plan", "Search", "Model", "Pull request", "Notify", "Release", "Promote", "Rollback"]
    for part in (*parts(), tuning()):
        expected = [(name, command) for name, commands in part.groups.items() for command in commands]
        expected += [("always", command) for command in part.always]
        found = [
            (name, command)
            for name, command in said[part.name.capitalize()]
            if name != "Candidate" and not command.startswith(_JENKINS)  # who approves is asked by Jenkins alone
        ]
        same = {"Pods": "Plan", "Restore": "Prepare"}
        assert [(same.get(name, name), command) for name, command in found] == expected


def test_the_jenkinsfile_names_the_same_pods():
    text = (REPOSITORY / "Jenkinsfile").read_text(encoding="utf-8")
    plan, model, release = parts()
    files = [str(part.template) for part in (plan, tuning(), plan, release)]  # Plan's again: Notify, of a pull request
    assert re.findall(r"yamlFile '(.+)'", text)[:4] == files
    containers = [part.container for part in (plan, tuning(), model, model, plan, release)]
    assert re.findall(r"defaultContainer '(.+)'", text)[:6] == containers


def test_every_stage_runs_once_and_in_a_pod_that_has_what_it_needs():
    ran = []
    for part in parts():
        for command in part.commands:
            words = command.removeprefix("python -m scripts.").split()
            stages = words[1:] if words[0] == "pipeline" else [words[0]] if words[0] == "place" else []
            assert all(named(stage).pod == "tools" or part.pod == "training" for stage in stages)
            ran += stages
    assert ran == [stage.name for stage in STAGES if stage.name != "report"]
