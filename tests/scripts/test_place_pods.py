"""The plan is made for the pods that are applied, on the cluster as the scheduler sees it."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from ci.releases.version import Version
from scripts import agent, configure, manifests, place
from tests.pods import REPOSITORY
from tests.programs import needed

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
SERVER = {"app.kubernetes.io/name": "model", "app.kubernetes.io/component": "serving"}
EVERY = {"matchLabels": {"app.kubernetes.io/name": "model"}}
SELECTOR = {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
TOLERATION = {"key": "pool", "operator": "Equal", "value": "serving", "effect": "NoSchedule"}
AGENT = {"name": "agent", "image": "p", "restartPolicy": "Always", "resources": {"requests": {"cpu": "2"}}}
CLAIM = "no plan uses fewer"


def a_node(name, cpu="16", zone=None, taints=(), **labels):
    shown = {HOST: name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    shown |= ({ZONE: zone} if zone else {}) | labels
    amounts = {"cpu": cpu, "memory": "64Gi", "ephemeral-storage": "90Gi", "pods": "110"}
    status = {"allocatable": amounts, "conditions": [{"type": "Ready", "status": "True"}]}
    metadata = {"name": name, "labels": {key: value for key, value in shown.items() if value is not None}}
    return {"kind": "Node", "metadata": metadata, "spec": {"taints": list(taints)}, "status": status}


def a_pod(name, node, cpu="1100m", labels=None, namespace="model-serving", **spec):
    container = {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1088Mi"}}} | spec.pop("container", {})
    metadata = {"name": name, "namespace": namespace, "labels": labels or {}}
    return {
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": node, "containers": [container], **spec},
        "status": {"phase": "Running"},
    }


def stable(name, node, **changes):
    return a_pod(name, node, labels={**SERVER, "track": "stable"}, **changes)


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    needed("kubectl", "https://kubernetes.io/docs/tasks/tools/ (1.30 or newer)")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(REPOSITORY / "k8s", tmp_path / "k8s")
    shutil.copytree(REPOSITORY / "ci/agents", tmp_path / "ci/agents")
    return tmp_path / "build" / "placement"


def overlay(**spec):
    """Make an overlay that adds fields to the serving pods, and container fields under `container`."""
    at, container = "/spec/template/spec", spec.pop("container", {})
    patches = [{"op": "add", "path": f"{at}/{key}", "value": value} for key, value in spec.items()]
    patches += [{"op": "add", "path": f"{at}/containers/0/{key}", "value": value} for key, value in container.items()]
    root = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": ["../../../server"]}
    root["patches"] = [{"target": {"kind": "Deployment"}, "patch": yaml.safe_dump(patches)}] if patches else []
    (folder := Path("k8s/overlays/own/server")).mkdir(parents=True, exist_ok=True)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(root))


def run(*items, group="serving", settings=(), spec=None, arguments=()):
    """Plan for a cluster of these objects; return the exit code."""
    overlay(**(spec or {}))
    given = ["serving.overlay=own", *settings]
    assert (
        configure.main(["--file", str(REPOSITORY / "tests/pipeline.yaml"), *(f"--set={each}" for each in given)]) == 0
    )
    Path("cluster.json").write_text(json.dumps({"kind": "List", "items": list(items)}))
    return place.main(["--inventory", "cluster.json", "--group", group, "--explain", *arguments])


def planned(workspace):
    return json.loads((workspace / "plan.json").read_text())


def hosts(workspace):
    """Return the nodes of the plan with how many tasks each has."""
    names = list(planned(workspace)["plan"].values())
    return {name: names.count(name) for name in sorted(set(names))}


def test_selector_tolerations_and_sidecars_of_the_overlay_are_planned_for(workspace):
    taint = [{"key": "pool", "value": "serving", "effect": "NoSchedule"}]
    others = [{"kubernetes.io/os": "windows"}, {"kubernetes.io/arch": "arm64"}]
    nodes = [a_node(f"other{index}", "64", **each) for index, each in enumerate(others)]
    nodes += [a_node(f"amd{index}", "4", taints=taint) for index in range(6)]
    spec = {"nodeSelector": SELECTOR, "tolerations": [TOLERATION], "initContainers": [AGENT]}
    assert run(*nodes, spec=spec, settings=["placement.affinity=required"]) == 0
    found = planned(workspace)
    assert hosts(workspace) == {"amd0": 1, "amd1": 1, "amd2": 1, "amd3": 1}  # each pod takes 3.1 of 4 CPU
    assert {task["requests"]["cpu"] for task in found["pods"]} == {3100}
    assert set(found["sets"]["serving"]) <= {f"amd{index}" for index in range(6)}


@pytest.mark.parametrize("other", [{"kubernetes.io/os": "windows"}, {"kubernetes.io/arch": "arm64"}])
def test_nodes_of_another_platform_are_left_alone_and_the_pods_kept_off_them(workspace, capsys, other):
    assert run(a_node("other", "64", **other), a_node("b", "8"), a_node("c", "8")) == 0
    assert set(hosts(workspace)) == {"b", "c"}
    assert "the image is for linux/amd64, the node is " in capsys.readouterr().out
    fields = json.loads((workspace / "handover.json").read_text())["serving"]["affinity"]["nodeAffinity"]
    [(key, value)] = other.items()
    kept = [{"matchExpressions": [{"key": key, "operator": "NotIn", "values": [value]}]}]
    assert fields["requiredDuringSchedulingIgnoredDuringExecution"] == {"nodeSelectorTerms": kept}


def anti(key, keys=(), labels=EVERY, **more):
    term = {"topologyKey": key, "labelSelector": labels, **({"matchLabelKeys": list(keys)} if keys else {}), **more}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def even(key, skew=1, **more):
    return [{"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": EVERY, **more}]


PORT = {"container": {"ports": [{"containerPort": 8500, "hostPort": 8500}]}}
FOUR = [a_node(name) for name in "abcd"]
ZONES = [a_node("n1", "64", "a"), a_node("n2", "64", "a"), a_node("n3", "64", "b"), a_node("n4", "8", "c")]


@pytest.mark.parametrize(
    ("spec", "nodes", "used"),
    [
        # At most one on a node, the canary too.
        ({"affinity": anti(HOST)}, FOUR, {"a": 1, "b": 1, "c": 1, "d": 1}),
        # Only those of one revision: the canary may stand beside a replica.
        ({"affinity": anti(HOST, ["pod-template-hash"])}, FOUR, {"a": 2, "b": 1, "c": 1}),
        (PORT, FOUR, {"a": 1, "b": 1, "c": 1, "d": 1}),
        ({"hostNetwork": True}, FOUR, {"a": 1, "b": 1, "c": 1, "d": 1}),
        # Four pods on two nodes: with 3 and 1 the difference would be 2.
        ({"topologySpreadConstraints": even(HOST)}, FOUR[:2], {"a": 2, "b": 2}),
        ({"topologySpreadConstraints": even(HOST)}, FOUR, {"a": 1, "b": 1, "c": 1, "d": 1}),
        ({"topologySpreadConstraints": even(HOST, 2)}, FOUR, {"a": 2, "b": 2}),
        # Each zone gets one before any gets two; n1 and n2 are in one zone.
        ({"topologySpreadConstraints": even(ZONE)}, ZONES, {"n1": 2, "n3": 1, "n4": 1}),
        ({"topologySpreadConstraints": even(ZONE, 2)}, ZONES, {"n1": 2, "n3": 2}),
        ({"topologySpreadConstraints": even(ZONE), "nodeSelector": {ZONE: "a"}}, ZONES, {"n1": 3, "n2": 1}),
        ({"affinity": anti(ZONE, ["pod-template-hash"])}, ZONES, {"n1": 2, "n3": 1, "n4": 1}),
        ({"nodeSelector": {HOST: "c"}, "affinity": anti(HOST, labels={"matchLabels": {"a": "b"}})}, FOUR, None),
        ({"nodeSelector": {"pool": "a"}}, [*FOUR, a_node("e", pool="a"), a_node("f", pool="a")], {"e": 3, "f": 1}),
    ],
)  # fmt: skip
def test_what_pods_demand_of_each_other_is_planned(workspace, capsys, spec, nodes, used):
    code = run(*nodes, spec=spec)
    out = capsys.readouterr().out
    if used is None:
        assert code == 1
        return
    assert code == 0
    assert sorted(hosts(workspace).values()) == sorted(used.values())
    assert len(hosts(workspace)) == len(used)
    assert CLAIM in out
    assert planned(workspace)["proven"]
    assert place.main(["--verify", "--inventory", "cluster.json"]) == 0


def test_the_limit_that_is_reached_is_named(workspace, capsys):
    assert run(*FOUR, spec=PORT) == 0
    less = "one node less: the 3 nodes could not hold all pods with the host port 8500 (one per node)"
    assert less in capsys.readouterr().out
    assert run(*FOUR[:2], spec=PORT) == 1
    assert "has room on a, but the host port 8500 (one per node) is reached there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spec", "nodes", "missing"),
    [
        ({"affinity": anti(HOST)}, FOUR[:2], 2),
        (PORT, FOUR[:3], 1),
        ({"affinity": anti(ZONE)}, ZONES, 1),
        # A domain that takes no pods stays empty, so no other may have more than the skew.
        ({"topologySpreadConstraints": even(HOST)}, [*FOUR[:2], a_node("t", taints=[TOLERATION])], 2),
        ({"topologySpreadConstraints": even(HOST, minDomains=3)}, FOUR[:2], 2),
        # Without the label of the domain no pod may go there.
        ({"topologySpreadConstraints": even(ZONE)}, FOUR, 4),
    ],
)  # fmt: skip
def test_what_pods_demand_of_each_other_may_leave_no_room(workspace, capsys, spec, nodes, missing):
    nodes = json.loads(json.dumps(nodes).replace('"operator": "Equal", ', ""))
    assert run(*nodes, spec=spec) == 1
    assert len(planned(workspace)["unplaced"]) == missing
    assert "no room for" in capsys.readouterr().err


def test_a_tainted_domain_is_none_where_the_spread_honours_taints(workspace):
    nodes = [*FOUR[:2], a_node("t", taints=[{"key": "pool", "value": "x", "effect": "NoSchedule"}])]
    assert run(*nodes, spec={"topologySpreadConstraints": even(HOST, nodeTaintsPolicy="Honor")}) == 0
    assert hosts(workspace) == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("running", "spec", "reason"),
    [
        (a_pod("db", "a", container={"ports": [{"hostPort": 8500}]}), PORT, "model-serving/db has the host port 8500"),
        (a_pod("db", "a", labels={"app": "db"}), {"affinity": anti(HOST, labels={"matchLabels": {"app": "db"}})},
         "its anti-affinity keeps it away from model-serving/db"),
        (a_pod("db", "a", namespace="x", affinity=anti(HOST, namespaceSelector={})), {},
         "x/db there wants no such pod near it"),
    ],
)  # fmt: skip
def test_pods_that_run_close_their_nodes(workspace, capsys, running, spec, reason):
    nodes = [a_node(name) for name in "abcde"]
    assert run(*nodes, running, spec=spec) == 0
    assert "a" not in hosts(workspace)
    assert f"not used, {reason}: a" in capsys.readouterr().out


@pytest.mark.parametrize(
    "harmless",
    [
        (a_pod("db", "a", container={"ports": [{"hostPort": 8500, "protocol": "UDP"}]}), PORT),
        (a_pod("db", "a", container={"ports": [{"hostPort": 8500, "hostIP": "10.0.0.1"}]}),
         {"container": {"ports": [{"containerPort": 8500, "hostPort": 8500, "hostIP": "10.0.0.2"}]}}),
        (a_pod("db", "a", namespace="other", labels={"app": "db"}),
         {"affinity": anti(HOST, labels={"matchLabels": {"app": "db"}})}),
        (a_pod("db", "a", namespace="other", affinity=anti(HOST)), {}),
    ],
)  # fmt: skip
def test_pods_of_other_ports_and_namespaces_close_none(workspace, capsys, harmless):
    running, spec = harmless
    assert run(a_node("a"), a_node("b"), a_node("c"), a_node("d"), running, spec=spec) == 0
    assert "a" in hosts(workspace)  # it is in use, and so preferred


NEAR = {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": HOST, "labelSelector": EVERY}]}


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"affinity": {"podAffinity": NEAR}}, "required podAffinity of serving"),
        ({"affinity": anti("rack")}, "podAntiAffinity over rack of serving"),
        (
            {"affinity": anti(HOST, namespaceSelector={"matchLabels": {"team": "a"}})},
            "podAntiAffinity with a namespaceSelector",
        ),
        ({"topologySpreadConstraints": even("rack")}, "topologySpreadConstraints over rack of serving"),
        ({"nodeName": "b"}, "nodeName (it bypasses the scheduler) of serving"),
        ({"schedulingGates": [{"name": "example.com/wait"}]}, "schedulingGates (its pods wait until somebody"),
        ({"schedulerName": "mine"}, "schedulerName mine of serving"),
        ({"runtimeClassName": "kata"}, "runtimeClassName (its overhead and its nodes) of serving"),
        ({"resourceClaims": [{"name": "gpu"}]}, "resourceClaims (devices that claims ask for) of serving"),
        ({"tolerations": [{"key": "k", "operator": "Gt", "value": "1"}]}, "tolerations that compare numbers"),
    ],
)
def test_what_is_not_modelled_is_named_and_nothing_is_claimed(workspace, capsys, spec, named):
    racks = [a_node(name, rack=name) for name in "abcd"]
    run(*racks, spec=spec, settings=["placement.replicas_per_node=9"])
    assert f"not modelled: {named}" in (out := capsys.readouterr().out)
    assert CLAIM not in out
    found = planned(workspace)
    assert not found["proven"]
    assert any(named in each for each in found["not_modelled"])
    assert named in (workspace / "explanation.txt").read_text()
    place.main(["--inventory", "cluster.json", "--group", "serving"])  # without the explanation too
    assert f"place: not modelled: {named}" in (out := capsys.readouterr().out)
    assert CLAIM not in out
    place.main(["--verify"])
    assert named in capsys.readouterr().out


def test_zones_that_only_some_nodes_have_are_named(workspace, capsys):
    keys = ["pod-template-hash"]
    assert run(*ZONES, a_node("n5"), spec={"affinity": anti(ZONE, keys)}) == 0
    assert "not modelled: podAntiAffinity on nodes of no zone, such as n5" in (out := capsys.readouterr().out)
    assert CLAIM not in out


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"tolerations": [TOLERATION, {"operator": "exists"}]}, "tolerations[1].operator: 'exists' is none of Equal"),
        ({"nodeSelector": {"gpu": 1}}, "spec.nodeSelector.gpu: expected a text, found int"),
        ({"affinity": anti(None)}, "topologyKey: expected a label of nodes such as kubernetes.io/hostname, found None"),
        ({"topologySpreadConstraints": even("")}, "topologyKey: expected a label of nodes"),
        ({"topologySpreadConstraints": even(ZONE, whenUnsatisfiable="DoNotschedule")},
         "whenUnsatisfiable: 'DoNotschedule' is none of DoNotSchedule, ScheduleAnyway"),
    ],
)  # fmt: skip
def test_what_kubernetes_would_refuse_of_a_pod_is_named(workspace, capsys, spec, message):
    assert run(*FOUR, spec=spec) == 2
    said = capsys.readouterr().err
    assert "k8s/overlays/own/server: stable: spec.template." in said
    assert message in said
    assert not workspace.exists()


def test_a_pod_that_names_its_node_is_planned_there(workspace):
    assert run(*FOUR, spec={"nodeName": "b"}, settings=["placement.replicas_per_node=9"]) == 0
    assert hosts(workspace) == {"b": 4}


def test_without_kubectl_it_says_what_was_read_instead(workspace, monkeypatch, capsys):
    overlay(nodeSelector={"pool": "nowhere"})
    monkeypatch.setenv("PATH", "")
    assert run(*FOUR) == 0
    out = capsys.readouterr().out
    said = "k8s/overlays/own/server: kubectl is not on the PATH, so k8s/server was read without the overlay"
    assert f"not modelled: {said}" in out
    assert CLAIM not in out
    assert {task["requests"]["cpu"] for task in planned(workspace)["pods"]} == {1100}


TIGHT = [a_node("n1", "3400m"), a_node("n2", "3400m")]
OLD = [stable("s0", "n1"), stable("s1", "n2"), stable("s2", "n1")]


@pytest.mark.parametrize(
    ("items", "code", "tasks", "used"),
    [
        (TIGHT, 0, 4, 2),  # the first release: three replicas and the canary
        ([*TIGHT, *OLD], 0, 5, 2),  # the second: one old pod is still there
        ([*TIGHT, *OLD, a_pod("other", "n2", namespace="team")], 0, 5, 2),
        ([*TIGHT, *OLD, *[a_pod(f"other{i}", "n2", namespace="team") for i in "ab"]], 1, 5, 2),
        # The same labels elsewhere, and other pods of the namespace, stay.
        ([*TIGHT, *[each | {"metadata": each["metadata"] | {"namespace": "x"}} for each in OLD]], 1, 4, 2),
        ([*TIGHT, *[each | {"metadata": each["metadata"] | {"labels": {}}} for each in OLD]], 1, 4, 2),
        # A canary that a failed rollout has left behind goes too.
        ([*TIGHT, *OLD, a_pod("c", "n2", labels={**SERVER, "track": "canary"})], 0, 5, 2),
        # Without a stable release nothing rolls, so room for the four is enough.
        (
            [a_node("n1", "2200m"), a_node("n2", "2200m"), a_pod("c", "n2", labels={**SERVER, "track": "canary"})],
            0,
            4,
            2,
        ),
        # The autoscaler has added one: the rollout rolls all of them.
        ([*TIGHT, *OLD, stable("s3", "n2")], 0, 6, 2),
        ([*TIGHT, *OLD, stable("s3", "n2"), stable("s4", "n2")], 1, 7, 2),
        # Old pods were larger: while all of them run there is no room for the canary.
        ([*TIGHT, *[stable(f"s{i}", f"n{i}", cpu="3") for i in (1, 2)]], 1, 5, 2),
    ],
)
def test_the_pods_that_a_rollout_replaces_leave_and_its_peak_must_fit(workspace, capsys, items, code, tasks, used):
    assert run(*items) == code
    found = planned(workspace)
    assert len(found["pods"]) == tasks
    assert found["objective"] == used
    assert ("no room" in capsys.readouterr().err) is bool(code)


@pytest.mark.parametrize(("running", "code"), [([], 0), ([stable("s", "a")], 1)])
def test_a_release_that_runs_is_load_for_the_pods_of_a_build(workspace, running, code):
    """They ask for 3.1 CPU; only a rollout replaces the release."""
    assert run(a_node("a", "4100m"), *running, group="training") == code


@pytest.mark.parametrize(
    ("strategy", "tasks"),
    [
        ({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}, 4),
        ({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "50%"}}, 6),
        ({"type": "RollingUpdate"}, 5),  # a quarter, rounded up
        ({"type": "Recreate"}, 4),
    ],
)
def test_how_stable_rolls_says_how_many_old_pods_are_still_there(workspace, strategy, tasks):
    items = [*FOUR, stable("s0", "a"), stable("s1", "b"), stable("s2", "c")]
    file = Path("k8s/server/pod/deployment.yaml")
    deployment = yaml.safe_load(file.read_text())
    deployment["spec"]["strategy"] = strategy
    file.write_text(yaml.safe_dump(deployment))
    assert run(*items) == 0
    assert len(planned(workspace)["pods"]) == tasks


def test_a_rollout_that_cannot_begin_is_told_by_its_first_pods_and_can_be_left_to_the_scheduler(workspace, capsys):
    large = [stable(f"s{i}", f"n{i}", cpu="3") for i in (1, 2)]
    nodes = [a_node("n1", "4"), a_node("n2", "4")]
    settings = ["serving.replicas=2", "placement.replicas_per_node=2"]
    assert run(*nodes, *large, settings=settings) == 1
    said = capsys.readouterr()
    assert "canary (1.1 CPU, " in said.out
    assert "no room for a rollout to begin beside the release that runs" in said.err
    assert run(*nodes, *large, settings=[*settings, "placement.full=default"]) == 0
    assert "place: warning: a rollout has no room to begin" in capsys.readouterr().out


def test_a_running_release_is_no_foreign_load(workspace):
    nodes = [a_node(f"n{i}", "2300m") for i in range(1, 5)]
    assert run(*nodes) == 0
    assert sum(hosts(workspace).values()) == 4
    assert len(hosts(workspace)) == 2
    assert run(*nodes, *[stable(f"s{i}", f"n{i}") for i in range(1, 4)]) == 0
    assert len(hosts(workspace)) == 3  # five pods at the peak, two on a node


@pytest.mark.parametrize(
    ("taint", "reason"),
    [
        ({"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}, "about to be removed (ToBeDeleted"),
        ({"key": "DeletionCandidateOfClusterAutoscaler", "effect": "PreferNoSchedule"}, "about to be removed"),
        ({"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}, "about to be removed (karpenter.sh/disrupted)"),
        ({"key": "karpenter.sh/disruption", "value": "disrupting", "effect": "NoSchedule"}, "about to be removed"),
    ],
)
def test_nodes_that_are_about_to_be_removed_are_left_alone_whatever_pods_tolerate(workspace, capsys, taint, reason):
    nodes = [a_node("going", "64", taints=[taint]), a_node("b"), a_node("c")]
    assert run(*nodes, spec={"tolerations": [{"operator": "Exists"}]}) == 0
    assert "going" not in hosts(workspace)
    assert reason in capsys.readouterr().out


def test_a_node_without_a_hostname_cannot_meet_our_own_spread(workspace, capsys):
    assert run(a_node("virtual", "64", **{HOST: None}), a_node("b"), a_node("c")) == 0
    assert set(hosts(workspace)) == {"b", "c"}
    assert f"not used, the node has no label {HOST}" in capsys.readouterr().out


def test_pods_are_led_by_the_hostname_label_where_a_node_is_named_otherwise(workspace):
    nodes = [a_node(f"ip-10-0-0-{i}.example.com", **{HOST: f"ip-10-0-0-{i}"}) for i in range(2)]
    assert run(*nodes) == 0
    text = (workspace / "handover.json").read_text()
    assert '"ip-10-0-0-0"' in text
    assert "example.com" not in text
    assert planned(workspace)["sets"] == {"serving": sorted(node["metadata"]["name"] for node in nodes)}


def package(monkeypatch):
    """Let there be a package of a version on a server."""
    version = Version("sha256:1", "1", "m", "localhost/m:1", "b", {}, [], [])
    monkeypatch.setattr("ci.packaging.package.verify", lambda *_: {})
    monkeypatch.setattr(Version, "load", lambda _: version)


def test_the_hard_spread_of_a_fork_stays_beside_the_plan(workspace, monkeypatch, capsys):
    own = even(HOST, 2)
    assert run(*FOUR, spec={"topologySpreadConstraints": own}) == 0
    package(monkeypatch)
    capsys.readouterr()
    assert manifests.main([]) == 0
    for each in yaml.safe_load_all(capsys.readouterr().out):
        if each["kind"] == "Deployment":
            assert each["spec"]["template"]["spec"]["topologySpreadConstraints"] == own


def test_the_agents_plan_is_for_the_pod_that_is_created(workspace, capsys):
    file = Path("ci/agents/training.yaml")
    pod = yaml.safe_load(file.read_text())
    pod["spec"] |= {"initContainers": [AGENT], "nodeSelector": {"pool": "build"}, "schedulingGates": [{"name": "a"}]}
    file.write_text(yaml.safe_dump(pod))
    nodes = [a_node("small", "4", pool="build"), a_node("large", "8", pool="build"), a_node("other", "64")]
    Path("cluster.json").write_text(json.dumps({"kind": "List", "items": nodes}))
    given = ["--file", str(REPOSITORY / "tests/pipeline.yaml"), "--set=placement.inventory=cluster.json"]
    assert configure.main(given) == 0
    assert agent.main([]) == 0
    assert "preferably on large" in (out := capsys.readouterr().out)  # 4.1 CPU with the sidecar
    assert "agent: not modelled: schedulingGates" in out


@pytest.mark.parametrize(
    ("pod", "counted"),
    [
        (stable("s", "c"), True),
        (a_pod("c", "c", labels={**SERVER, "track": "canary"}), True),
        (stable("s", "c", namespace="other-team"), False),
        (a_pod("feast", "c", labels={"app.kubernetes.io/component": "serving"}), False),
        (a_pod("tuner", "c", labels={"app.kubernetes.io/component": "tuning"}), False),
    ],
)
def test_only_our_own_pods_are_compared_with_the_plan(workspace, capsys, pod, counted):
    assert run(a_node("a"), a_node("b"), group="serving") == 0
    Path("later.json").write_text(json.dumps({"items": [a_node("a"), a_node("b"), a_node("c"), pod]}))
    capsys.readouterr()
    assert place.main(["--compare", "--inventory", "later.json"]) == 0
    assert f"place: 0 of {int(counted)} pods are on" in capsys.readouterr().out


def test_what_is_assumed_of_an_inventory_is_always_said(workspace, capsys):
    assert run(*FOUR, a_pod("p", "a"), {"kind": "Service", "metadata": {"name": "s"}}) == 0
    place.main(["--inventory", "cluster.json"])
    assert "place: 1 entry of other kinds (Service) left out" in capsys.readouterr().out
    assert run(*FOUR) == 0
    place.main(["--inventory", "cluster.json"])
    assert "place: there is no pod in it, so every node counts as empty" in capsys.readouterr().out


def test_an_amount_that_nothing_asks_for_may_be_as_large_as_kubernetes_allows(workspace):
    nodes = [a_node("a"), a_node("b")]
    for node in nodes:
        node["status"]["allocatable"] |= {"example.com/tokens": "9223372036854775807", "memory": str(2**63 - 1)}
    assert run(*nodes) == 0
    assert planned(workspace)["proven"]
    assert place.main(["--verify"]) == 0


def test_volumes_are_assumed_to_be_there_and_that_is_said(workspace, capsys):
    assert run(*FOUR, group="training") == 0
    said = "assumed: the volume dvc-remote of training-agent can be mounted on every node"
    assert said in capsys.readouterr().out
    assert said in (workspace / "explanation.txt").read_text()
    assert said in json.loads((workspace / "explanation.json").read_text())["notes"]


@pytest.mark.parametrize("device", ["nvidia.com/gpu", "amd.com/gpu"])
def test_servers_with_a_device_are_planned_and_rendered_for_nodes_that_have_one(workspace, monkeypatch, capsys, device):
    taint = {"key": device, "effect": "NoSchedule"}
    nodes = [a_node(f"cpu{index}", "64") for index in range(4)]
    nodes += [a_node(f"gpu{index}", taints=[taint], pool="gpu") for index in range(4)]
    for each in nodes[4:]:
        each["status"]["allocatable"][device] = "1"
    tolerations = f"[{{key: {device}, operator: Exists}}]"
    asked = (
        f"{{cpu: 1, memory: 1Gi, extended: {{{device}: 1}}, node_labels: {{pool: gpu}}, tolerations: {tolerations}}}"
    )
    assert run(*nodes, settings=[f"resources.serving={asked}"]) == 0
    assert hosts(workspace) == dict.fromkeys(["gpu0", "gpu1", "gpu2", "gpu3"], 1)  # three replicas and the canary
    package(monkeypatch)
    capsys.readouterr()
    assert manifests.main([]) == 0
    found = [each for each in yaml.safe_load_all(capsys.readouterr().out) if each["kind"] == "Deployment"]
    assert len(found) == 2
    for each in found:
        pod = each["spec"]["template"]["spec"]
        assert pod["nodeSelector"]["pool"] == "gpu"
        assert pod["tolerations"] == [{"key": device, "operator": "Exists"}]
        assert [device in c["resources"]["limits"] for c in pod["containers"]].count(True) == 1
    assert run(*nodes[:7], settings=[f"resources.serving={asked}"]) == 1
