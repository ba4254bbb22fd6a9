"""Digests of what determines a build."""

import contextlib
import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


SHAPES = [
    "",
    "7",
    "null",
    "[]",
    "text",
    "stages: null",
    "stages: []",
    "stages: 7",
    "vars: [a]",
    "stages: {prepare: null}",
    "stages: {prepare: []}",
    "stages: {prepare: text}",
    "stages: {prepare: {deps: [model]}}",
    "stages: {prepare: {cmd: 7}}",
    "stages: {prepare: {cmd: x, deps: model}}",
    "stages: {prepare: {cmd: x, deps: {model: null}}}",
    "stages: {prepare: {cmd: x, deps: [7]}}",
    "stages: {prepare: {cmd: x, deps: [null]}}",
    "stages: {prepare: {cmd: x, deps: [[model]]}}",
    "stages: {prepare: {cmd: x, deps: [{model: {}}]}}",
    "stages: {prepare: {cmd: x, params: as_of}}",
    "stages: {prepare: {cmd: x, params: [7]}}",
    "stages: {prepare: {cmd: x, params: [{build/settings.yaml: as_of}]}}",
    "stages: {prepare: {cmd: x, params: [{build/settings.yaml: [7]}]}}",
    "stages: {prepare: {cmd: x, params: [{build/settings.yaml: {as_of: 1}}]}}",
    "stages: {prepare: {cmd: x, params: {build/settings.yaml: [as_of]}}}",
    "stages: {prepare: {foreach: [a, b], do: {cmd: 'x ${item}', deps: [model]}}}",
    "stages: {1: {cmd: x}}",
    "stages: {prepare: {cmd: x}, prepare: {cmd: y}}",
    "stages: {prepare: {cmd: x, deps: !!python/tuple [model]}}",
    "stages: &a {prepare: *a}",
    "stages: " + "[" * 5000,
    "one: 1\n---\ntwo: 2\n",
    "stages: {prepare: {cmd: x, deps: [../../..]}}",
    "stages: {prepare: {cmd: x, deps: [/]}}",
    "stages: {prepare: {cmd: x, deps: [.]}}",
    "stages: {prepare: {cmd: x, deps: [model/../..]}}",
    "stages: {prepare: {cmd: x, deps: [outside]}}",
    "stages: {prepare: {cmd: x, deps: [circle]}}",
    'stages: {prepare: {cmd: x, deps: ["a\\0b"]}}',
    f"stages: {{prepare: {{cmd: x, deps: [{'n' * 300}]}}}}",
    "stages: {prepare: {cmd: x, params: [{../secret.yaml: [a]}]}}",
    "stages: {prepare: {cmd: x, params: [{/etc/hostname: null}]}}",
    "stages: {prepare: {cmd: x, params: [missing]}}",
    "stages: {prepare: {cmd: x, params: [{model/data.py: [a]}, {broken.yaml: [b]}]}}",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_graph_of_another_form_is_bad_input_that_names_it(shape: str, tmp_path: Path) -> None:
    Path("outside").symlink_to(tmp_path.parent)
    Path("circle").symlink_to("circle")
    Path("broken.yaml").write_text("a: [")
    Path("dvc.yaml").write_text(shape)
    with pytest.raises(InputError, match=r"dvc\.yaml|params\.yaml is missing|broken\.yaml:2: not valid YAML"):
        lineage.inputs_digest()


def test_what_is_wrong_with_the_graph_is_told_with_its_line() -> None:
    Path("dvc.yaml").write_text("stages:\n  prepare:\n    cmd: x\n    deps:\n      - model\n      - 7\n")
    with pytest.raises(InputError, match=r"^dvc\.yaml:6: stages\.prepare\.deps\.1: Input should be a valid string"):
        lineage.inputs_digest()


def test_a_graph_without_stages_is_told_at_its_first_line() -> None:
    Path("dvc.yaml").write_text("\n\n")
    with pytest.raises(InputError, match=r"^dvc\.yaml:1: the graph: "):
        lineage.inputs_digest()


def test_the_order_of_keys_in_the_settings_does_not_count() -> None:
    before = lineage.settings_digest()
    Path("build/settings.yaml").write_text(SETTINGS.replace("{epochs: 3}", "{threads: 1, epochs: 3}"))
    other = lineage.settings_digest()
    Path("build/settings.yaml").write_text(SETTINGS.replace("{epochs: 3}", "{epochs: 3, threads: 1}"))
    assert lineage.settings_digest() == other != before


def test_of_several_things_that_are_wrong_with_the_graph_the_first_is_told() -> None:
    Path("dvc.yaml").write_text("stages:\n  a:\n    cmd: x\n    deps: [7]\n  b:\n    cmd: 7\n")
    with pytest.raises(InputError, match=r"^dvc\.yaml:4: stages\.a\.deps\.0: "):
        lineage.inputs_digest()


@pytest.mark.parametrize(
    "empty", ["deps:", "params:", "deps: []", "params: []", "outs: [{build/data: {cache: false}}]"]
)
def test_a_stage_without_inputs_is_one(empty: str) -> None:
    Path("dvc.yaml").write_text(f"stages:\n  prepare:\n    cmd: [x, y]\n    {empty}\n")
    assert lineage.inputs_digest().startswith("sha256:")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["model", "ci/data", "..", "/", "as_of", "build", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["stages", "cmd", "deps", "params", "outs", "do", "build/settings.yaml"]), inner
        )
    ),
    max_leaves=12,
)


