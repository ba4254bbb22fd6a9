"""The image `tools` has what its commands import, and nothing of TensorFlow."""

import ast
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ci.command import NOT_COMPUTED, RESTORE_ONLY
from tests.pods import REPOSITORY

COMMANDS = (
    "configure",
    "champion",
    "agent",
    "handoff",
    "place",
    "monitor",
    "labels",
    "retrain",
    "metrics",
    "report",
    "status",
    "manifests",
)
"""What runs in the stages Plan, Place, Monitor and Report, and what people look at a build with."""
ELSEWHERE = {"tensorflow", "keras", "google"}
"""What only functions import that these commands never call."""
OWN = ("ci", "scripts")


def file(name: str) -> Path | None:
    path = REPOSITORY / Path(*name.split("."))
    found = [each for each in (path.with_suffix(".py"), path / "__init__.py") if each.exists()]
    return found[0] if found and name.split(".")[0] in OWN else None


@cache
def imported(path: Path) -> tuple[set[Path], set[str]]:
    """Return the files of ours that a file imports, anywhere in it, and the packages of others."""
    ours, others = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if found := file(name):
                ours.add(found)
            elif name.split(".")[0] not in (*sys.stdlib_module_names, *OWN):
                others.add(name.split(".")[0])
    return ours, others


def needed(command: str) -> set[str]:
    """Return the packages of others that a command can come to import."""
    work, seen, others = [REPOSITORY / f"scripts/{command}.py"], set(), set()
    while work:
        path = work.pop()
        if path not in seen:
            seen.add(path)
            ours, found = imported(path)
            work += ours
            others |= found
    return others


def name(text: str) -> str:
    return re.split(r"[^\w.-]", text, maxsplit=1)[0].lower().replace("_", "-")


@cache
def installed() -> set[str]:
    """Return the distributions in the image: those of its list, and all that they need."""
    lines = (REPOSITORY / "ci/images/tools/requirements.in").read_text(encoding="utf-8").splitlines()
    work, found = [name(line) for line in lines if line and not line.startswith("#")], set()
    while work:
        each = work.pop()
        if each not in found:
            found.add(each)
            wanted = map(Requirement, requires(each) or [])
            work += [name(it.name) for it in wanted if it.marker is None or it.marker.evaluate({"extra": ""})]
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_imports_is_in_the_image(command):
    owners, present = packages_distributions(), installed()
    lacking = {each for each in needed(command) - ELSEWHERE if not {name(owner) for owner in owners[each]} & present}
    assert lacking == set()


def test_the_image_has_no_tensorflow_and_every_package_at_its_pinned_version():
    present = installed()
    assert not {"tensorflow", "keras", "keras-tuner"} & present
    pinned = {name(line) for line in (REPOSITORY / "requirements.txt").read_text().splitlines() if "==" in line}
    listed = (REPOSITORY / "ci/images/tools/requirements.in").read_text().splitlines()
    assert {name(line) for line in listed if line and not line.startswith("#")} <= pinned


def test_no_package_of_the_image_is_there_for_nothing():
    owners = packages_distributions()
    used = {name(owner) for command in COMMANDS for each in needed(command) for owner in owners[each]}
    lines = (REPOSITORY / "ci/images/tools/requirements.in").read_text(encoding="utf-8").splitlines()
    listed = {name(line) for line in lines if line and not line.startswith("#")}
    assert listed - used == {"dvc", "pyopenssl"}  # a program that is called, and what model-signing does not declare


def test_plan_and_report_run_where_nothing_else_is_installed(tmp_path):
    for path in (
        "tests/e2e/fork/pipeline.yaml",
        "tests/e2e/fork/model",
        "dvc.yaml",
        "requirements.txt",
        "scripts",
        "k8s",
        "ci",
    ):
        copy = shutil.copytree if (REPOSITORY / path).is_dir() else shutil.copy
        copy(REPOSITORY / path, tmp_path / Path(path).name)
    owners, present = packages_distributions(), installed()
    absent = {each for each, names in owners.items() if not {name(owner) for owner in names} & present}
    assert {"tensorflow", "keras", "sklearn", "pandera", "keras_tuner"} <= absent
    code = f"""
import os, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sorted(absent)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from scripts import agent, champion, configure, prepare, report, tune
for command in (configure, champion, agent, report):
    code = command.main([])
    assert code == 0, (command.__name__, code)
os.environ["{RESTORE_ONLY}"] = "1"      # as the Job of several workers is made: what was computed before would do
for command in (prepare, tune):
    assert command.main([]) == 1
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "build/report/index.html").exists()
    assert done.stderr.count(NOT_COMPUTED) == 2
