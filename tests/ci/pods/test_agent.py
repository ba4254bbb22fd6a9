import json
import shutil
from dataclasses import replace

import pytest
import yaml

from ci.errors import InputError
from ci.placement.packing import solver
from ci.pods import sizing, steering, templates
from ci.settings.cluster import Request
from scripts import agent, configure
from tests.pods import REPOSITORY, violations

NODES = {
    "kind": "List",
    "items": [
        {
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": {},
            "status": {
                "allocatable": {"cpu": cpu, "memory": "64Gi", "ephemeral-storage": "90Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        for name, cpu in (("pool-small-1", "1"), ("pool-large-1", "32"))
    ],
}


def test_only_cpu_and_memory_of_the_training_container_change():
    before = templates.read(REPOSITORY / templates.TRAINING)
    after = sizing.sized(before, "tensorflow", Request(cpu="3500m", memory="12Gi"))
    [training] = [container for container in after["spec"]["containers"] if container["name"] == "tensorflow"]
    assert {
        (training["resources"][kind]["cpu"], training["resources"][kind]["memory"]) for kind in training["resources"]
    } == {("3500m", "12Gi")}
    assert violations(after["spec"]) == []
    for version in (before, after):
        for container in version["spec"]["containers"]:
            if container["name"] == "tensorflow":
                for amounts in container["resources"].values():
                    del amounts["cpu"], amounts["memory"]
    assert before == after


def test_the_pod_that_was_read_stays_as_it_was():
    before = templates.read(REPOSITORY / templates.TRAINING)
    sizing.sized(before, "tensorflow", Request(cpu="64", memory="1Ti"))
    assert before == templates.read(REPOSITORY / templates.TRAINING)


def test_the_shipped_pod_already_has_the_shipped_request(tmp_path, monkeypatch):
    checkout(tmp_path, monkeypatch)
    assert configure.main([]) == 0
    assert agent.main([]) == 0
    assert json.loads((tmp_path / "build/agent.json").read_text()) == templates.read(REPOSITORY / templates.TRAINING)


def test_in_a_build_of_a_pull_request_it_is_the_pod_for_these_with_the_same_size(tmp_path, monkeypatch):
    checkout(tmp_path, monkeypatch)
    monkeypatch.setenv("CHANGE_ID", "12")
    assert configure.main(["--set", "resources.training.cpu=8"]) == 0
    assert agent.main([]) == 0
    pod = json.loads((tmp_path / "build/agent.json").read_text())
    [_, training] = pod["spec"]["containers"]
    assert training["resources"]["limits"]["cpu"] == "8"
    training["resources"] = templates.read(REPOSITORY / templates.PULL_REQUEST)["spec"]["containers"][1]["resources"]
    assert pod == templates.read(REPOSITORY / templates.PULL_REQUEST)


def test_the_command_writes_a_pod_that_holds_what_the_settings_ask_for(tmp_path, monkeypatch):
    checkout(tmp_path, monkeypatch)
    assert configure.main(["--set", "resources.training.cpu=8", "--set", "resources.training.memory=32Gi"]) == 0
    assert agent.main([]) == 0
    [_, training] = json.loads((tmp_path / "build/agent.json").read_text())["spec"]["containers"]
    assert training["resources"]["limits"]["cpu"] == "8"
    assert training["resources"]["requests"]["memory"] == "32Gi"


def test_a_node_planned_on_the_clusters_inventory_is_preferred_and_never_forced(tmp_path, monkeypatch):
    checkout(tmp_path, monkeypatch)
    (tmp_path / "nodes.json").write_text(json.dumps(NODES))
    assert configure.main(["--set", "placement.inventory=nodes.json"]) == 0
    assert agent.main([]) == 0
    spec = json.loads((tmp_path / "build/agent.json").read_text())["spec"]
    (term,) = spec["affinity"]["nodeAffinity"].pop("preferredDuringSchedulingIgnoredDuringExecution")
    assert term == {"weight": 100, "preference": led_to("pool-large-1")}
    assert spec["affinity"] == {"nodeAffinity": {}}
    (constraint,) = spec["topologySpreadConstraints"]
    assert constraint["labelSelector"]["matchLabels"] == {"app.kubernetes.io/component": "training-agent"}
    assert "nodeName" not in spec
    assert violations(spec) == []


def a_node(name, cpu="2", taints=(), labels=(), **extended):
    amounts = {"cpu": cpu, "memory": "8Gi", "ephemeral-storage": "90Gi", "pods": "110"}
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **dict(labels)}},
        "spec": {"taints": list(taints)},
        "status": {
            "allocatable": amounts | {key.replace("_", "/"): value for key, value in extended.items()},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def written(folder, *nodes, settings=()):
    """Run the command for a cluster of these objects; return its exit code."""
    (folder / "nodes.json").write_text(json.dumps({"kind": "List", "items": list(nodes)}))
    given = ["placement.inventory=nodes.json", *settings]
    assert configure.main([f"--set={each}" for each in given]) == 0
    return agent.main([])


def test_the_shipped_pods_fit_nodes_of_two_cpu(tmp_path, monkeypatch, capsys):
    checkout(tmp_path, monkeypatch)
    assert written(tmp_path, a_node("a"), a_node("b")) == 0
    led = json.loads((tmp_path / "build/agent.json").read_text())["spec"]["affinity"]
    job = json.loads((tmp_path / "build/tuning-job.json").read_text())["spec"]
    others = job["template"]["spec"]["affinity"]
    key = "preferredDuringSchedulingIgnoredDuringExecution"
    terms = [pod["nodeAffinity"][key][0]["preference"] for pod in (led, others)]
    assert sorted(terms, key=str) == [led_to("a"), led_to("b")]
    assert (job["completions"], job["parallelism"]) == (1, 1)


def test_a_pod_that_no_node_could_take_is_told_before_anything_starts(tmp_path, monkeypatch, capsys):
    checkout(tmp_path, monkeypatch)
    assert written(tmp_path, a_node("a"), a_node("b"), settings=["resources.training.cpu=2"]) == 1
    said = "training (2.1 CPU, 4.25 GiB memory, 4.25 GiB ephemeral-storage) fits on no node; a comes nearest and lacks"
    assert f"{said} 0.1 CPU: lower its resources in pipeline.yaml" in capsys.readouterr().err
    assert not (tmp_path / "build/agent.json").exists()
    default = ["resources.training.cpu=2", "placement.full=default"]
    assert written(tmp_path, a_node("a"), a_node("b"), settings=default) == 0
    assert f"agent: warning: {said}" in capsys.readouterr().out
    assert "affinity" not in json.loads((tmp_path / "build/agent.json").read_text())["spec"]


@pytest.mark.parametrize("pod", ["tuning", "tools"])
def test_every_pod_of_a_build_must_fit_somewhere(tmp_path, monkeypatch, capsys, pod):
    checkout(tmp_path, monkeypatch)
    if pod == "tools":
        file = tmp_path / templates.TOOLS
        file.write_text(file.read_text().replace("cpu: 250m", "cpu: 3"))
    assert written(tmp_path, a_node("a"), settings=["resources.tuning.memory=9Gi"] * (pod == "tuning")) == 1
    assert f"{pod}{'-0' * (pod == 'tuning')} (" in capsys.readouterr().err


def test_a_cluster_that_is_full_now_is_left_to_the_scheduler(tmp_path, monkeypatch, capsys):
    checkout(tmp_path, monkeypatch)
    busy = {"name": "c", "resources": {"requests": {"cpu": "1500m"}}}
    other = {"kind": "Pod", "metadata": {"name": "other"}, "spec": {"nodeName": "a", "containers": [busy]}}
    assert written(tmp_path, a_node("a"), other) == 0
    assert "affinity" not in json.loads((tmp_path / "build/agent.json").read_text())["spec"]
    assert "no room for all pods of the build in nodes.json now" in capsys.readouterr().out


GPU = (
    "resources.training={cpu: 1, memory: 2Gi, extended: {DEVICE: 1}, node_labels: {pool: gpu},"
    " tolerations: [{key: DEVICE, operator: Exists, effect: NoSchedule}]}"
)


@pytest.mark.parametrize("device", ["nvidia.com/gpu", "amd.com/gpu"])
def test_a_device_with_its_taint_and_its_label_reaches_the_pod_and_is_counted(tmp_path, monkeypatch, capsys, device):
    checkout(tmp_path, monkeypatch)
    settings = [GPU.replace("DEVICE", device)]
    taint, pool = {"key": device, "effect": "NoSchedule"}, {"pool": "gpu"}
    gpu = a_node("gpu", taints=[taint], labels=pool, **{device.replace("/", "_"): "1"})
    others = [a_node("cpu"), a_node("pool", labels=pool), a_node("bare", **{device.replace("/", "_"): "1"})]
    assert written(tmp_path, *others, gpu, settings=settings) == 0
    assert "preferably on gpu" in capsys.readouterr().out
    spec = json.loads((tmp_path / "build/agent.json").read_text())["spec"]
    [_, training] = spec["containers"]
    for kind in ("requests", "limits"):
        assert training["resources"][kind][device] == "1"
    assert spec["nodeSelector"] == pool
    assert spec["tolerations"] == [{"key": device, "operator": "Exists", "effect": "NoSchedule"}]
    assert violations(spec) == []
    assert written(tmp_path, *others, settings=settings) == 1
    assert "training (" in capsys.readouterr().err
    taken = {"name": "c", "resources": {"limits": {device: 1}}}
    other = {"kind": "Pod", "metadata": {"name": "other"}, "spec": {"nodeName": "gpu", "containers": [taken]}}
    assert written(tmp_path, *others, gpu, other, settings=settings) == 0
    assert "no room for all pods of the build" in capsys.readouterr().out


def test_a_required_node_is_refused_where_its_loss_would_leave_the_pod_without_one(tmp_path, monkeypatch, capsys):
    checkout(tmp_path, monkeypatch)
    (tmp_path / "nodes.json").write_text(json.dumps(NODES))
    required = ["--set", "placement.inventory=nodes.json", "--set", "placement.affinity=required"]
    assert configure.main(required) == 0
    assert agent.main([]) == 2
    assert "survives the loss of any one of its nodes" in capsys.readouterr().err
    assert not (tmp_path / "build/agent.json").exists()
    again = json.loads(json.dumps(NODES["items"][1]).replace("pool-large-1", "pool-large-2"))
    (tmp_path / "nodes.json").write_text(json.dumps({**NODES, "items": [*NODES["items"], again]}))
    assert agent.main([]) == 0
    spec = json.loads((tmp_path / "build/agent.json").read_text())["spec"]
    demanded = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert demanded == {"nodeSelectorTerms": [led_to("pool-large-1", "pool-large-2")]}


def test_a_plan_that_does_not_hold_gives_no_pod(tmp_path, monkeypatch, capsys):
    checkout(tmp_path, monkeypatch)
    (tmp_path / "nodes.json").write_text(json.dumps(NODES))
    assert configure.main(["--set", "placement.inventory=nodes.json"]) == 0
    solve, small = solver.solve, 1  # nodes are in order of their names
    monkeypatch.setattr(solver, "solve", lambda *given, **more: replace(solve(*given, **more), node_of=(small,) * 2))
    assert agent.main([]) == 1
    assert "the solver's plan does not hold" in capsys.readouterr().err
    assert not (tmp_path / "build/agent.json").exists()


def test_what_the_pod_asks_for_already_is_kept_beside_the_plan():
    gpu = {"key": "gpu", "operator": "Exists"}
    own = {"nodeSelectorTerms": [{"matchExpressions": [gpu]}]}
    before = {"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": own}}}}
    wanted = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [led_to("a")]}}
    after = steering.steered(before, {"affinity": {"nodeAffinity": wanted}, "topologySpreadConstraints": []})
    (terms,) = after["spec"]["affinity"]["nodeAffinity"].values()
    assert terms == {"nodeSelectorTerms": [{"matchExpressions": [gpu, *led_to("a")["matchExpressions"]]}]}


