"""The order of stages, and what a killed DVC leaves."""

import pytest

from ci import pipeline


@pytest.mark.parametrize(
    ("stages", "groups"),
    [
        (pipeline.STAGES, [["configure"], ["champion"], list(pipeline.CACHED), *([s] for s in pipeline.STAGES[7:])]),
        (["report", "deploy"], [["deploy"], ["report"]]),
        (["train", "tune"], [["tune", "train"]]),
        (["monitor", "prepare"], [["prepare"], ["monitor"]]),
    ],
)
def test_stages_run_in_the_pipelines_order_and_the_cached_ones_as_one_graph(stages, groups):
    assert list(pipeline._groups(stages)) == groups


@pytest.mark.parametrize("left", ["", '{"a": '])
def test_a_lock_that_a_kill_left_unreadable_is_removed(tmp_path, left, capsys):
    path = tmp_path / "rwlock"
    path.write_text(left)
    pipeline.clear_stale_lock(path)
    assert not path.exists()
    assert "removed" in capsys.readouterr().out


def test_a_lock_in_use_is_left_alone(tmp_path):
    path = tmp_path / "rwlock"
    path.write_text('{"build/data": {"write": {"pid": 1}}}')
    pipeline.clear_stale_lock(path)
    assert path.exists()
    pipeline.clear_stale_lock(tmp_path / "absent")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([{"changed deps": {"model/network.py": "modified"}}], ["model/network.py is modified"]),
        (
            [{"changed deps": {"build/settings.yaml": {"tuning.max_trials": "modified"}}}],
            ["build/settings.yaml: tuning.max_trials changed"],
        ),
        ([{"changed outs": {"build/data": "deleted"}}], ["build/data is deleted"]),
        (["changed command"], ["changed command"]),
    ],
)
def test_what_dvc_reports_is_said_in_words(found, words):
    assert list(pipeline._changes(found)) == words


def test_an_unknown_stage_is_named(capsys):
    from scripts.pipeline import main

    assert main(["tunes"]) == 2
    assert "there is no stage tunes; the stages are configure champion" in capsys.readouterr().err
