"""One table of stages: whatever else lists them says the same."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ci import stages, workspace
from ci.errors import InputError
from ci.packaging import package
from ci.settings import Settings
from ci.stages import CACHED, NAMES, PLUMBING, STAGES, Stage, named

REPOSITORY = Path(__file__).parents[1]
GRAPH = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
cached = pytest.mark.parametrize("stage", [stage for stage in STAGES if stage.cached], ids=lambda stage: stage.name)


def dependencies(stage: str) -> list[Path]:
    return [Path(path) for path in GRAPH[stage]["deps"]]


def is_below(path: Path, folders) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def imported(file: Path) -> set[Path]:
    """Return the repository's files that a file needs to run, itself among them, as far as its imports tell."""
    found, waiting = set(), [file]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += _imports(REPOSITORY / current)
    return found


def _imports(file: Path) -> Iterator[Path]:
    tree = ast.parse(file.read_text())
    only_for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in only_for_types:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            for count in range(1, len(parts) + 1) if parts[0] in ("ci", "scripts") else ():
                path = Path(*parts[:count])
                yield from (
                    each for each in (path.with_suffix(".py"), path / "__init__.py") if (REPOSITORY / each).exists()
                )


def needs(stage: Stage) -> set[Path]:
    """Return the code that decides what a stage computes."""
    files = imported(Path("scripts", f"{stage.module or stage.name}.py"))
    return {file for file in files if not is_below(file, PLUMBING) and not _empty(file)}


def _empty(file: Path) -> bool:
    """Tell whether a file has no code: a package's docstring decides nothing."""
    return all(isinstance(node, ast.Expr) for node in ast.parse((REPOSITORY / file).read_text()).body)


def test_stages_read_only_what_earlier_ones_write():
    for place, stage in enumerate(STAGES):
        assert set(stage.reads) <= set(NAMES[:place]), stage.name


def test_no_two_stages_write_the_same_place():
    written = [path for stage in STAGES for path in stage.writes]
    assert len(set(written)) == len(written)
    assert not [one for one in written for other in written if one != other and one.is_relative_to(other)]


def test_a_missing_result_names_the_command_of_the_stage_that_writes_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for stage in STAGES:
        for path in stage.writes:
            with pytest.raises(InputError, match=f"is missing: run `{stage.command}` first"):
                stages.require(path)


def test_dvc_runs_the_cached_stages_in_their_order():
    assert tuple(GRAPH) == CACHED
    for name, found in GRAPH.items():
        assert found["cmd"] == named(name).command
        assert [Path(path) for path in found["outs"]] == list(named(name).writes)


@cached
def test_dvc_knows_the_results_that_a_stage_reads(stage):
    results = [path for path in dependencies(stage.name) if path.is_relative_to(workspace.BUILD)]
    written = {name: [path for path in results if is_below(path, named(name).writes)] for name in stage.reads}
    assert sorted(path for paths in written.values() for path in paths) == sorted(results)
    assert all(paths or name == "configure" for name, paths in written.items())  # of settings it names the keys


@cached
def test_dvc_runs_a_stage_again_when_code_that_it_needs_changes_and_not_otherwise(stage):
    declared = [path for path in dependencies(stage.name) if path.parts[0] in ("ci", "scripts")]
    every = set().union(*map(needs, (named(name) for name in CACHED))) if stage.name == "package" else needs(stage)
    assert [str(file) for file in sorted(every) if not is_below(file, declared)] == []
    files = {path.relative_to(REPOSITORY) for folder in declared for path in _python(REPOSITORY / folder)}
    assert [str(file) for file in sorted(files - every) if not _empty(file)] == []


@cached
def test_dvc_runs_a_stage_again_when_a_setting_that_it_reads_changes(stage):
    file = str(workspace.SETTINGS)
    (declared,) = (entry[file] for entry in GRAPH[stage.name]["params"] if file in entry)
    text = "".join((REPOSITORY / file).read_text() for file in needs(stage))
    read = {".".join(filter(None, found)) for found in re.findall(r"\bsettings\.([a-z_]+)(?:\.([a-z_]+))?", text)}
    sections = {*Settings.model_fields, "source"}
    keys = {"data.source" if key == "source" else key for key in read if key.split(".")[0] in sections}
    missed = {key for key in keys if not any(_same_or_below(key, each) for each in declared)}
    # A section that is handed on whole counts as read where some of its keys are declared.
    missed -= {key for key in missed if any(_same_or_below(each, key) for each in declared)}
    assert missed == set()


def _same_or_below(key: str, section: str) -> bool:
    return f"{key}.".startswith(f"{section}.")


def _python(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.suffix == ".py" else []


def test_the_readme_lists_the_stages_with_their_commands():
    rows = re.findall(r"^\| (\w+) \| `(python -m [\w.]+)` \| (.+) \|$", (REPOSITORY / "README.md").read_text(), re.M)
    assert [(name, command) for name, command, _ in rows] == [(stage.name, stage.command) for stage in STAGES]
    for (_, _, text), stage in zip(rows, STAGES, strict=True):
        assert text.endswith(stage.does), stage.name


def test_what_dvc_caches_travels_by_its_remote_and_nothing_else_does():
    assert tuple(stage.name for stage in STAGES if "dvc" in stage.travels) == CACHED


def test_results_that_another_pod_reads_have_a_way_to_it():
    for stage in STAGES:
        for read in map(named, stage.reads):
            assert read.travels or read.pod == stage.pod, f"{stage.name} reads what only {read.name}'s pod has"


def test_dvc_ignores_no_result_as_what_it_ignores_is_missing_in_the_next_pod():
    parts = (package.CARD, package.GOLDEN, package.MANIFEST, package.REFERENCE, package.SBOM, package.SUMS)
    results = [named(stage).result for stage in CACHED]
    results += [workspace.PACKAGE / part for part in (*parts, "image/index.json", "image/blobs/sha256/ab")]
    results += [workspace.EVALUATION / "junit.xml", workspace.MODEL / "saved_model/saved_model.pb"]
    command = [sys.executable, "-m", "dvc", "check-ignore", "--", *map(str, results)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("", 1), done.stderr
