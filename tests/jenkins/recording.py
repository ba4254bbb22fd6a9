"""What a Jenkinsfile says, as tests/jenkins/record.groovy records it."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.pods import REPOSITORY
from tests.programs import needed

PARAMETERS = (
    "AS_OF",
    "STRATEGY",
    "MAX_TRIALS",
    "WORKERS",
    "SETTINGS",
    "FORCE",
    "DEPLOY",
    "PROMOTE",
    "ROLLBACK",
    "ENVIRONMENT",
    "REQUEST",
)
Call = dict[str, Any]


def record(jenkinsfile: Path, parameters: dict[str, Any] | None = None, **variables: str) -> dict[str, Any]:
    """Run a Jenkinsfile and return what it said; parameters that are not given are empty."""
    groovy = needed("groovy", "apt-get install groovy")
    environment = dict(os.environ)
    if "JAVA_HOME" not in environment and (java := shutil.which("java")):
        environment["JAVA_HOME"] = str(Path(java).resolve().parent.parent)
    script = REPOSITORY / "tests/jenkins/record.groovy"
    ran = subprocess.run(
        [
            groovy,
            script,
            jenkinsfile,
            json.dumps({"params": dict.fromkeys(PARAMETERS, "") | (parameters or {}), "env": variables}),
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def block(call: Call, name: str) -> list[Call]:
    """Return what is in the block `name` of a call, or nothing if it has none."""
    return next((inner["body"] for inner in call["body"] if inner["name"] == name), None) or []


def everything(call: Call) -> Iterator[Call]:
    """Yield a call and all calls in its blocks."""
    yield call
    for inner in call["body"] or []:
        yield from everything(inner)


def stages(call: Call) -> dict[str, Call]:
    """Return the stages in a call by name; those of a stage that runs several at a time are in its place."""
    found: dict[str, Call] = {}
    for inner in block(call, "stages"):
        beside = block(inner, "parallel")
        found |= {each["args"][0]: each for each in beside} or {inner["args"][0]: inner}
    return found


def shell(call: Call, name: str = "") -> list[str]:
    """Return the lines of the steps `sh` in a call, or in its block `name`, but of those that return what they read."""
    blocks = block(call, name) if name else [call]
    lines = [inner["args"][0] for each in blocks for inner in everything(each) if inner["name"] == "sh"]
    return [line for line in lines if isinstance(line, str)]


def returned(call: Call) -> list[str]:
    """Return the lines of the steps `sh` in a call that return what they read."""
    lines = [inner["args"][0] for inner in everything(call) if inner["name"] == "sh"]
    return [line["script"] for line in lines if isinstance(line, dict) and line["returnStdout"]]
