import json
import shutil
from dataclasses import replace

import pytest
import yaml

from ci.errors import InputError
from ci.placement.packing import solver
from ci.pods import agent as pod
from ci.settings import Request
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
    before = pod.read(REPOSITORY / pod.TRAINING)
    after = pod.sized(before, Request(cpu="3500m", memory="12Gi"))
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
    before = pod.read(REPOSITORY / pod.TRAINING)
    pod.sized(before, Request(cpu="64", memory="1Ti"))
    assert before == pod.read(REPOSITORY / pod.TRAINING)


def test_the_shipped_pod_already_has_the_shipped_request(tmp_path, monkeypatch):
    checkout(tmp_path, monkeypatch)
    assert configure.main([]) == 0
    assert agent.main([]) == 0
    assert json.loads((tmp_path / "build/agent.json").read_text()) == pod.read(REPOSITORY / pod.TRAINING)


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


def test_a_pod_that_fits_no_recorded_node_is_left_to_the_scheduler(tmp_path, monkeypatch, capsys):
    checkout(tmp_path, monkeypatch)
    (tmp_path / "nodes.json").write_text(json.dumps(NODES))
    assert configure.main(["--set", "placement.inventory=nodes.json", "--set", "resources.training.cpu=48"]) == 0
    assert agent.main([]) == 0
    assert "affinity" not in json.loads((tmp_path / "build/agent.json").read_text())["spec"]
    assert "fits on none of nodes.json" in capsys.readouterr().out


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
    monkeypatch.setattr(solver, "solve", lambda *given: replace(solve(*given), node_of=(small,) * 5))
    assert agent.main([]) == 1
    assert "the solver's plan does not hold" in capsys.readouterr().err
    assert not (tmp_path / "build/agent.json").exists()


def test_what_the_pod_asks_for_already_is_kept_beside_the_plan():
    gpu = {"key": "gpu", "operator": "Exists"}
    own = {"nodeSelectorTerms": [{"matchExpressions": [gpu]}]}
    before = {"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": own}}}}
    wanted = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [led_to("a")]}}
    after = pod.steered(before, {"affinity": {"nodeAffinity": wanted}, "topologySpreadConstraints": []})
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
    after = pod.steered({"spec": {"topologySpreadConstraints": own}}, fields)
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
        pod.read(path)
    assert str(path) in str(error.value)


def checkout(folder, monkeypatch):
    """Make `folder` a checkout with the files that the commands read."""
    (folder / "ci/agents").mkdir(parents=True)
    shutil.copy(REPOSITORY / "pipeline.yaml", folder)
    shutil.copy(REPOSITORY / pod.TRAINING, folder / pod.TRAINING)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PIPELINE_SET", raising=False)
