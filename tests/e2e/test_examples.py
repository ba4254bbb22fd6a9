"""Every task in examples/ goes through every stage unedited, and its server answers as it was evaluated."""

import json
import math
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from ci.stages import CACHED
from tests.e2e.forks import PATIENCE, Fork
from tests.pods import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

EXAMPLES = sorted(path.name for path in (REPOSITORY / "examples").iterdir() if (path / "pipeline.yaml").exists())
SMALL = ("--set=tuning.max_trials=2", "--set=tuning.epochs=2", "--set=gates.resamples=200")


def asked(fork: Fork, model: str, instances: list[dict[str, Any]]) -> list[Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{fork.port}/v1/models/{model}:predict", json.dumps({"instances": instances}).encode()
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return list(json.loads(answer.read())["predictions"])


def leaves(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    return [number for each in value for number in leaves(each)] if isinstance(value, list) else [float(value)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_passes_every_stage_unedited(checkout: Callable[..., Fork], name: str) -> None:
    fork = checkout(f"example-{name}", task=REPOSITORY / "examples" / name)
    maker = fork.folder / "model/make_data.py"
    if maker.exists():
        subprocess.run([sys.executable, str(maker)], cwd=fork.folder, check=True, timeout=PATIENCE)
    build = fork.build(*SMALL)
    for stage in CACHED:
        assert f"Running stage '{stage}'" in build.said
    evaluation, signature = build.evaluation, build.manifest["signature"]
    assert evaluation["verdict"] == "promote", evaluation["reason"]
    assert evaluation["trivial"]["passed"]
    for output in evaluation["outputs"]:
        assert signature["outputs"][output["name"]]["classes"] == output["classes"]
        assert signature["outputs"][output["name"]]["kind"] == output["kind"]
        assert output["name"] in build.page or not output["classes"]
    golden = json.loads((fork.folder / "build/package/golden.json").read_text())
    found = asked(fork, build.manifest["model"], golden["instances"][:5])
    assert leaves(found) == pytest.approx(leaves(golden["predictions"][:5]), abs=1e-4)
    assert all(map(math.isfinite, leaves(found)))
    assert build.monitoring["rows"] > 0
    assert "have no prediction" not in build.monitoring["reason"]
    again = fork.run(*SMALL)
    assert "nothing to do: no input" in again
