"""Size, devices, node labels and tolerations of the settings reach the pods, and the plan counts them."""

from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ci import configuration
from ci.errors import InputError
from ci.placement import plan
from ci.placement.inventory import Inventory, Node, exclusion
from ci.placement.planning import Demand
from ci.placement.wanted import Build
from ci.pods import sizing
from ci.pods.templates import Template
from ci.settings.cluster import Request, Toleration
from tests.pods import REPOSITORY, violations

SETTINGS = configuration.read(REPOSITORY / "tests/pipeline.yaml")
DEVICE = "nvidia.com/gpu"
TAINT = {"key": DEVICE, "value": "", "effect": "NoSchedule"}
TOLERATION = Toleration(key=DEVICE, operator="Exists")
KEYS = st.sampled_from(["pool", "zone", "example.com/kind"])
REQUESTS = st.builds(
    Request,
    cpu=st.sampled_from(["1", "250m", "1.5"]),
    memory=st.sampled_from(["1Gi", "500M"]),
    extended=st.dictionaries(st.sampled_from([DEVICE, "amd.com/gpu"]), st.integers(1, 8)),
    node_labels=st.dictionaries(KEYS, st.sampled_from(["a", "b"])),
    tolerations=st.lists(st.builds(Toleration, key=KEYS, value=st.sampled_from(["a", "b"])), max_size=3),
)


def spec_of_training():
    return yaml.safe_load((REPOSITORY / "ci/agents/training.yaml").read_text())["spec"]


@given(REQUESTS)
@settings(max_examples=50, deadline=None)
def test_what_is_requested_reaches_the_one_container_and_the_pod_and_nothing_else_changes(request):
    spec = spec_of_training()
    before = deepcopy(spec)
    sizing.size(spec, "tensorflow", request)
    once = deepcopy(spec)
    sizing.size(spec, "tensorflow", request)
    assert spec == once
    assert violations(spec) == []
    jnlp, training = spec["containers"]
    assert jnlp == before["containers"][0]
    for kind in ("requests", "limits"):
        amounts = training["resources"][kind]
        assert (amounts.pop("cpu"), amounts.pop("memory")) == (request.cpu, request.memory)
        assert {name: amounts.pop(name) for name in request.extended} == {
            name: str(count) for name, count in request.extended.items()
        }
        assert {*amounts} == {"ephemeral-storage"}
    assert spec.get("nodeSelector", {}) == request.node_labels
    wanted = [each.model_dump(exclude_none=True) for each in request.tolerations]
    assert all(each in spec.get("tolerations", []) for each in wanted)
    assert {*spec} - {*before} <= {"nodeSelector", "tolerations"}


def test_what_a_template_asks_for_itself_stays_beside_it():
    spec = spec_of_training() | {"nodeSelector": {"disk": "fast", "pool": "old"}, "tolerations": [{"key": "own"}]}
    sizing.size(
        spec, "tensorflow", Request(cpu="1", memory="1Gi", node_labels={"pool": "gpu"}, tolerations=[TOLERATION])
    )
    assert spec["nodeSelector"] == {"disk": "fast", "pool": "gpu"}
    assert spec["tolerations"] == [{"key": "own"}, {"key": DEVICE, "operator": "Exists"}]


def node(name, gpus, *, tainted, pool):
    amounts = {"cpu": 8000, "memory": 32 * 2**30, "ephemeral-storage": 90 * 2**30, "pods": 110}
    amounts |= {DEVICE: gpus} if gpus else {}
    labels = {"kubernetes.io/hostname": name} | ({"pool": "gpu"} if pool else {})
    return Node(name, amounts, amounts, labels=labels, taints=(TAINT,) if tainted else ())


def of(group, request):
    spec = {"containers": [{"name": "c"}]}
    sizing.size(spec, "c", request)
    return Template(group, "model-pipeline", {"app.kubernetes.io/component": group}, spec)


NODES = st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), min_size=1, max_size=5)
GPU = Request(cpu="1", memory="1Gi", extended={DEVICE: 1}, node_labels={"pool": "gpu"}, tolerations=[TOLERATION])
PLAIN = Request(cpu="1", memory="1Gi")


