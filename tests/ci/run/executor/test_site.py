"""Where a build runs, and what is found out before a pod is made."""

import pytest

from ci import configuration
from ci.errors import StageError
from ci.placement.inventory import Node
from ci.run import kind
from ci.run.executor import site
from scripts import cluster, doctor, pipeline
from tests.pods import REPOSITORY

FILE = REPOSITORY / "tests/pipeline.yaml"


@pytest.fixture
def nothing(tmp_path, monkeypatch):
    """A folder with the shipped settings, and no program on the PATH."""
    (tmp_path / "pipeline.yaml").write_text((REPOSITORY / "tests/pipeline.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PIPELINE_SET", raising=False)
    return tmp_path


@pytest.fixture
def programs(nothing, monkeypatch):
    """The same with programs that answer as Docker, Kind and kubectl do when they are asked whether they are there."""
    for name, answer in {
        "docker": "",
        "kind": "kind v0.30.0",
        "kubectl": '{"clientVersion": {"gitVersion": "v1.36.0"}}',
    }.items():
        (nothing / name).write_text(f"#!/bin/sh\necho '{answer}'\n")
        (nothing / name).chmod(0o755)
    return nothing


def test_kind_that_was_asked_for_and_is_missing_is_an_error_that_says_what_to_do(nothing, capsys):
    assert pipeline.main(["--executor", "kind"]) == 2
    said = capsys.readouterr().err
    assert "Docker: not on the PATH: install it" in said
    assert "Kind: not on the PATH: install it" in said
    assert not (nothing / "build").exists()


def test_where_it_was_left_open_a_line_says_that_stages_run_here_and_why(nothing, capsys):
    assert pipeline.main(["--executor", "auto", "--set", "nonsense=1"]) == 2
    said = capsys.readouterr()
    line = (
        "executor: stages run as processes on this machine, not in pods: Docker not on the PATH, Kind not on the PATH"
    )
    assert said.out.splitlines()[0].startswith(line)
    assert "nonsense: there is no such key" in said.out + said.err


def test_stages_that_are_named_run_here(programs, capsys):
    assert pipeline.main(["--executor", "kind", "configure"]) == 2
    assert "--executor kind runs whole builds" in capsys.readouterr().err
    assert pipeline.main(["--executor", "auto", "configure"]) == 0
    assert (programs / "build/settings.yaml").exists()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("nonsense=1", "--set nonsense=1: nonsense: there is no such key"),
        ("as_of=2013-04-01\nseed=8", "a value that travels to pods has one line"),
    ],
)
def test_a_wrong_setting_is_told_before_there_is_a_cluster(programs, capsys, override, said):
    assert pipeline.main(["--executor", "kind", "--set", override]) == 2
    assert said in capsys.readouterr().err
    assert not (programs / "cache").exists()


@pytest.mark.parametrize("text", ["seed=8\n\n notify.url=https://example.org/?a= \nas_of=\n"])
def test_settings_mean_in_pods_what_they_mean_here(text):
    given = site.overrides_here(text, ["data.source=a=b=", "data.source=", "model.name=x"])
    assert given == [
        "seed=8",
        "notify.url=https://example.org/?a=",
        "data.source=a=b=",
        "data.source=null",
        "model.name=x",
    ]


def test_a_line_that_sets_nothing_is_told_with_its_number(programs, monkeypatch, capsys):
    monkeypatch.setenv("PIPELINE_SET", "seed=8\nnonsense\n")
    for command in (
        lambda: pipeline.main(["--executor", "kind"]),
        lambda: cluster.main(["create"]),
        lambda: doctor.main([]),
    ):
        assert command() == 2
        assert "bad input: PIPELINE_SET:2: nonsense: expected KEY=VALUE" in capsys.readouterr().err


def test_a_wrong_name_of_a_cluster_is_refused(programs, capsys):
    assert pipeline.main(["--executor", "kind", "--cluster", "../x"]) == 2
    assert "is no name of a cluster" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["tests/pipeline.yaml", "tests/e2e/fork/pipeline.yaml"])
def test_the_settings_of_a_build_there_are_valid_also_for_a_fork_that_leaves_most_to_their_defaults(file):
    given = ["serving.server=stand-in", "serving.replicas=2", "seed=7"]
    settings = configuration.read(REPOSITORY / file, given)
    images = {"stand-in": f"localhost:5001/model-pipeline/stand-in:1@sha256:{'a' * 64}"}
    found = configuration.read(REPOSITORY / file, site.overrides_there(settings, images, given))
    assert found.serving.context == "-"
    assert (found.serving.replicas, found.seed) == (2, 7)
    assert found.history.folder == "/var/lib/dvc-remote/history"
    assert found.packaging.base == f"kind-registry:5000/model-pipeline/stand-in:1@sha256:{'a' * 64}"
    assert found.resources.training.cpu == settings.resources.training.cpu


def test_a_build_there_releases_to_one_place_whatever_environments_the_settings_have(tmp_path):
    file = tmp_path / "pipeline.yaml"
    file.write_text((REPOSITORY / "tests/pipeline.yaml").read_text() + "environments: {a: {port: 8601}, b: {}}\n")
    given = site.overrides_there(configuration.read(file), {}, [])
    assert configuration.read(file, given).environments == {}
    assert not [each for each in site.overrides_there(configuration.read(FILE), {}, []) if "environments" in each]


def node(name: str, cpu: float, gigabytes: int, label: str) -> Node:
    """A node of Kind."""
    room = {"cpu": int(cpu * 1000), "memory": gigabytes * 2**30, "ephemeral-storage": 50 * 2**30, "pods": 110}
    return Node(name, room, room, labels={label: "true", "kubernetes.io/hostname": name})


@pytest.mark.parametrize(
    ("overrides", "missing"),
    [
        ([], ""),
        (["resources.training.cpu=4"], r"training \(4.1 CPU, .* lacks 2.1 CPU: lower its .*; nothing was started"),
        (["resources.tuning.memory=9Gi"], ""),  # no Job is made for one worker
        (["tuning.workers=2", "resources.tuning.memory=9Gi"], r"tuning-0 .*9 GiB memory.*nothing was started"),
    ],
)
def test_a_pod_that_fits_no_node_of_the_cluster_is_told_before_anything_starts(overrides, missing):
    given = site.overrides_there(configuration.read(FILE, overrides), {}, overrides)
    settings = configuration.read(FILE, given)
    nodes = [node("one", 2, 8, kind.LABELS["training"]), node("two", 2, 8, kind.LABELS["serving"])]
    if missing:
        with pytest.raises(StageError, match=missing):
            site.require_room(settings, nodes)
    else:
        site.require_room(settings, nodes)


def test_pods_name_images_as_nodes_list_them():
    digest = f"sha256:{'a' * 64}"
    assert site.by_digest(f"localhost:5001/a/b:12@{digest}") == f"localhost:5001/a/b@{digest}"
