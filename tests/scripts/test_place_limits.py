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

from ci.placement import inventory
from scripts import configure
from scripts import place as command

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
    assert configure.main(["--file", str(REPOSITORY / "tests/pipeline.yaml"), *given]) == 0


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
    given = ["--inventory", "cluster.json"] if items else []
    started = monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "scripts.place", *given, *more],
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
    configured("placement.time_limit=2")
    draw = random.Random(0)
    items = [a_node(f"a{j:05}", 2, "3Gi") for j in range(25_000)]
    for j in range(25_000):
        cpu, memory = f"{1000 + draw.randrange(3000)}m", 2**31 + draw.randrange(2**32)
        items.append(a_node(f"b{j:05}", cpu, memory))
    done, seconds = place(items)
    assert done.returncode == 0, done.stderr
    assert seconds < 60
    plan = json.loads((workspace / "plan.json").read_text())
    assert plan["nodes"] == 50_000
    # Not `proven`: a busy machine may not get that far in its time.
    assert 1 <= plan["bound"] <= plan["objective"] <= 6
    assert (workspace / "plan.svg").stat().st_size < 2e6


FORGERIES = """
import copy, json, resource, sys
from pathlib import Path
from scripts import place

resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
file = Path("build/placement/plan.json")
good = json.loads(file.read_text())
for key, value in json.loads(Path("forgeries.json").read_text()):
    forged = copy.deepcopy(good)
    forged["certificate"][key] = value
    file.write_text(json.dumps(forged))
    print(key, json.dumps(value)[:40], place.main(["--verify"]), file=sys.stderr, flush=True)
file.write_text(json.dumps(good))
print("good", place.main(["--verify"]), file=sys.stderr)
"""


