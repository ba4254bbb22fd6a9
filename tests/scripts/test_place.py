"""The place command, from settings and inventory to files and exit codes."""

import json
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from ci.placement import cluster
from ci.placement.inventory import EXAMPLE, load
from ci.placement.packing import certificate, solver
from ci.placement.packing.certificate import record as certificate_record
from ci.placement.packing.incumbent import Progress
from ci.placement.packing.solver import solve
from scripts import configure, place
from tests.ci.apiservers import patient

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("ci", "k8s"):
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    assert configure.main(["--file", str(REPOSITORY / "tests/pipeline.yaml")]) == 0
    return tmp_path / "build" / "placement"


def test_the_embedded_inventory_is_planned_checked_and_explained(workspace, capsys):
    assert place.main([]) == 0
    plan = json.loads((workspace / "plan.json").read_text())
    from ci import configuration

    settings = configuration.read(Path("build/settings.yaml"))
    question, _ = place.demand(settings).question(load(EXAMPLE), settings, None)
    assert not question.faults(plan["plan"])
    assert plan["proven"]
    assert plan["objective"] == plan["bound"] == len(set(plan["plan"].values()))
    assert "no plan uses fewer" in capsys.readouterr().out.splitlines()[-1]


def test_the_same_input_gives_the_same_bytes(workspace):
    def once():
        assert place.main([]) == 0
        return {file.name: file.read_bytes() for file in workspace.iterdir() if file.name != "timing.json"}

    assert once() == once()