@given(NODES, st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_a_plan_gives_each_pod_its_device_on_a_node_that_takes_it_and_no_pod_is_left_over_without_need(kinds, workers):
    nodes = tuple(
        node(f"n{index}", gpus, tainted=tainted, pool=pool) for index, (gpus, tainted, pool) in enumerate(kinds)
    )
    build = Build(of("training-agent", PLAIN), of("tuning", GPU), workers, of("tools", PLAIN))
    made = plan.make(Demand(build), SETTINGS, "training", lambda: Inventory("test", nodes))
    hosts = made.solution.plan(made.question.pods, nodes)
    on = {name: [host for pod, host in hosts.items() if host == name and pod != "training"] for name in hosts.values()}
    for pod in made.question.pods:
        if pod.name in hosts:
            [host] = [each for each in nodes if each.name == hosts[pod.name]]
            assert exclusion(pod.rules, host) is None
    for name, there in on.items():
        [host] = [each for each in nodes if each.name == name]
        assert len(there) <= host.allocatable.get(DEVICE, 0)
    devices = sum(gpus for gpus, _, pool in kinds if pool)
    plain = any(not tainted for _, tainted, _ in kinds)
    assert len(made.solution.unplaced) == max(0, workers - devices) + (not plain)
    assert bool(made.advice.sets) == (not made.solution.unplaced)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{cpu: 1, memory: 1Gi, extended: {gpu: 1}}", "resources.training.extended.gpu"),
        ("{cpu: 1, memory: 1Gi, extended: {nvidia.com/gpu: 0}}", "resources.training.extended.nvidia.com/gpu"),
        ("{cpu: 1, memory: 1Gi, extended: {nvidia.com/gpu: half}}", "resources.training.extended.nvidia.com/gpu"),
        ("{cpu: 1, memory: 1Gi, extended: {gpu: 1}}", "begins with a domain, such as nvidia.com/gpu, found 'gpu'"),
        ("{cpu: 1, memory: 1Gi, extended: {nvidia.com/: 1}}", "begins with a domain, such as nvidia.com/gpu"),
        ("{cpu: 1, memory: 1Gi, node_labels: {pool: 1}}", "resources.training.node_labels.pool"),
        ("{cpu: 1, memory: 1Gi, node_labels: {pool: two words}}", "resources.training.node_labels.pool"),
        ("{cpu: 1, memory: 1Gi, node_labels: {pool: -gpu}}", "resources.training.node_labels.pool"),
        ("{cpu: 1, memory: 1Gi, tolerations: [{value: a}]}", "a toleration without a key needs `operator: Exists`"),
        ("{cpu: 1, memory: 1Gi, tolerations: [{key: a, operator: Exists, value: b}]}", "leave value out"),
        ("{cpu: 1, memory: 1Gi, tolerations: [{key: a, effect: Never}]}", "resources.training.tolerations[0].effect"),
        ("{cpu: 1, memory: 1Gi, gpu: 1}", "resources.training.gpu: there is no such key"),
    ],
)
def test_a_device_a_label_or_a_toleration_that_is_none_is_named_by_file_line_and_key(tmp_path, line, said):
    text = (REPOSITORY / "tests/pipeline.yaml").read_text()
    number = next(n for n, each in enumerate(text.splitlines(), 1) if each.startswith("  training: {"))
    lines = text.splitlines()
    lines[number - 1] = f"  training: {line}"
    (file := Path(tmp_path / "pipeline.yaml")).write_text("\n".join(lines))
    with pytest.raises(InputError) as error:
        configuration.read(file)
    assert f"{file}:{number}: " in str(error.value)
    assert said in str(error.value)


def test_a_device_that_is_none_is_named_by_its_key_in_an_override_too():
    with pytest.raises(InputError) as error:
        configuration.read(REPOSITORY / "tests/pipeline.yaml", ["resources.training.extended={gpu: 1}"])
    assert ": resources.training.extended: the name of a device begins with a domain" in str(error.value)


@pytest.mark.parametrize("value", ["", "a", "A_b.c-1", "x" * 63])
def test_every_value_that_a_label_may_have_is_taken(value):
    file = REPOSITORY / "tests/pipeline.yaml"
    found = configuration.read(file, [f'resources.training.node_labels={{pool: "{value}"}}'])
    assert found.resources.training.node_labels == {"pool": value}
