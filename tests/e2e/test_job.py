"""Pods of the tuning Job as processes: the script of `ci/agents/tuning.yaml`, with nothing but what a pod is given."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e.forks import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

MAKE = """
import json
from ci.results.build import TUNING_JOB
from ci.run import order
from ci.run.job import manifest, work
assert not order.restored("tune")
job = manifest.named(TUNING_JOB.plain(), "build", work.push(), owner=None, image=None)
print(json.dumps(job))
"""
RESTORE = 'from ci.run import order; assert order.restored("tune")'


@pytest.fixture
def remote(tmp_path) -> dict[str, str]:
    """Variables with which DVC has a remote, as in the pods: by a configuration outside of the repository."""
    (tmp_path / "dvc").mkdir()
    remote = f"[core]\n    remote = shared\n['remote \"shared\"']\n    url = {tmp_path / 'remote'}\n"
    (tmp_path / "dvc/config").write_text(remote)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "DVC_SYSTEM_CONFIG_DIR": str(tmp_path / "dvc"), "HOME": str(tmp_path)}


def run(*command: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_pod_fetches_all_it_needs_finds_what_a_search_here_finds_and_pushes_it(
    checkout, expected, remote, tmp_path
):
    fork, python = checkout("job"), (sys.executable, "-m")
    environment = {**remote, "DVC_SITE_CACHE_DIR": str(tmp_path / "site")}
    environment.pop("PIPELINE_SET", None)
    for name in ("configure", "champion", "agent"):
        run(*python, f"scripts.{name}", folder=fork.folder, environment=environment)
    made = run(sys.executable, "-c", MAKE, folder=fork.folder, environment=environment).splitlines()[-1]
    [container] = json.loads(made)["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"] if each["name"] == "WORK"}
    pod = {**remote, **given, "POD_IP": "127.0.0.1", "JOB_COMPLETION_INDEX": "0"}
    pod |= {"TUNING_STATE": str(tmp_path / "searches"), "DVC_SITE_CACHE_DIR": str(tmp_path / "pod-site")}
    (empty := tmp_path / "workspace").mkdir()
    run(*container["command"], *container["args"], folder=empty, environment=pod)
    assert not (fork.folder / "build/tuning").exists()
    run(sys.executable, "-c", RESTORE, folder=fork.folder, environment=environment)
    assert json.loads(fork.text("tuning/trials.json")) == expected.trials
    [search] = (tmp_path / "searches").iterdir()  # it outlives the pod
    assert search.is_dir()
    assert yaml.safe_load(given["WORK"])["outs"][0]["path"] == "work"