def test_an_interrupt_gives_the_best_plan_so_far(workspace, capsys, monkeypatch):
    def interrupted(progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(place, "progress", lambda: interrupted)
    assert place.main([]) == 0
    assert "place: interrupted: this is the best plan so far" in capsys.readouterr().out.splitlines()
    assert not json.loads((workspace / "plan.json").read_text())["unplaced"]


def test_a_long_search_says_how_far_it_is_once_a_second(capsys):
    tell = place.progress()
    for seconds, bound in ((0.4, 7), (1.2, 7), (1.9, 8), (2.6, 9)):
        tell(Progress(10, bound, 0, seconds))
    assert capsys.readouterr().out.splitlines() == [
        "place: 1 s: 10 nodes; at least 7 are needed (gap 30.0%)",
        "place: 3 s: 10 nodes; at least 9 are needed (gap 10.0%)",
    ]


def test_a_group_can_be_planned_alone(workspace):
    assert place.main(["--group", "training"]) == 0
    assert set(json.loads((workspace / "plan.json").read_text())["plan"]) == {
        "tuning-0", "training",
    }  # fmt: skip


def test_a_task_that_fits_nowhere_is_named_with_what_is_missing(workspace, capsys):
    configure.main(
        ["--file", str(REPOSITORY / "tests/pipeline.yaml"), "--set", "resources.training={cpu: 64, memory: 4Gi}"]
    )
    assert place.main([]) == 1
    out, err = capsys.readouterr()
    assert "training (64.1 CPU, 4.25 GiB memory, 4.25 GiB ephemeral-storage) fits on no node" in out
    assert "lacks" in out
    assert err.startswith("failed: ")
    assert json.loads((workspace / "plan.json").read_text())["unplaced"] == ["training"]


def test_without_settings_it_says_which_command_writes_them(capsys):
    Path("build/settings.yaml").unlink()
    assert place.main([]) == 2
    assert "run `python -m scripts.configure` first" in capsys.readouterr().err


def test_a_bad_inventory_leaves_the_old_plan(workspace, capsys):
    assert place.main([]) == 0
    before = (workspace / "plan.json").read_bytes()
    Path("bad.json").write_text('{"items": []}')
    assert place.main(["--inventory", "bad.json"]) == 2
    assert "bad.json: there is no node in it" in capsys.readouterr().err
    assert (workspace / "plan.json").read_bytes() == before


def test_a_full_cluster_can_be_left_to_the_scheduler(workspace, capsys):
    overrides = ["--set", "resources.training={cpu: 64, memory: 4Gi}", "--set", "placement.full=default"]
    configure.main(["--file", str(REPOSITORY / "tests/pipeline.yaml"), *overrides])
    assert place.main([]) == 0
    assert "warning: the cluster is full" in capsys.readouterr().out
    assert json.loads((workspace / "handover.json").read_text()) == {}


def test_a_dry_run_prints_the_plan_and_writes_nothing(workspace, capsys):
    assert place.main(["--dry-run"]) == 0
    assert "6 pods on" in capsys.readouterr().out
    assert not workspace.exists()


def test_serving_survives_the_loss_of_any_node(workspace):
    assert place.main(["--group", "serving"]) == 0
    plan = json.loads((workspace / "plan.json").read_text())["plan"]
    assert len({node for task, node in plan.items() if task.startswith("serving-")}) > 1


def test_the_canary_may_stand_beside_a_replica(workspace):
    configure.main(["--file", str(REPOSITORY / "tests/pipeline.yaml"), "--set", "serving.replicas=2"])
    Path("two.json").write_text(json.dumps({"items": [a_node("a"), a_node("b")]}))
    assert place.main(["--inventory", "two.json", "--group", "serving"]) == 0
    plan = json.loads((workspace / "plan.json").read_text())["plan"]
    assert plan["serving-0"] != plan["serving-1"]
    assert set(plan) == {"serving-0", "serving-1", "canary"}


def test_each_group_gets_preferred_affinity_and_no_node_name(workspace):
    assert place.main([]) == 0
    text = (workspace / "handover.json").read_text()
    assert set(json.loads(text)) == {"serving", "training-agent", "tuning"}
    assert '"weight": 100' in text
    assert "nodeName" not in text


def a_node(name: str, **changes) -> dict:
    amounts = {"cpu": "16", "memory": "64Gi", "ephemeral-storage": "90Gi", "pods": "110"} | changes.pop("amounts", {})
    status = {"allocatable": amounts, "conditions": [{"type": "Ready", "status": changes.pop("ready", "True")}]}
    metadata = {"name": name, "labels": changes.pop("labels", {"kubernetes.io/hostname": name})}
    return {"kind": "Node", "metadata": metadata, "spec": changes, "status": status}


def a_pod(name: str, node: str, namespace: str = "default") -> dict:
    container = {"name": "c", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}
    metadata = {"name": name, "namespace": namespace}
    return {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": node, "containers": [container]}, "status": {}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "bad.json: not a JSON file"),
        ("[1, 2]", "bad.json: not a Kubernetes list: give what `kubectl get nodes,pods -A -o json` prints"),
        ({"items": []}, "bad.json: there is no node in it: record it with `kubectl"),
        ({"items": [a_node("n", ready="Unknown")]}, "none of the 1 nodes is ready: look at `kubectl get nodes`"),
        ({"items": [a_node("n"), a_node("n")]}, "bad.json: items[1]: Node n appears twice"),
        ({"items": [a_node("n", amounts={"cpu": "-4"})]}, "items[0] (Node n).status.allocatable.cpu: '-4' is negative"),
        ({"items": [a_node("n", amounts={"memory": "4 GB"})]}, "allocatable.memory: '4 GB' is not a quantity: write"),
        ({"items": [a_node("n", taints=[{"key": "k", "effect": "Never"}])]}, "taints[0].effect: 'Never' is none of"),
        ({"items": [a_node("n"), *[a_pod("p", "n")] * 2]}, "bad.json: items[2]: Pod default/p appears twice"),
        ({"kind": "Secret", "data": {"a": "b"}}, "bad.json: not a Kubernetes list"),
        ({"items": [a_node("\ud800")]}, "items[0].metadata.name: '\\ud800' is no name that Kubernetes accepts"),
        ({"items": [a_node("a\x07")]}, "is no name that Kubernetes accepts"),
        (
            {"items": [a_node("n"), a_pod("p", ["n"])]},
            "items[1] (Pod default/p).spec.nodeName: expected a name, found list",
        ),
        (
            {"items": [a_node("n", labels={"kubernetes.io/hostname": 5})]},
            "labels.kubernetes.io/hostname: expected a text",
        ),
        (None, "bad.json is missing: record one with `kubectl"),
    ],
)
def test_each_bad_inventory_ends_with_two_and_names_file_entry_and_fix(workspace, capsys, content, message):
    if content is not None:
        Path("bad.json").write_text(content if isinstance(content, str) else json.dumps(content))
    assert place.main(["--inventory", "bad.json"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not workspace.exists()


def test_requests_that_are_absent_are_said(capsys):
    silent = a_pod("silent", "n")
    silent["spec"]["containers"] = [{"name": "c"}]
    Path("cluster.json").write_text(json.dumps({"items": [a_node("n"), a_node("m"), silent, a_pod("limited", "n")]}))
    assert place.main(["--inventory", "cluster.json", "--explain"]) == 0
    assert "1 running pod asking for no CPU or no memory, which counts as zero" in capsys.readouterr().out


def test_a_snapshot_of_fifty_megabytes_is_planned(workspace):
    items = [a_node(f"n{j:04}") for j in range(1000)] + [a_pod(f"p{i}", f"n{i % 500:04}") for i in range(5000)]
    for item in items:
        item["metadata"]["annotations"] = {"padding": "x" * 8500}
    Path("large.json").write_text(json.dumps({"items": items}))
    assert Path("large.json").stat().st_size > 50e6
    assert place.main(["--inventory", "large.json"]) == 0
    assert json.loads((workspace / "plan.json").read_text())["proven"]


@pytest.fixture
def api(tmp_path, monkeypatch):
    """An API server with the items that its `readings` give, the last of them again and again.

    Its first answers are the statuses in `failures`; 0 is no answer in time.
    """

    class Handler(BaseHTTPRequestHandler):
        readings: list[list[dict]] = []  # noqa: RUF012 - shared with the test on purpose
        failures: list[int] = []  # noqa: RUF012

        def do_GET(self):
            if self.failures:
                status = self.failures.pop(0)
                if not status:
                    time.sleep(0.4)
                    return
                self.send_response(status)
                self.end_headers()
                return
            kind = "Node" if "/nodes" in self.path else "Pod"
            body = json.dumps({"items": [item for item in self.readings[0] if item["kind"] == kind]}).encode()
            if kind == "Pod" and len(self.readings) > 1:
                self.readings.pop(0)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        config = {
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{http.server_port}"}}],
            "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {}}],
        }
        (tmp_path / "kubeconfig").write_text(json.dumps({"apiVersion": "v1", "kind": "Config"} | config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield Handler
        http.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("failures", "message"),
    [
        (
            [401],
            "listing nodes: GET /api/v1/nodes: the API server answers 401: Unauthorized: the cred",
        ),
        ([403], "answers 403: Forbidden: give this account `list` on nodes and pods"),
        ([429] * 5, "answers 429: Too Many Requests, 5 times"),
        ([503] * 4 + [500], "answers 500: Internal Server Error, 5 times"),
        ([0] * 8, "the API server gives no answer: "),
    ],
)
def test_each_refusal_of_the_api_server_ends_with_one_and_what_to_do(
    workspace, api, monkeypatch, capsys, failures, message
):
    monkeypatch.setattr(cluster, "_LIMIT", 0.1 if 0 in failures else 30.0)
    api.readings, api.failures = [[a_node("n")]], failures
    with patient():
        assert place.main(["--context", "test"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("failed: test: listing nodes: ")
    assert message in error
    assert "Traceback" not in error
    assert not workspace.exists()


def test_a_busy_api_server_is_asked_again(workspace, api):
    api.readings, api.failures = [[a_node("a"), a_node("b")]], [429, 503]
    assert place.main(["--context", "test", "--group", "training"]) == 0
    assert json.loads((workspace / "plan.json").read_text())["inventory"] == "test"


def test_an_unknown_context_is_bad_input(workspace, api, capsys):
    assert place.main(["--context", "nowhere"]) == 2
    assert "no cluster nowhere: " in capsys.readouterr().err
    assert not workspace.exists()


def test_a_node_that_disappears_while_the_plan_is_made_leads_to_another_plan(workspace, api, capsys):
    before = [a_node("a"), a_node("b"), a_node("c"), a_pod("running", "a"), a_pod("beside", "b")]
    api.readings = [before, [item for item in before if item["metadata"]["name"] != "a"]]
    assert place.main(["--context", "test"]) == 0
    assert "planned again: " in (out := capsys.readouterr().out)
    assert "is on a, which is not there" in out
    assert set(json.loads((workspace / "plan.json").read_text())["plan"].values()) == {"b", "c"}


@pytest.mark.parametrize(("patience", "code"), [(30.0, 0), (0.0, 1)])
def test_room_that_a_pod_takes_which_is_being_deleted_is_waited_for(
    workspace, api, monkeypatch, capsys, patience, code
):
    monkeypatch.setattr(place, "ENDING", patience)
    nodes, agent = [a_node("a"), a_node("b")], a_pod("agent", "a")
    agent["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "16"}}
    agent["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    api.readings = [[*nodes, agent], [*nodes, agent], nodes]
    assert place.main(["--context", "test", "--group", "serving"]) == code
    said = "place: no room yet: waiting for default/agent, which is being deleted"
    assert (said in capsys.readouterr().out) == (code == 0)


def labels(*path: str) -> dict[str, str]:
    """The labels of the pods that a file of the repository makes."""
    item = yaml.safe_load(REPOSITORY.joinpath(*path).read_text())
    return dict(item["spec"].get("template", item)["metadata"]["labels"])


def test_the_pods_that_the_repository_makes_are_found_by_their_own_labels(workspace, api, capsys):
    nodes = [a_node("a"), a_node("b"), a_node("c")]
    api.readings = [nodes]
    assert place.main(["--context", "test"]) == 0
    sets = json.loads((workspace / "plan.json").read_text())["sets"]
    agent = a_pod("agent-1", sets["training-agent"][0], "model-pipeline")
    stable, canary = (a_pod(name, sets["serving"][0], "model-serving") for name in ("s-1", "canary-1"))
    agent["metadata"]["labels"] = labels("ci", "agents", "training.yaml")
    for pod, track in ((stable, "stable"), (canary, "canary")):
        pod["metadata"]["labels"] = {**labels("k8s", "server", "pod", "deployment.yaml"), "track": track}
    api.readings = [[*nodes, agent, stable, canary]]
    assert place.main(["--compare", "--context", "test"]) == 0
    assert "3 of 3 pods are on their group's planned nodes" in capsys.readouterr().out


def test_a_task_asks_for_all_that_the_pods_file_asks_for_with_the_settings_cpu_and_memory(workspace):
    configure.main(
        ["--file", str(REPOSITORY / "tests/pipeline.yaml"), "--set", "resources.training={cpu: 3, memory: 5Gi}"]
    )
    assert place.main([]) == 0
    asked = {task["name"]: task["requests"] for task in json.loads((workspace / "plan.json").read_text())["pods"]}
    beside = {"cpu": 100, "memory": 256 * 2**20}  # jnlp
    assert asked["training"]["cpu"] == 3000 + beside["cpu"]
    assert asked["training"]["memory"] == 5 * 2**30 + beside["memory"]
    assert asked["training"]["ephemeral-storage"] == (4 * 1024 + 256) * 2**20
    assert asked["canary"] == asked["serving-0"]
    assert asked["canary"]["ephemeral-storage"] >= 64 * 2**20


def test_a_pods_file_that_is_no_pod_is_named(workspace, tmp_path, capsys):
    (tmp_path / "k8s").unlink()
    assert place.main([]) == 2
    assert "k8s/overlays/kind/server has no kustomization.yaml" in capsys.readouterr().err
    (file := tmp_path / "k8s/overlays/kind/server/kustomization.yaml").parent.mkdir(parents=True)
    file.write_text("resources: [deployment.yaml]")
    pod = "{template: {spec: {containers: [{image: x}]}}}"
    (file.parent / "deployment.yaml").write_text(
        f"{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: a}}, spec: {pod}}}"
    )
    assert place.main([]) == 2
    said = capsys.readouterr().err
    assert "k8s/overlays/kind/server: expected Deployments model-stable and model-canary with the containers" in said


def test_the_bound_can_be_checked_again_from_the_file_alone(workspace, capsys):
    assert place.main([]) == 0
    assert place.main(["--verify"]) == 0
    assert "at least 2 nodes are needed, and 2 are used" in capsys.readouterr().out


def test_whether_a_plan_still_fits_the_nodes_can_be_checked_too(capsys):
    assert place.main([]) == 0
    assert place.main(["--verify", "--inventory", str(EXAMPLE)]) == 0
    assert capsys.readouterr().out.endswith("; it fits the nodes as they are\n")
    document = json.loads(EXAMPLE.read_text())
    used = set(json.loads(Path("build/placement/plan.json").read_text())["plan"].values())
    gone, full = sorted(used)
    items = [each for each in document["items"] if each["metadata"]["name"] != gone]
    for each in items:
        if each["metadata"]["name"] == full:
            each["status"]["allocatable"]["cpu"] = "1"
    Path("later.json").write_text(json.dumps({**document, "items": items}))
    capsys.readouterr()
    assert place.main(["--verify", "--inventory", "later.json"]) == 1
    said = capsys.readouterr().err
    assert f"is on {gone}, which is not there" in said
    assert f"{full}: cpu" in said

    more = ["--file", str(REPOSITORY / "tests/pipeline.yaml"), "--set", "serving.replicas=9"]
    assert configure.main(more) == 0
    assert place.main(["--verify", "--inventory", str(EXAMPLE)]) == 1
    assert "has no node" in capsys.readouterr().err


def forged(document, change):
    plan, proof = document["plan"], document["certificate"]
    match change:
        case "objective":
            document["objective"] -= 1
        case "proves":
            proof["proves"] += 1
        case "prices":
            proof["prices"] = [0 for _ in proof["prices"]]
        case "left out":
            del plan["canary"]
        case "free":
            proof["free"] = [[2 * amount for amount in row] for row in proof["free"]]
        case "shapes":
            proof["allowed"] = []
        case "key":
            del proof["rule"]
        case "text":
            proof["free"] = "x" * 1000
        case "texts":
            proof["prices"] = ["9" * 400 for _ in proof["prices"]]
        case "weights":
            proof["weights"] = ["1e999999999" for _ in proof["weights"]]
        case "amounts":
            proof["requests"] = [[2**70 for _ in row] for row in proof["requests"]]
        case "scale":
            proof["scale"] = 0
        case "fewer":
            plan.update(dict.fromkeys(plan, "gpu-0"))
            document["objective"] = 1
        case "bound":
            document["bound"] = 9


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ("objective", 1, "the plan uses 2 nodes, not 1"),
        ("proves", 1, "the certificate proves 2, not 3"),
        ("prices", 1, "the certificate proves 0, not 2"),
        ("left out", 1, "about another question"),
        ("free", 1, "the certificate proves 1, not 2"),
        ("fewer", 1, "2 nodes proven, a bound of 2 and 1 nodes used cannot all be true"),
        ("bound", 1, "2 nodes proven, a bound of 9 and 2 nodes used cannot all be true"),
        ("text", 2, "plan.json: certificate.free: Input should be a valid array"),
        ("texts", 2, "plan.json: certificate.prices.0: Input should be a valid integer"),
        ("weights", 2, "plan.json: certificate.weights.0: String should match pattern"),
        ("amounts", 2, "plan.json: certificate.requests.0.0: Input should be less than"),
        ("scale", 2, "plan.json: certificate.scale: Input should be greater than"),
        ("key", 2, "plan.json: certificate.rule: Field required"),
        ("shapes", 2, "its certificate is not whole"),
    ],
)
def test_a_forged_plan_does_not_pass_the_re_check(workspace, capsys, change, code, message):
    assert place.main([]) == 0
    forged(document := json.loads((workspace / "plan.json").read_text()), change)
    (workspace / "plan.json").write_text(json.dumps(document))
    assert place.main(["--verify"]) == code
    assert message in capsys.readouterr().err


def test_a_plan_that_does_not_hold_is_not_written(workspace, monkeypatch, capsys):
    monkeypatch.setattr(solver, "solve", lambda *given, **more: replace(solve(*given, **more), node_of=(0,) * 6))
    assert place.main([]) == 1
    assert "the solver's plan does not hold in integers" in capsys.readouterr().err
    assert not workspace.exists()


def test_a_record_that_does_not_hold_is_not_written(workspace, monkeypatch, capsys):
    def record(*given, **more):
        return certificate_record(*given, **more) | {"proves": 99}

    monkeypatch.setattr(certificate, "record", record)
    assert place.main([]) == 1
    assert "the plan's record does not hold: the certificate proves 2, not 99" in capsys.readouterr().err
    assert not workspace.exists()


def test_planned_and_actual_nodes_are_compared(workspace, api, capsys):
    nodes = [a_node("a"), a_node("b"), a_node("c")]
    api.readings = [nodes]
    assert place.main(["--context", "test", "--group", "training"]) == 0
    planned = json.loads((workspace / "plan.json").read_text())["sets"]["training-agent"]
    away = next(name for name in "abc" if name not in planned)
    pods = [a_pod(f"training-{index}", node, "model-pipeline") for index, node in ((1, planned[0]), (2, away))]
    for pod in pods:
        pod["metadata"]["labels"] = labels("ci", "agents", "training.yaml")
    api.readings = [nodes + pods]
    assert place.main(["--compare", "--context", "test"]) == 0
    found = json.loads((workspace / "actual.json").read_text())["found"]
    assert found[0] == "1 of 2 pods are on their group's planned nodes"
    assert found[1].startswith(f"model-pipeline/training-2 is on {away}")
