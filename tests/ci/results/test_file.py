"""Result files: what is wrong is told by file, line and key, and what could not be read is not written."""

import importlib
import json
import os
import pkgutil
from pathlib import Path

import pytest

import ci.results
from ci.errors import InputError, StageError
from ci.results.build import OVERRIDES, SOURCE
from ci.results.file import File, Lines
from ci.results.monitoring import MONITORING, RETRAINING
from ci.results.rollout import STEPS
from tests import builds

MODULES = [importlib.import_module(f"ci.results.{found.name}") for found in pkgutil.iter_modules(ci.results.__path__)]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "maybe"}, "verdict: Input should be 'too few rows', 'stable', 'shifted', 'drifted' or 'broken'"),
        ({"rows": "140"}, "rows: Input should be a valid integer"),
        ({"rows": True}, "rows: Input should be a valid integer"),
        ({"rows": -1}, "rows: Input should be greater than or equal to 0"),
        ({"rows": 2**63}, "rows: Input should be less than"),
        ({"weather": 1}, "weather: Extra inputs are not permitted"),
        ({"\x1b[2J": 1}, r"\x1b[2J: Extra inputs are not permitted"),
        ({"k" * 10_000: 1}, f"{'k' * 80}: Extra inputs are not permitted"),
        ({"window": {"first": "2013-04-01", "end": "soon"}}, "window.end: Input should be a valid date"),
        ({"window": {"first": "0001-01-01", "end": "2013-04-01"}}, "window.first: Input should be greater than"),
        ({"prediction": {**builds.monitoring()["prediction"], "psi": float("nan")}}, "prediction.psi: "),
        ({"prediction": {**builds.monitoring()["prediction"], "psi": 1e300}}, "prediction.psi: Input should be less"),
        ({f"k{n}": 1 for n in range(20_000)}, "20,000 values are not as they should be"),
    ],
)
def test_a_wrong_value_is_told_by_file_and_key_with_the_command_that_writes_it(change, message):
    MONITORING.write(builds.monitoring())
    assert MONITORING.read().rows == 140
    MONITORING.path.write_text(json.dumps({**builds.monitoring(), **change}))
    with pytest.raises(InputError) as error:
        MONITORING.read()
    assert str(error.value).startswith(f"build/monitoring/monitoring.json: {message}")
    assert str(error.value).endswith(": run `python -m scripts.monitor` to write it again")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "build/monitoring/monitoring.json:1: not JSON"),
        (b'{\n"rows": }', "build/monitoring/monitoring.json:2: not JSON"),
        (b'{\n"rows": "\xff"}', "build/monitoring/monitoring.json:2: not UTF-8 text"),
        (b"[" * 1_000_000, "build/monitoring/monitoring.json:1: not JSON (recursion limit exceeded)"),
        (b"9" * 5000, "build/monitoring/monitoring.json:1: not JSON (number out of range)"),
        (rb'"\ud800"', "build/monitoring/monitoring.json:1: not JSON"),
        (b" " * (2**24 + 1), "build/monitoring/monitoring.json: it has more than 16,777,216 bytes"),
        (b"[1]", "build/monitoring/monitoring.json: Input should be an object"),
    ],
    ids=range(8),
)
def test_what_is_no_json_is_told_by_file_and_line(content, message):
    MONITORING.path.parent.mkdir(parents=True)
    MONITORING.path.write_bytes(content)
    with pytest.raises(InputError) as error:
        MONITORING.read()
    assert str(error.value).startswith(message)


def test_what_never_ends_is_not_read():
    SOURCE.path.parent.mkdir()
    os.mkfifo(SOURCE.path)
    with pytest.raises(InputError, match=r"build/source\.json: this is no plain file"):
        SOURCE.read()
    SOURCE.path.unlink()
    SOURCE.path.symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"build/source\.json: this is no plain file"):
        SOURCE.read()


def test_what_could_not_be_read_is_not_written():
    RETRAINING.write({"retrain": False, "reason": "r", "as_of": "2013-04-01", "command": "c"})
    before = RETRAINING.path.read_bytes()
    with pytest.raises(StageError, match=r"build/retraining/decision\.json cannot be written: as_of: "):
        RETRAINING.write({"retrain": False, "reason": "r", "as_of": "soon", "command": "c"})
    assert RETRAINING.path.read_bytes() == before
    endless = {**builds.monitoring(), "prediction": {**builds.monitoring()["prediction"], "psi": float("inf")}}
    with pytest.raises(StageError, match=r"monitoring\.json cannot be written: prediction\.psi: "):
        MONITORING.write(endless)
    assert not MONITORING.path.exists()


def test_a_model_and_its_json_values_are_the_same_bytes():
    MONITORING.write(builds.monitoring())
    before = MONITORING.path.read_bytes()
    MONITORING.write(MONITORING.read(), Path("elsewhere"))
    assert Path("elsewhere/monitoring.json").read_bytes() == before
    assert MONITORING.plain() == builds.monitoring()


def test_a_line_is_told_by_its_number():
    step = {
        "time": "2026-01-01T00:00:00+00:00",
        "step": "smoke",
        "digest": builds.IMAGE,
        "seconds": 0.9,
        "observed": {},
    }
    STEPS.path.parent.mkdir(parents=True)
    STEPS.path.write_text(STEPS.text([step, {**step, "golden": 32}]))
    assert [found.step for found in STEPS.read_all()] == ["smoke", "smoke"]
    with STEPS.path.open("a") as file:
        file.write(json.dumps({**step, "seconds": "long"}) + "\n")
    with pytest.raises(InputError, match=r"build/rollout/steps\.jsonl:3: seconds: Input should be a valid number"):
        STEPS.read_all()


def test_a_file_that_is_not_there_may_be_asked_for():
    assert OVERRIDES.read_if_there() is None
    assert STEPS.read_all() == []
    with pytest.raises(InputError, match=r"build/overrides\.json is missing: run `python -m scripts\.configure` first"):
        OVERRIDES.read()


def test_each_result_file_is_declared_once():
    files = [found for module in MODULES for found in vars(module).values() if isinstance(found, File)]
    paths = [found.path for found in {id(found): found for found in files}.values()]
    assert len(paths) == len(set(paths))
    assert {path.suffix for path in paths} == {".json", ".jsonl"}
    assert all(isinstance(found, Lines) is (found.path.suffix == ".jsonl") for found in files)
