"""Digests of what determines a build."""

from pathlib import Path

import pytest

from ci import lineage
from ci.errors import InputError

GRAPH = """
stages:
  prepare:
    cmd: python -m scripts.prepare
    deps: [model/data.py, ci/data, build/champion.json]
    params: [{build/settings.yaml: [as_of, data.holdout_days]}]
  train:
    cmd: python -m scripts.train
    deps: [ci/data]
    params: [{build/settings.yaml: [training]}]
"""
SETTINGS = "as_of: 2013-04-01\ndata: {holdout_days: 14}\ntraining: {epochs: 3}\nrollout: {drain_timeout: 30}\n"


@pytest.fixture(autouse=True)
def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "dvc.yaml": GRAPH,
        "model/data.py": "one",
        "ci/data/windows.py": "two",
        "build/settings.yaml": SETTINGS,
        "build/champion.json": "null",
    }.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


@pytest.mark.parametrize(
    ("path", "text", "changes"),
    [
        ("model/data.py", "other", True),
        ("ci/data/windows.py", "other", True),
        ("ci/data/new.py", "", True),
        ("build/settings.yaml", SETTINGS.replace("04-01", "07-01"), True),
        ("build/settings.yaml", SETTINGS.replace("14", "7"), True),
        ("build/settings.yaml", SETTINGS.replace("epochs: 3", "epochs: 4"), True),
        ("build/settings.yaml", SETTINGS.replace("30", "60"), False),
        ("build/champion.json", "{}", False),
        ("ci/data/__pycache__/windows.pyc", "other", False),
        ("README.md", "other", False),
    ],
)
def test_a_change_counts_when_a_stage_declares_it(path: str, text: str, changes: bool) -> None:
    before = lineage.inputs_digest()
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(text)
    assert (lineage.inputs_digest() != before) is changes


def test_a_declared_file_that_is_missing_is_named() -> None:
    Path("model/data.py").unlink()
    with pytest.raises(InputError, match=r"model/data\.py is missing"):
        lineage.inputs_digest()
