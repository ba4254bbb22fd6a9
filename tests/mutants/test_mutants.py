"""What `make mutants` is made of: its table names what is there, and each condition of the Jenkinsfile is changed."""

import tomllib
from pathlib import Path

import pytest

from tests.mutants import run, whens
from tests.mutants.table import BESIDE, OPERATORS, SLOW, WHENS, left_alone

REPOSITORY = Path(__file__).parents[2]


def test_the_table_names_files_that_are_there_and_operators_that_cosmic_ray_has():
    from cosmic_ray.plugins import operator_names

    files = {*BESIDE, *(test for tests in BESIDE.values() for test in tests)}
    assert [file for file in files if not (REPOSITORY / file).is_file()] == []
    for file, name in (test.split("::") for test in WHENS):
        assert f"def {name}(" in (REPOSITORY / file).read_text(encoding="utf-8")
    assert {*OPERATORS} - {*operator_names()} == set()


def test_each_slow_test_that_is_left_out_is_one_of_those_beside():
    texts = [(REPOSITORY / test).read_text(encoding="utf-8") for tests in BESIDE.values() for test in tests]
    assert [name for name in SLOW if not any(f"{name}" in text for text in texts)] == []


def test_what_is_accepted_is_in_the_code_with_a_reason():
    listed = tomllib.loads((Path(__file__).parent / "accepted.toml").read_text(encoding="utf-8"))["change"]
    for each in listed:
        assert {*each} == {"file", "before", "after", "reason"}
        assert each["reason"]
        text = (REPOSITORY / each["file"]).read_text(encoding="utf-8")
        assert each["before"] in " ".join(line.strip() for line in text.splitlines()), each


TWO = """\
pipeline {
    stage('A') {
        when {
            beforeAgent true
            not { changeRequest() }
        }
    }
    stage('B') {
        when {
            expression { params.X }
        }
    }
}
"""


def test_each_when_and_each_condition_is_changed_and_nothing_else():
    found = [(line, before, after) for line, before, after, _ in whens.changed(TWO)]
    assert found == [
        (3, "when {", ""),
        (4, "beforeAgent true", ""),
        (4, "beforeAgent true", "beforeAgent false"),
        (5, "not { changeRequest() }", ""),
        (5, "not { changeRequest() }", "changeRequest()"),
        (9, "when {", ""),
        (10, "expression { params.X }", ""),
        (10, "expression { params.X }", "not { expression { params.X } }"),
    ]
    whole = {after: text for _, before, after, text in whens.changed(TWO) if before.startswith("not")}
    assert whole["changeRequest()"] == TWO.replace("not { changeRequest() }", "changeRequest()")
    assert whole[""] == TWO.replace("            not { changeRequest() }\n", "")


def test_the_jenkinsfile_has_conditions_that_can_be_found():
    text = (REPOSITORY / "Jenkinsfile").read_text(encoding="utf-8")
    changed = [(before, after) for _, before, after, _ in whens.changed(text)]
    assert sum(before == "when {" for before, _ in changed) == text.count("when {") > 0


@pytest.mark.parametrize(
    ("line", "is_left"),
    [
        ("@dataclass(frozen=True)", True),
        ("for a, b in zip(left, right, strict=True):", True),
        ("_CELLS = 4_000_000", True),
        ("_CELLS, WORK = 4_000_000, 1 << 20", False),
        ("_CELLS, WORK = 4_000_000, 10", True),
        ("TABLE = find(1)", False),
        ("    limit = usual + 1", False),
        ("    return zip(left, right, strict=False)", False),
    ],
)
def test_lines_whose_change_says_nothing_are_left_alone(line, is_left):
    assert left_alone(line) is is_left


@pytest.mark.parametrize(
    ("body", "fails"),
    [
        ("assert True", False),
        ("assert False", True),
        ("while True: pass", True),
    ],
)
def test_tests_that_fail_or_never_end_have_noticed(tmp_path, body, fails):
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {body}\n")
    assert run.fails(["test_it.py"], tmp_path, timeout=2 if "while" in body else 60) is fails
