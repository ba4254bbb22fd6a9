"""The place command keeps its time and little memory, however large or odd the cluster is."""

import json
import os
import random
import resource
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from scripts import configure

REPOSITORY = Path(__file__).parents[2]
MEMORY = 1536 * 2**20
"""Addresses that the command may use: numpy, HiGHS and the interpreter alone take a third of them; bytes."""


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("ci", "k8s"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    configured("placement.time_limit=4")
    return tmp_path / "build" / "placement"


def configured(*changes: str) -> None:
    given = [text for change in changes for text in ("--set", change)]
    assert configure.main(["--file", str(REPOSITORY / "pipeline.yaml"), *given]) == 0


def a_node(name: str, cpu: object, memory: object, pods: object = 110) -> dict:
    amounts = {"cpu": str(cpu), "memory": str(memory), "ephemeral-storage": "90Gi", "pods": str(pods)}
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    status = {"allocatable": amounts, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}, "status": status}


def a_pod(name: str, node: str) -> dict:
    asked = {"cpu": "100m", "memory": "128Mi"}
    spec = {"nodeName": node, "containers": [{"name": "c", "resources": {"requests": asked}}]}
    return {"kind": "Pod", "metadata": {"name": name, "namespace": "other"}, "spec": spec, "status": {}}


def place(items: list[dict], *more: str) -> tuple[subprocess.CompletedProcess, float]:
    """Run the command on an inventory in little memory; return what it did, and its seconds."""
    Path("cluster.json").write_text(json.dumps({"items": items}))
    started = monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "scripts.place", "--inventory", "cluster.json", *more],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done, monotonic() - started


@pytest.mark.parametrize(("cpu", "memory"), [("448", "6Ti"), ("96", "768Gi"), ("4096", "64Ti"), ("1e15", "1e18")])
def test_one_large_node_costs_neither_time_nor_memory(workspace, cpu, memory):
    """Some nodes are in use and the large one is not, so that the plan is looked at more closely."""
    small = [f"n{j}" for j in range(5)]
    items = [a_node(name, 4, "16Gi") for name in small] + [a_node("large", cpu, memory)]
    done, seconds = place(items + [a_pod(f"p-{name}", name) for name in small])
    assert done.returncode == 0, done.stderr
    assert seconds < 30
    plan = json.loads((workspace / "plan.json").read_text())
    assert (plan["objective"], plan["proven"]) == (2, True)


def test_fifty_thousand_nodes_half_of_them_alike_and_half_all_different(workspace):
    draw = random.Random(0)
    items = [a_node(f"a{j:05}", 2, "3Gi") for j in range(25_000)]
    for j in range(25_000):
        cpu, memory = f"{1000 + draw.randrange(3000)}m", 2**31 + draw.randrange(2**32)
        items.append(a_node(f"b{j:05}", cpu, memory))
    done, seconds = place(items)
    assert done.returncode == 0, done.stderr
    assert seconds < 60
    plan = json.loads((workspace / "plan.json").read_text())
    assert (plan["nodes"], plan["proven"]) == (50_000, True)
    assert (workspace / "plan.svg").stat().st_size < 2e6