@given(VALUES | st.fixed_dictionaries({"stages": st.dictionaries(st.sampled_from("ab"), VALUES)}))
def test_no_graph_ends_in_anything_but_a_digest_or_bad_input(graph: object) -> None:
    Path("dvc.yaml").write_text(json.dumps(graph))
    with contextlib.suppress(InputError):
        assert lineage.inputs_digest().startswith("sha256:")


@pytest.mark.parametrize("length", [253, 300])
def test_a_source_whose_name_the_system_refuses_is_bad_input(length: int) -> None:
    with pytest.raises(InputError, match=r"^data.source: x+ cannot be read: File name too long$"):
        lineage.source(Path("x" * length))


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "pipe", "link", "socket"])
def test_a_source_that_is_no_file_and_no_folder_is_refused_at_once(name: str) -> None:
    os.mkfifo("pipe")
    Path("link").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for tracked in (False, True):
            if tracked and not name.startswith("/dev"):
                Path(f"{name}.dvc").write_text("outs: []")
            with pytest.raises(InputError, match=f"^data.source: {name} is neither a file nor a folder$"):
                lineage.source(Path(name))


@pytest.mark.parametrize("name", [".", "..", "/", "model/..", "here"])
def test_a_source_that_holds_the_repository_is_refused(name: str) -> None:
    Path("here").symlink_to(".")
    with pytest.raises(InputError, match=f"^data.source: {Path(name)} holds this repository itself"):
        lineage.source(Path(name))


def test_of_a_folder_the_plain_files_count() -> None:
    before = lineage.source(Path("model"))
    os.mkfifo("model/pipe")
    Path("model/zero").symlink_to("/dev/zero")
    assert lineage.source(Path("model")) == before
    Path("model/new.csv").write_text("")
    assert lineage.source(Path("model")) != before


@pytest.mark.parametrize("name", ["absent", "a\0b"])
def test_a_source_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(InputError, match="does not exist"):
        lineage.source(Path(name))


