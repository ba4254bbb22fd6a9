"""The place command, from settings and inventory to files and exit codes."""

import json
from pathlib import Path

import pytest

from ci.placement.check import faults
from ci.placement.inventory import EXAMPLE, load
from ci.placement.tasks import planned
from scripts import configure, place

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configure.main(["--file", str(REPOSITORY / "pipeline.yaml")]) == 0
    return tmp_path / "build" / "placement"


def test_the_embedded_inventory_is_planned_checked_and_explained(workspace, capsys):
    assert place.main([]) == 0
    plan = json.loads((workspace / "plan.json").read_text())
    from ci import configuration

    tasks = planned(configuration.read(Path("build/settings.yaml")))
    assert not faults(tasks, load(EXAMPLE).nodes, plan["plan"])
    assert plan["proven"]
    assert plan["objective"] == plan["bound"] == len(set(plan["plan"].values()))
    assert "no plan uses fewer" in capsys.readouterr().out.splitlines()[-1]


def test_the_same_input_gives_the_same_bytes(workspace):
    def once():
        assert place.main([]) == 0
        return {file.name: file.read_bytes() for file in workspace.iterdir() if file.name != "timing.json"}

    assert once() == once()


def test_a_group_can_be_planned_alone(workspace):
    assert place.main(["--group", "training"]) == 0
    assert set(json.loads((workspace / "plan.json").read_text())["plan"]) == {
        "tuning-chief", "tuning-0", "tuning-1", "tuning-2", "training",
    }  # fmt: skip


def test_a_task_that_fits_nowhere_is_named_with_what_is_missing(workspace, capsys):
    configure.main(["--file", str(REPOSITORY / "pipeline.yaml"), "--set", "resources.training={cpu: 64, memory: 4Gi}"])
    assert place.main([]) == 1
    out, err = capsys.readouterr()
    assert "training (64 CPU, 4 GiB memory) fits on no node" in out
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
    configure.main(["--file", str(REPOSITORY / "pipeline.yaml"), *overrides])
    assert place.main([]) == 0
    assert "warning: the cluster is full" in capsys.readouterr().out
    assert json.loads((workspace / "handover.json").read_text()) == {}


def test_a_dry_run_prints_the_plan_and_writes_nothing(workspace, capsys):
    assert place.main(["--dry-run"]) == 0
    assert "9 tasks on" in capsys.readouterr().out
    assert not workspace.exists()


def test_serving_survives_the_loss_of_any_node(workspace):
    assert place.main(["--group", "serving"]) == 0
    plan = json.loads((workspace / "plan.json").read_text())["plan"]
    assert len({node for task, node in plan.items() if task.startswith("serving-")}) > 1


def test_each_group_gets_preferred_affinity_and_no_node_name(workspace):
    assert place.main([]) == 0
    text = (workspace / "handover.json").read_text()
    assert set(json.loads(text)) == {"canary", "serving", "training", "tuning", "tuning-chief"}
    assert '"weight": 100' in text
    assert "nodeName" not in text