def test_no_certificate_costs_much_or_ends_without_a_message(workspace):
    assert place([a_node(f"n{j}", 4, "16Gi") for j in range(4)])[0].returncode == 0
    proof = json.loads((workspace / "plan.json").read_text())["certificate"]
    tasks, resources, long = len(proof["prices"]), len(proof["resources"]), "x" * 2_000_000

    def changed(key: str, value: object) -> tuple[str, object]:
        """One number in a table, the others as they are."""
        first, *rest = proof[key]
        return key, [[value, *first[1:]], *rest] if isinstance(first, list) else [value, *rest]

    wrong = ["text", long, -1, 1.5, 2**70, None, [1], {}, True]
    forgeries = [
        *[changed(key, value) for key in ("requests", "free", "rule", "zone", "prices") for value in wrong],
        *[(key, value) for key in sorted(proof) for value in ("text", None, {}, [[[1]]], 7.5)],
        *[("units", [[r, size]]) for r in (-1, 0, resources - 1, resources, 2**62) for size in (-1, 0, "1")],
        *[changed(key, 2**62) for key in ("free", "rule", "prices")],
        *[("scale", value) for value in (-1, 0, True, 2**70)],
        *[("weights", [each] * resources) for each in ("1e999999999", "1/0", "-1/3", "0x1", "1" * 5000, "٣", 1)],
        *[("fees", [fee]) for fee in ([0, 0, 5], [0, resources - 1, -5], [0, 0], ["a", 0, 1], [99, 99, 1])],
        ("zoned", [0, 99]),
        ("prices", [2**61] * tasks),
        ("prices", [1] * (tasks + 1)),
        ("proves", 99),
    ]
    # Odd, but what they prove is true of the program that they hold.
    odd = [
        *[changed(key, 2**62) for key in ("requests", "zone")],
        ("units", [[r, 2**62] for r in range(resources)]),
        ("allowed", [[False] * len(proof["free"])] * len(proof["allowed"])),
    ]
    Path("forgeries.json").write_text(json.dumps(forgeries + odd))
    started = monotonic()
    done = subprocess.run(
        [sys.executable, "-c", FORGERIES, str(MEMORY)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    codes = [int(line[-1]) for line in done.stderr.splitlines() if not line.startswith(("failed", "bad input"))]
    for flaw in ("amounts are negative", "fees are negative", "a fee is for a resource that no zone shares"):
        assert flaw in done.stderr
    assert codes[: len(forgeries)].count(0) == 0, done.stderr
    assert codes[len(forgeries) :] == [0] * (len(odd) + 1)
    assert monotonic() - started < 60


def test_a_certificate_in_the_smallest_units_of_huge_amounts_is_checked_in_bounded_time_and_memory(workspace):
    """Its tables would have 10^40 cells: it proves what larger units prove, which is not what it says."""
    assert place([a_node(f"n{j}", 4, "16Gi") for j in range(4)])[0].returncode == 0
    plan = json.loads((workspace / "plan.json").read_text())
    proof = plan["certificate"]
    proof |= {
        "requests": [[amount * 2**20 for amount in row] for row in proof["requests"]],
        "free": [[amount * 2**20 for amount in row] for row in proof["free"]],
        "units": [[r, 1] for r in range(len(proof["resources"]))],
        "weights": [],
        "proves": 99,
    }
    (workspace / "plan.json").write_text(json.dumps(plan))
    started = monotonic()
    done, _ = place([], "--verify")
    assert monotonic() - started < 30
    assert done.returncode == 1, done.stderr
    assert "the certificate proves" in done.stderr


def test_more_than_is_supported_is_said_at_once_with_the_numbers(workspace, monkeypatch, capsys):
    with Path("large.json").open("wb") as file:
        file.truncate(2**30 + 1)
    assert command.main(["--inventory", "large.json"]) == 2
    assert "large.json: it has more than 1,073,741,824 bytes" in capsys.readouterr().err

    monkeypatch.setattr(inventory, "_NODES", 3)
    monkeypatch.setattr(inventory, "_PODS", 2)
    for nodes, pods in ((4, 0), (3, 3)):
        items = [a_node(f"n{j}", 4, "16Gi") for j in range(nodes)] + [a_pod(f"p{i}", "n0") for i in range(pods)]
        Path("many.json").write_text(json.dumps({"items": items}))
        assert command.main(["--inventory", "many.json"]) == 2
        said = capsys.readouterr().err
        assert "many.json: more than 3 nodes or 2 pods: record those of the node pools" in said
    assert not workspace.exists()


def test_a_pipe_is_no_inventory(workspace, capsys):
    os.mkfifo("pipe.json")
    assert command.main(["--inventory", "pipe.json"]) == 2
    assert "pipe.json: this is no plain file" in capsys.readouterr().err


def test_what_is_not_read_of_a_record_is_dropped_but_no_label_of_that_name(workspace):
    items = [a_node(f"n{j}", 8, "32Gi") for j in range(3)]
    for item in items:
        item["metadata"] |= {"labels": {**item["metadata"]["labels"], "env": "test"}, "annotations": {"a": "b"}}
        item["status"]["images"] = [{"names": ["x"], "sizeBytes": 1}]
    Path("cluster.json").write_text(json.dumps({"items": items}))
    assert inventory.load(Path("cluster.json")).nodes[0].labels["env"] == "test"
    assert command.main(["--inventory", "cluster.json"]) == 0


def test_two_thousand_pods_on_twenty_thousand_nodes_that_all_differ(workspace):
    configured("placement.time_limit=3", "serving.replicas=999", "tuning.workers=1000")
    draw = random.Random(1)
    items = [
        a_node(f"n{j:05}", f"{3000 + draw.randrange(3000)}m", 2**33 + draw.randrange(2**33)) for j in range(20_000)
    ]
    done, seconds = place(items)
    assert done.returncode == 0, done.stderr
    assert seconds < 60
    plan = json.loads((workspace / "plan.json").read_text())
    assert 400 <= plan["bound"] <= plan["objective"] <= 1800
