"""Results appear complete or not at all."""

import json
import os
import resource

import pytest

from ci import stages, workspace
from ci.errors import InputError


def test_a_missing_result_names_the_command_that_writes_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"build/data/train.parquet is missing: run `python -m scripts.prepare` first"):
        stages.require(workspace.DATA / "train.parquet")


def test_damaged_json_names_the_line(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": 1,\n"b": }')
    with pytest.raises(InputError, match=r"x.json:2: not JSON"):
        stages.read_json(path)


def test_equal_values_are_equal_bytes(tmp_path):
    workspace.write_json(tmp_path / "a", {"x": 1, "y": "é"})
    workspace.write_json(tmp_path / "b", {"y": "é", "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_folder_is_replaced_only_when_complete(tmp_path):
    folder = tmp_path / "data"
    with workspace.replacing(folder) as new:
        (new / "one").write_text("1")

    def fail():
        with workspace.replacing(folder) as new:
            (new / "two").write_text("2")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert [path.name for path in folder.iterdir()] == ["one"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_what_a_killed_run_left_is_not_mixed_in(tmp_path):
    leftover = tmp_path / ".data.part"
    leftover.mkdir()
    (leftover / "half").write_text("…")
    with workspace.replacing(tmp_path / "data") as new:
        (new / "whole").write_text("1")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["whole"]


def test_json_holds_no_nan_and_no_infinity(tmp_path):
    path = tmp_path / "a.json"
    workspace.write_json(path, {"a": [float("nan"), {"b": -float("inf")}], "c": (1.5, "NaN", float("inf"))})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "a": [None, {"b": None}],
        "c": [1.5, "NaN", None],
    }


def test_a_file_is_replaced_as_a_whole_and_who_reads_the_old_one_reads_on(tmp_path):
    path = tmp_path / "a.json"
    workspace.write_json(path, {"a": 1})
    before = path.read_bytes()
    with path.open("rb") as reading:
        workspace.write_json(path, {"a": 2})
        assert reading.read() == before
    assert json.loads(path.read_text()) == {"a": 2}


def test_a_write_that_fails_halfway_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    workspace.write_text(path, "whole")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as of a disk that is full
    try:
        with pytest.raises(OSError, match="File too large"):
            workspace.write_bytes(path, os.urandom(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.txt", "whole")]
