"""Texts that people type, and names that they give to branches: nothing of them is executed, and what refuses names it.

The commands are the Jenkinsfile's own lines, run by a shell in a folder with a clone of this repository's code.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from ci import parameters
from ci.errors import InputError
from tests.jenkins.recording import PARAMETERS, Call, block, record, shell, stages
from tests.pods import REPOSITORY

CHECKED = [name for name in PARAMETERS if name != "REQUEST"]  # which no command reads
EVIL = [
    "; touch pwned",
    "$(touch pwned)",
    "`touch pwned`",
    "x && touch pwned || touch pwned & touch pwned | touch pwned > pwned < pwned",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "\\\"; touch pwned; \\'",
    "${IFS}$PATH${HOME}$$ $BUILD_NUMBER ${env.X}",
    "--help",
    "-h",
    "--to=1",
    "3 --dry-run",
    "3\ntouch pwned",
    "seed=1\n\ntouch pwned",
    "3\r\n--dry-run",
    "*",
    "~",
    "{a: &a [*a]}",
    "!!python/object/apply:os.system ['touch pwned']",
    "../../etc/passwd",
    "\x1b[31m\x07\u202e",
    "número ３ 三 \U0001f600",
    "3" * 9_000,
    "x" * 100_000,
    "%s%n {0} {{x}} <script>",
]
"""What none of the parameters takes; a parameter with many lines takes it neither."""


@pytest.fixture(scope="module")
def lines() -> dict[str, str]:
    """By stage, the one line of the Jenkinsfile that reads parameters by name, and the one that checks all of them."""
    [pipeline] = record(REPOSITORY / "Jenkinsfile")["calls"]
    found = {name: shell(stage) for name, stage in stages(pipeline).items()}
    [rollback] = [line for line in found["Rollback"] if "scripts.rollback" in line]
    [promote] = [line for line in found["Promote"] if "scripts.promote" in line]
    return {"Request": "python -m scripts.request", "Rollback": rollback, "Promote": promote}


def ran(line: str, folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **variables}
    line = line.replace("python", sys.executable, 1)
    return subprocess.run(
        ["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=60
    )


def refused(name: str, value: str) -> str:
    variables = {f"PARAMETER_{name}": value}
    if name == "ENVIRONMENT":
        variables["PARAMETER_ROLLBACK"] = "3"
    with pytest.raises(InputError) as error:
        parameters.decide(variables, REPOSITORY / "tests/pipeline.yaml")
    return str(error.value)


@pytest.mark.parametrize("name", CHECKED)
def test_a_text_that_a_parameter_never_takes_is_refused_and_the_parameter_named(name):
    for value in EVIL:
        said = refused(name, value)
        assert said.startswith(f"{name}:"), (name, value, said)
        assert len(said) < 3_000, name


def test_numbers_are_numbers_in_full():
    for name in ("MAX_TRIALS", "WORKERS", "ROLLBACK"):
        assert refused(name, "3" * 300).startswith(f"{name}:")
        assert refused(name, "3.5").startswith(f"{name}:")
        assert refused(name, "-1").startswith(f"{name}:")


@pytest.mark.parametrize(
    "name",
    [
        "feature/$RELEASE_BRANCH",
        "$(touch pwned)",
        "ma${X}in",
        "main;touch${IFS}pwned",
        "`touch pwned`",
        "--main",
        "main\nmain",
        "главная",
        "x" * 240,
        "main ",
        "PR-12",
    ],
)
def test_a_branch_of_another_name_never_releases(name):
    """Whatever Jenkins makes of the name in its variable: as it is, or as a shell or Jenkins itself would expand it."""
    expanded = {name, re.sub(r"\$\{?\w+\}?", "", name), "main"}
    for variable in expanded:
        variables = {"BRANCH_NAME": variable, "JOB_BASE_NAME": quote(name, safe="")}
        if variable == name:
            assert parameters.decide(variables, REPOSITORY / "tests/pipeline.yaml") == ("train",)
        else:
            with pytest.raises(InputError, match=r"^BRANCH_NAME:"):
                parameters.decide(variables, REPOSITORY / "tests/pipeline.yaml")


@pytest.mark.parametrize("stage", ["Request", "Rollback", "Promote"])
def test_nothing_is_executed_by_the_shell_that_runs_the_jenkinsfiles_lines(lines, stage, tmp_path):
    """All texts at once: each parameter has another one in each run."""
    (tmp_path / "pipeline.yaml").write_bytes((REPOSITORY / "tests/pipeline.yaml").read_bytes())
    names = [*CHECKED, "BRANCH"]
    for shift in (0, 4, 8):
        values = [EVIL[(number + shift) % 12] for number in range(len(names))]
        variables = {f"PARAMETER_{name}": value for name, value in zip(names, values, strict=True)}
        variables |= {"APPROVED_BY": values[-1], "SECRET": "hunter2hunter2"}
        done = ran(lines[stage], tmp_path, variables)
        said = done.stdout + done.stderr
        assert done.returncode == 2, said
        assert sorted(path.name for path in tmp_path.iterdir()) == ["pipeline.yaml"], said
        assert "Traceback" not in said
        assert "hunter2" not in said


def test_what_a_stage_says_to_a_shell_holds_no_text_of_anybodys():
    """The lines are the same whatever is typed: what was typed is in variables."""
    [plain] = record(REPOSITORY / "Jenkinsfile")["calls"]
    typed = dict.fromkeys(CHECKED, "'; touch pwned; \"$(touch pwned)")
    given = record(REPOSITORY / "Jenkinsfile", typed, BRANCH_NAME="x';y", CHANGE_ID="1", CHANGE_TARGET="$(z)")["calls"]
    evil: Call = given[-1]
    assert shell(evil) == shell(plain)
    assert {call["args"][0] for call in block(evil, "environment")} == {typed["AS_OF"]}