def test_what_is_wrong_with_the_graph_is_told_without_the_names_of_our_models() -> None:
    Path("dvc.yaml").write_text("stages:\n  prepare: 7\n")
    with pytest.raises(
        InputError, match=r"^dvc\.yaml:2: stages\.prepare: Input should be a valid dictionary: expected"
    ):
        lineage.inputs_digest()


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda folder: (folder / "a.csv").write_text("2"), True),
        (lambda folder: (folder / "a.csv").rename(folder / "c.csv"), True),
        (lambda folder: (folder / "in/b.csv").rename(folder / "b.csv"), True),
        (lambda folder: ((folder / "a.csv").write_text("b"), (folder / "in/b.csv").write_text("a")), True),
        (lambda folder: (folder / "in/b.csv").unlink(), True),
        (lambda folder: (folder / "empty").mkdir(), False),
        (lambda folder: (folder / "a.csv").touch(), False),
        (lambda folder: (folder / "a.csv").chmod(0o600), False),
    ],
    ids=["content", "name", "place", "swapped", "gone", "empty folder", "time", "mode"],
)
def test_of_a_folder_the_names_and_contents_of_its_files_make_the_digest(change, differs: bool) -> None:
    for name, text in (("data/a.csv", "a"), ("data/in/b.csv", "b")):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    before = lineage.source(Path("data"))
    assert before["source"] == "data"
    change(Path("data"))
    assert (lineage.source(Path("data")) != before) is differs


def test_of_a_file_its_content_makes_the_digest() -> None:
    Path("a.csv").write_text("1")
    before = lineage.source(Path("a.csv"))
    Path("a.csv").write_text("2")
    assert lineage.source(Path("a.csv"))["digest"] not in (before["digest"], None)
    assert lineage.source(None) == {"source": None, "digest": None}


def test_a_source_that_dvc_tracks_is_known_by_its_dvc_file_whether_the_data_are_here_or_not() -> None:
    Path("data.dvc").write_text("outs: [{md5: 1}]")
    away = lineage.source(Path("data"))
    assert away["digest"] is not None
    Path("data").mkdir()
    Path("data/a.csv").write_text("1")
    assert lineage.source(Path("data")) == away
    Path("data.dvc").write_text("outs: [{md5: 2}]")
    assert lineage.source(Path("data"))["digest"] != away["digest"]


@pytest.mark.parametrize(
    ("deps", "path", "changes"),
    [
        ("[model]", "model/card.md", False),  # its words reach their stage as build/card.md
        ("[model]", "model/notes.txt", True),
        ("[ci]", "ci/notes.md", True),
        ("[ci]", "ci/module.pyc", False),
        ("[build/source.json]", "build/source.json", True),
        ("[build/data]", "build/data/train.parquet", False),
    ],
)
def test_what_a_stage_writes_and_what_says_nothing_of_the_model_is_no_input(
    deps: str, path: str, changes: bool
) -> None:
    Path("dvc.yaml").write_text(f"stages: {{a: {{cmd: x, deps: {deps}}}}}")
    Path(path).parent.mkdir(exist_ok=True)
    Path("build/source.json").write_text("{}")
    before = lineage.code_digest()
    Path(path).write_text("other")
    assert (lineage.code_digest() != before) is changes


def test_a_files_name_counts_in_the_digest_of_the_code() -> None:
    before = lineage.code_digest()
    Path("ci/data/windows.py").rename("ci/data/days.py")
    assert lineage.code_digest() != before


def test_a_value_of_the_settings_counts_under_its_key_and_one_that_is_not_there_is_none() -> None:
    Path("dvc.yaml").write_text("stages: {a: {cmd: x, params: [{build/settings.yaml: [training.epochs, other.key]}]}}")
    digests = set()
    for text in (
        "training: {epochs: 3}",
        "training: {epochs: 4}",
        "other: {key: 3}",
        "training: {epochs: 3}\nother: {key: 3}",
    ):
        Path("build/settings.yaml").write_text(text)
        digests.add(lineage.settings_digest())
    assert len(digests) == 4
    Path("build/settings.yaml").write_text("training: 3\nother: [key]")
    neither = lineage.settings_digest()
    Path("build/settings.yaml").write_text("seed: 1")
    assert lineage.settings_digest() == neither not in digests


@pytest.mark.parametrize("params", ["[{build/settings.yaml: }]", "[{build/settings.yaml: []}]"])
def test_without_keys_all_of_the_settings_count(params: str) -> None:
    Path("dvc.yaml").write_text(f"stages: {{a: {{cmd: x, params: {params}}}}}")
    before = lineage.settings_digest()
    Path("build/settings.yaml").write_text(SETTINGS.replace("30", "60"))
    assert lineage.settings_digest() != before