def spread(when, key="kubernetes.io/hostname", skew=1):
    return {"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": {}}


HARD, SOFT = "DoNotSchedule", "ScheduleAnyway"


@pytest.mark.parametrize(
    ("own", "then"),
    [
        ([], [spread(HARD, skew=2)]),
        # Kubernetes refuses two over the same domains that are both hard: the pod's own stays.
        ([spread(HARD)], [spread(HARD)]),
        ([spread(SOFT)], [spread(HARD, skew=2)]),
        ([spread(HARD), spread(SOFT)], [spread(HARD)]),
        (
            [spread(HARD, "zone"), spread(SOFT, "zone")],
            [spread(HARD, "zone"), spread(SOFT, "zone"), spread(HARD, skew=2)],
        ),
    ],
)
def test_a_hard_spread_of_the_pods_own_stays_and_a_soft_one_over_the_same_domains_gives_way(own, then):
    wanted = {"preferredDuringSchedulingIgnoredDuringExecution": []}
    fields = {"affinity": {"nodeAffinity": wanted}, "topologySpreadConstraints": [spread(HARD, skew=2)]}
    after = steering.steered({"spec": {"topologySpreadConstraints": own}}, fields)
    assert after["spec"]["topologySpreadConstraints"] == then


def led_to(*names):
    return {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": list(names)}]}


def test_an_inventory_that_is_missing_is_an_error_and_no_pod_is_written(tmp_path, monkeypatch, capsys):
    checkout(tmp_path, monkeypatch)
    assert configure.main(["--set", "placement.inventory=nodes.json"]) == 0
    assert agent.main([]) == 2
    assert "nodes.json" in capsys.readouterr().err
    assert not (tmp_path / "build/agent.json").exists()


def test_without_settings_the_command_says_what_to_run_first(tmp_path, monkeypatch, capsys):
    checkout(tmp_path, monkeypatch)
    assert agent.main([]) == 2
    assert "python -m scripts.configure" in capsys.readouterr().err
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "not valid YAML"),
        ("[]", "spec.containers"),
        ("spec: {containers: [{image: x}]}", "spec.containers"),
        (yaml.safe_dump({"spec": {"containers": [{"name": "jnlp"}]}}), "a container named tensorflow"),
    ],
)
def test_a_file_that_is_no_training_pod_is_named_with_the_fix(tmp_path, text, problem):
    path = tmp_path / "training.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=problem) as error:
        templates.read(path)
    assert str(path) in str(error.value)


def checkout(folder, monkeypatch):
    """Make `folder` a checkout with the files that the commands read."""
    shutil.copytree(REPOSITORY / "ci/agents", folder / "ci/agents")
    shutil.copy(REPOSITORY / "tests/pipeline.yaml", folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PIPELINE_SET", raising=False)
