import json
import re
import socket
import subprocess

import pytest

from ci import git
from ci.errors import InputError
from ci.run import checks, kind, state
from scripts import doctor
from tests.ci.packaging.registries import serving
from tests.ci.run.machines import nodes


@pytest.mark.parametrize(
    ("version", "wrong"),
    [((3, 11, 1), True), ((3, 11, 2), False), ((3, 11, 14), False), ((3, 12, 0), True), ((3, 10, 12), True)],
)
def test_the_version_of_python(version, wrong):
    assert checks.python(version).wrong is wrong


@pytest.mark.parametrize(
    ("cores", "memory", "wrong"),
    [(2, 8 * 2**30, False), (1, 64 * 2**30, True), (16, 8 * 2**30 - 1, True), (16, 64 * 2**30, False)],
)
def test_a_machine_that_is_too_small_is_told_what_a_cluster_needs(cores, memory, wrong):
    found = checks.room(cores, memory)
    assert found.wrong is wrong
    assert not wrong or "2 cores and 8 GiB" in found.mend


@pytest.mark.parametrize(("free", "wrong"), [(20 * 10**9, False), (20 * 10**9 - 1, True), (0, True)])
def test_a_full_disk_is_told(free, wrong):
    found = checks.disk(free)
    assert found.wrong is wrong
    assert not wrong or "docker system prune" in found.mend


@pytest.mark.parametrize("program", ["docker", "kind", "kubectl"])
def test_a_missing_program_is_named_with_where_to_get_it(machine, monkeypatch, capsys, program):
    (machine.programs / program).unlink()
    monkeypatch.setenv("PATH", str(machine.programs))
    assert doctor.main([]) == 1
    told = capsys.readouterr().out
    assert re.search(rf"✗ {program}: not on the PATH\ndoctor:     install it: https://\S+", told, re.IGNORECASE)
    assert [each.name.lower() for each in checks.for_kind() if each.wrong] == [program]


@pytest.mark.parametrize(
    ("said", "mend"),
    [
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
            "start it",
        ),
        ("permission denied while trying to connect to the Docker daemon socket", "usermod -aG docker"),
    ],
)
def test_docker_that_does_not_answer_is_told_with_what_to_do(machine, capsys, said, mend):
    machine.write("docker-info", said)
    assert doctor.main([]) == 1
    told = capsys.readouterr().out
    assert said in told
    assert mend in told


@pytest.mark.parametrize(("version", "wrong"), [("v1.29.9", True), ("v1.30.0", False), ("v2.0.0", False), ("?", True)])
def test_the_version_of_kubectl(machine, version, wrong):
    client = json.dumps({"clientVersion": {"gitVersion": version}})
    machine.program("kubectl", f"echo '{client}'")
    assert checks.kubectl().wrong is wrong


def test_a_program_that_hangs_or_cannot_be_run_is_told(machine):
    machine.program("kind", "echo broken >&2; exit 3")
    assert "does not work (broken)" in checks.kind().found
    (machine.programs / "kind").write_text("#!/nonexistent/shell\n")
    assert "it cannot be run" in checks.kind().found


def test_a_port_that_is_taken_is_told_and_ours_is_not():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        found = checks.port(taken)
        assert found.wrong
        assert f"sport = :{taken}" in found.mend
        assert "`SET=serving.port=" in found.mend
        assert "serving.port" not in checks.port(taken, way_out="").mend  # the registry has another
        assert checks.port(taken, "the cluster x") == checks.Finding(f"port {taken}", "leads to the cluster x")
    assert not checks.port(taken).wrong


def test_a_repository_of_another_user_is_told_with_gits_way_out(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # Git's own switch for its tests
    assert "dubious ownership" in str(git.checkout().problem)
    found = checks.repository()
    assert found.mend == f"`git config --global --add safe.directory '{tmp_path}'`"
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    assert "git status" in checks.repository().mend  # no commit yet


def test_all_is_well_on_a_machine_that_has_everything_before_and_after_the_cluster(machine, monkeypatch, capsys):
    subprocess.run(["git", "init", "-q"], check=True)
    commit = ["-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "--allow-empty", "-m", "x"]
    subprocess.run(["git", *commit], check=True)
    monkeypatch.setattr(checks, "DISK", 1)
    with serving("x", token="") as registry, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
        probe.close()
        settings = (machine.folder.parent / "my checkout/pipeline.yaml").read_text()
        (machine.folder.parent / "my checkout/pipeline.yaml").write_text(
            settings.replace("port: 8501", f"port: {free}")
        )
        monkeypatch.setattr("ci.run.local_registry.PORT", free)
        assert doctor.main([]) == 0, capsys.readouterr().out
        assert "none: `make ci` makes model-pipeline" in capsys.readouterr().out
        kind.ready(kind.NAME, free, print)
        registry.content["/v2/"] = b"{}"
        monkeypatch.setattr("ci.run.local_registry.HOST", registry.host)
        assert doctor.main([]) == 0, capsys.readouterr().out
        told = capsys.readouterr().out
        assert "leads to the cluster model-pipeline" in told
        assert "leads to the registry kind-registry" in told


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("foreign", "is not this pipeline's"),
        ("silent", "model-pipeline does not answer"),
        ("unready", "not ready: node-0"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_told(machine, capsys, state, said):
    machine.write("clusters", kind.NAME)
    found = nodes("no network" if state == "unready" else "")
    if state == "foreign":
        found = [{**node, "metadata": {"name": node["metadata"]["name"]}} for node in found]
    if state != "silent":
        machine.write("nodes.json", json.dumps({"items": found}))
    assert doctor.main([]) == 1
    assert said in capsys.readouterr().out


def test_a_registry_that_runs_and_does_not_answer_is_told(machine, monkeypatch, capsys):
    machine.write("registry", "true")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setattr("ci.run.local_registry.HOST", f"localhost:{probe.getsockname()[1]}")
        assert doctor.main([]) == 1
        told = capsys.readouterr().out
        assert "runs, but does not answer" in told
        assert "it was not made here: `docker port kind-registry` says where it listens" in told
        state.Note("kind-registry").write("made here")
        assert doctor.main([]) == 1
    assert "not made here" not in capsys.readouterr().out


def test_the_port_is_the_one_of_the_build_that_is_meant(machine, monkeypatch, capsys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIPELINE_SET", f"serving.port={probe.getsockname()[1]}")
        doctor.main([])
        assert f"port {probe.getsockname()[1]}: " in capsys.readouterr().out
        doctor.main(["--set", "serving.port=8601"])
    assert "port 8601: " in capsys.readouterr().out
    assert doctor.main(["--set", "serving.prot=1"]) == 2
    assert "serving.prot: there is no such key" in capsys.readouterr().err


def test_what_is_wrong_is_required_in_one_message(machine, monkeypatch):
    monkeypatch.setenv("PATH", str(machine.folder / "nothing"))
    with pytest.raises(InputError, match=r"Docker: not on the PATH: .*; Kind: not .*; kubectl: not"):
        checks.require(checks.for_kind())
    checks.require([checks.Finding("x", "fine")])
