import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ci import configuration
from ci.errors import InputError, StageError
from ci.run import clusters, kind, local_registry, state
from ci.run.clusters import Seen, decide
from ci.run.executor.runner import lives
from scripts import cluster, doctor
from tests.ci.run.machines import Machine, nodes
from tests.pods import REPOSITORY

NAME = kind.NAME
FOUR = dict.fromkeys("abcd", "")
CHANGES = ("create", "delete", "apply", "run", "start", "rm", "exec", "connect", "use-context", "push", "build", "load")


def port() -> int:
    """A port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def changing(calls: list[str]) -> list[str]:
    return [call for call in calls if {*call.split()} & {*CHANGES}]


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (Seen(), "create"),
        (Seen(noted="begun"), "create"),
        (Seen(noted="made"), "create"),
        (Seen(listed=True, noted="begun"), "remake"),
        (Seen(listed=True, noted="made"), "silent"),
        (Seen(listed=True), "silent"),
        (Seen(listed=True, answers=True, nodes=FOUR), "refuse"),
        (Seen(listed=True, answers=True, noted="begun", nodes=FOUR), "refuse"),
        (Seen(listed=True, answers=True, noted="begun"), "remake"),
        (Seen(listed=True, answers=True, noted="made"), "refuse"),
        (Seen(listed=True, answers=True, marked=True, noted="begun", nodes={"a": ""}), "remake"),
        (Seen(listed=True, answers=True, marked=True, nodes={"a": ""}, record={"applied": "new"}), "nothing"),
        (Seen(listed=True, answers=True, marked=True, noted="begun", nodes=FOUR), "apply"),
        (Seen(listed=True, answers=True, marked=True, nodes=FOUR, record={"applied": "old"}), "apply"),
        (Seen(listed=True, answers=True, marked=True, nodes=FOUR, record={"applied": "new"}), "nothing"),
    ],
)
def test_what_makes_a_cluster_ready_follows_from_what_there_is(seen, step):
    assert decide(seen, 4, "new") == step


def test_a_cluster_is_made_with_its_registry_and_reused_without_changing_anything(machine):
    said: list[str] = []
    machine.write("context", "work")
    free = port()
    made = kind.ready(NAME, free, said.append)
    assert (made.context, made.url) == (f"kind-{NAME}", f"http://127.0.0.1:{free}")
    assert said == [
        "cluster: registry kind-registry runs on localhost:5001",
        f"cluster: making {NAME} of 4 nodes",
        f"cluster: {NAME} is ready: 4 nodes, context kind-{NAME}",
    ]
    config = json.loads(machine.read("config.json"))
    assert config["nodes"][0]["extraPortMappings"][0]["hostPort"] == free
    volume = Path(config["nodes"][1]["extraMounts"][0]["hostPath"])
    assert (volume / "dvc-remote").stat().st_mode & 0o777 == 0o777
    assert machine.read("context") == "work"  # the current context of people's kubectl
    calls = machine.calls()
    assert "docker run -d --restart=always -p 127.0.0.1:5001:5000 --name kind-registry registry:3" in calls
    for node in ("control-plane", "worker"):
        for name in ("localhost:5001", "kind-registry:5000", "docker.io"):
            file = f"/etc/containerd/certs.d/{name}/hosts.toml"
            assert f"docker exec -i {NAME}-{node} cp /dev/stdin {file}" in calls
    assert "docker network connect kind kind-registry" in calls
    assert all(f"--context kind-{NAME} " in call for call in calls if call.startswith("kubectl") and " apply " in call)
    assert "# all of ci/kind" in machine.read("applied")
    assert "# all of k8s/overlays/kind" in machine.read("applied")
    assert "local-registry-hosting" in machine.read("applied")

    said.clear()
    assert kind.ready(NAME, free + 1, said.append) == made  # the port is the one that it was made with
    assert (said, changing(machine.calls())) == ([], [])


def test_the_clusters_own_files_are_applied_again_when_they_change_and_when_asked_for(machine):
    kind.ready(NAME, port(), print)
    machine.calls()
    machine.program("kubectl", (machine.programs / "kubectl").read_text().replace("# all of", "# other"))
    kind.ready(NAME, 1, print)
    assert sum(" apply " in call for call in machine.calls()) == 4
    kind.ready(NAME, 1, print)
    assert not any(" apply " in call for call in machine.calls())
    kind.ready(NAME, 1, print, again=True)
    assert sum(" apply " in call for call in machine.calls()) == 4


def test_a_cluster_without_our_mark_is_neither_used_nor_deleted(machine, capsys):
    foreign = nodes()
    del foreign[0]["metadata"]["labels"]
    machine.write("clusters", NAME)
    machine.write("nodes.json", json.dumps({"items": foreign}))
    for action in ("create", "delete"):
        assert cluster.main([action]) == 2
        told = capsys.readouterr().err
        assert f"bad input: the cluster {NAME} was not made by this pipeline" in told
        assert f"kind delete cluster --name {NAME}" in told
    assert changing(machine.calls()) == []


def half_make(machine: Machine, *, how: signal.Signals) -> int:
    """End `make cluster` by a signal while Kind makes the cluster, and return its exit code."""
    machine.write("kind-create-hangs", "")
    with subprocess.Popen(
        [sys.executable, "-m", "scripts.cluster", "create", f"--set=serving.port={port()}"],
        cwd=Path.cwd(),
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        end = time.monotonic() + 60
        while not machine.read("half-made"):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(how)
    (machine.folder / "kind-create-hangs").unlink()
    return process.returncode


def test_a_creation_that_was_killed_in_the_middle_is_made_anew(machine):
    half_make(machine, how=signal.SIGKILL)
    os.kill(int(machine.read("half-made")), signal.SIGKILL)
    assert machine.read("clusters") == NAME
    machine.calls()
    said: list[str] = []
    kind.ready(NAME, port(), said.append)
    assert said[0] == f"cluster: {NAME} was half made, and is made again"
    done = changing(machine.calls())
    assert done.index(f"kind delete cluster --name {NAME}") < next(n for n, c in enumerate(done) if "create" in c)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_creation_that_is_interrupted_ends_kind_too(machine, how):
    assert half_make(machine, how=how) == 130
    assert not lives(machine.read("half-made"))


def test_what_was_made_but_not_finished_is_finished(machine):
    machine.write("kubectl-apply", "Error from server: etcdserver: request timed out")
    with pytest.raises(StageError, match=r"apply.* failed: Error from server: etcdserver: request timed out"):
        kind.ready(NAME, port(), print)
    (machine.folder / "kubectl-apply").unlink()
    (machine.folder / "record.json").unlink(missing_ok=True)
    machine.calls()
    kind.ready(NAME, 1, print)
    assert not any(" create " in call or " delete " in call for call in machine.calls())


def test_a_cluster_that_kind_could_not_make_is_forgotten_and_kinds_words_are_shown(machine):
    machine.write("kind-create", "ERROR: failed to create cluster: node image not found")
    for _ in range(2):
        with pytest.raises(StageError, match=r"could not make .*node image not found; `make doctor`"):
            kind.ready(NAME, port(), print)
    assert state.Note(f"kind-{NAME}.note").text() == ""


def test_a_port_that_is_taken_is_told_before_anything_is_made(machine, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(InputError, match=f"port {taken}: is taken .*ss -ltnp"):
            kind.ready(NAME, taken, print)
    assert changing(machine.calls()) == []  # no registry was started either


def test_nodes_that_never_get_ready_are_told_with_their_reason(machine, monkeypatch):
    machine.write("whole.json", json.dumps({"items": nodes("container runtime network not ready: cni plugin")}))
    monkeypatch.setattr(kind, "_READY", 0.0)
    with pytest.raises(StageError, match=r"node-0: container runtime network not ready"):
        kind.ready(NAME, port(), print)


def test_a_context_that_somebody_removed_is_written_again(machine):
    made = kind.ready(NAME, port(), print)
    machine.write("no-context", "")
    machine.write("context", "work")
    assert kind.ready(NAME, 1, print) == made
    assert machine.read("context") == "work"


def test_the_second_of_two_is_told_who_holds_the_cluster(machine, capsys):
    with state.locked(NAME):
        assert cluster.main(["create"]) == 1
        told = capsys.readouterr().err
        assert f"failed: cluster {NAME} is in use by process {os.getpid()} in {Path.cwd()} since" in told
        with state.locked("another"):
            pass
    assert changing(machine.calls()) == []
    with state.locked(NAME):
        pass


def test_a_lock_ends_with_its_process(machine):
    code = (
        f"import time\nfrom ci.run import state\nwith state.locked({NAME!r}):\n print(1, flush=True)\n time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        holder.stdout.readline()
        with pytest.raises(StageError, match=f"in use by process {holder.pid} "), state.locked(NAME):
            pass
        holder.kill()
        holder.wait()
    with state.locked(NAME):
        pass


def test_deleting_leaves_nothing_of_ours_and_says_what_it_keeps(machine, capsys):
    kind.ready(NAME, port(), print)
    capsys.readouterr()
    assert cluster.main(["delete"]) == 0
    told = capsys.readouterr().out
    assert f"cluster: {NAME} deleted; {machine.folder / 'cache/model-pipeline/volume'} keeps" in told
    assert "registry kind-registry removed" in told
    assert (machine.read("clusters"), machine.read("registry")) == ("", "")
    assert cluster.main(["delete"]) == 0
    assert f"there is no cluster {NAME}" in capsys.readouterr().out


def test_a_stopped_cluster_of_ours_can_be_deleted_and_a_stopped_one_of_others_is_not(machine, capsys):
    kind.ready(NAME, port(), print)
    (machine.folder / "nodes.json").unlink()
    assert cluster.main(["status"]) == 0
    assert "its API server does not answer" in capsys.readouterr().out
    assert cluster.main(["delete"]) == 0
    machine.write("clusters", NAME)
    assert cluster.main(["delete"]) == 1
    assert "does not answer: start its nodes" in capsys.readouterr().err
    assert machine.read("clusters") == NAME


def test_the_command_takes_settings_as_a_build_does(machine, monkeypatch, capsys):
    first, second = port(), port()
    monkeypatch.setattr("ci.run.images.ready", lambda names, _say: print(names))
    monkeypatch.setenv("PIPELINE_SET", f"serving.port={first}\n\nserving.server=stand-in\n")
    assert cluster.main(["create", f"--set=serving.port={second}"]) == 0
    assert json.loads(machine.read("config.json"))["nodes"][0]["extraPortMappings"][0]["hostPort"] == second
    assert "'stand-in'" in capsys.readouterr().out
    assert cluster.main(["create", "--set=serving.prot=1"]) == 2
    assert "serving.prot" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "-x", "Model", "a b", "x" * 33, "../x", "--help"])
def test_what_is_no_name_of_a_cluster_is_refused(machine, name):
    with pytest.raises(InputError, match=r"^CLUSTER: .* is no name of a cluster"):
        kind.ready(name, 1, print)
    assert machine.calls() == []


def test_the_settings_of_a_build_on_kind_lead_to_the_registry_that_pods_see():
    found = {"stand-in": "localhost:5001/model-pipeline/stand-in:12@sha256:" + "0" * 64}
    given = kind.overrides("stand-in", found)
    assert "packaging.base=kind-registry:5000/model-pipeline/stand-in:12@sha256:" + "0" * 64 in given
    settings = configuration.read(REPOSITORY / "tests/pipeline.yaml", given)
    assert settings.packaging.plain_http == ["kind-registry:5000"]
    assert settings.packaging.repository == "kind-registry:5000/models"
    assert settings.serving.context == "-"
    declared = yaml.safe_load((REPOSITORY / kind.CONFIG).read_text(encoding="utf-8"))["nodes"]
    labels = {label for node in declared for label in node["labels"]}
    for pod in ("training", "tuning", "serving"):
        wanted = getattr(settings.resources, pod).node_labels
        assert len(wanted) == 1
        assert set(wanted) < labels
    assert "packaging.base=serving" in kind.overrides("tensorflow-serving", {})


def test_the_registry_is_started_if_it_stopped_and_made_if_there_is_none(machine):
    local_registry.start(print)
    assert machine.read("registry") == "true"
    machine.write("registry", "false")
    machine.calls()
    local_registry.start(print)
    assert "docker start kind-registry" in machine.calls()
    machine.write("registry", "false")
    machine.write("docker-start", "Error: layer is gone")
    local_registry.start(print)  # it is ours, so it is made anew
    assert machine.read("registry") == "true"


def test_a_registry_of_others_is_used_and_never_removed(machine, capsys):
    machine.write("registry", "true")
    kind.ready(NAME, port(), print)
    assert cluster.main(["delete"]) == 0
    assert "the registry kind-registry was not made here, and stays" in capsys.readouterr().out
    assert machine.read("registry") == "true"
    machine.write("registry", "false")
    machine.write("docker-start", "Error: no")
    with pytest.raises(StageError, match="was not made here: `docker start kind-registry`, or `docker rm"):
        local_registry.start(print)


def test_a_registry_whose_port_is_taken_leaves_nothing_behind(machine):
    machine.write("docker-run", "docker: Error: Bind for 127.0.0.1:5001 failed: port is already allocated.")
    with pytest.raises(StageError, match=r"cannot be started on localhost:5001: .*already allocated.*make doctor"):
        local_registry.start(print)
    assert "docker rm -f kind-registry" in machine.calls()
    machine.write("registry", "true")
    said: list[str] = []
    local_registry.remove(said.append)
    assert said == ["cluster: the registry kind-registry was not made here, and stays"]


def test_a_lost_note_does_not_make_a_cluster_of_ours_foreign(machine: Machine):
    made = kind.ready(NAME, port(), print)
    clusters.note(NAME).remove()
    assert kind.ready(NAME, 1, print) == made


RECORDED = "ConfigMap model-pipeline-cluster in kube-system"


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ('{"data": {"port": "abc", "applied": "x"}}', "port: 'abc' is no port"),
        ('{"data": {"port": "0", "applied": "x"}}', "port: '0' is no port"),
        ('{"data": {"port": "70000"}}', "port: '70000' is no port"),
        ('{"data": {"port": "٨٥٠١"}}', "port: '٨٥٠١' is no port"),
        ('{"data": {"port": "", "applied": "x"}}', "port: '' is no port"),
        ('{"data": {"applied": "x"}}', "port: is missing"),
        ('{"data": null}', "port: is missing"),
        ('{"data": {"port', 'is no JSON object: \'{"data": {"port\''),
        ("[]", "is no JSON object: '[]'"),
    ],
)
def test_a_damaged_record_is_told_with_its_mend_and_nothing_is_changed(machine, capsys, record, said):
    kind.ready(NAME, port(), print)
    machine.write("record.json", record)
    machine.calls()
    for action in ("create", "status"):
        capsys.readouterr()
        assert cluster.main([action]) == 2
        told = capsys.readouterr().err
        assert f"bad input: {RECORDED} of the cluster {NAME}: {said}" in told
        assert f"`make cluster-delete CLUSTER={NAME}`, then `make ci CLUSTER={NAME}` makes the cluster anew" in told
    with pytest.raises(InputError, match=RECORDED):
        kind.address(f"kind-{NAME}")
    assert doctor.main([]) == 1
    assert f"✗ cluster: {RECORDED} of the cluster {NAME}: {said}" in capsys.readouterr().out
    assert changing(machine.calls()) == []
    assert cluster.main(["delete"]) == 0  # what mends it does not need it
    assert machine.read("clusters") == ""


def test_a_digest_that_was_changed_only_means_that_all_is_applied_again(machine):
    made = kind.ready(NAME, port(), print)
    machine.write("record.json", json.dumps({"data": {"port": str(made.port)}}))
    assert kind.ready(NAME, 1, print) == made
    assert kind.address(f"kind-{NAME}") == made.url
    assert json.loads(machine.read("record.json"))["data"]["applied"]
