"""Every package that the code imports is declared, and every declared one has its reason in docs/dependencies.md."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
OWN = {"ci", "model", "scripts"}


def name(text: str) -> str:
    return re.split(r"[^\w.-]", text, maxsplit=1)[0].lower().replace("_", "-")


def declared() -> set[str]:
    return named(ROOT / "requirements.in") | of_task()


def of_task() -> set[str]:
    """Return what only the task needs; it has its reason beside it."""
    return {each for path in ROOT.glob("model/requirements.txt") for each in named(path)}


def named(path: Path) -> set[str]:
    return {name(line) for line in path.read_text().splitlines() if line and not line.startswith("#")}


def imported() -> set[str]:
    found = set()
    for path in (path for room in OWN for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found - OWN - set(sys.stdlib_module_names)


def test_what_is_imported_is_declared_or_comes_with_what_is():
    owners, present = packages_distributions(), declared()
    present |= {name(each) for package in declared() for each in requires(package) or [] if "extra ==" not in each}
    assert not {module for module in imported() if not {name(each) for each in owners[module]} & present}


def test_what_is_declared_has_its_reason():
    cells = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE)
    explained = {name(each.strip()) for cell in cells for each in cell.split(",")}
    assert not declared() - explained - of_task()


@pytest.mark.parametrize(
    "version",
    [(3, 9, 2), (3, 11, 0), (3, 11, 1), (3, 11, 2), (3, 11, 9), (3, 11, 14), (3, 12, 0), (3, 13, 1), (4, 0, 0)],
)
def test_setup_takes_the_versions_of_python_that_the_project_declares(version):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    (check,) = re.findall(r"sys\.exit\(not (.+)\)' 2>", (ROOT / "Makefile").read_text())
    taken = eval(check, {"sys": SimpleNamespace(version_info=(*version, "final", 0))})  # noqa: S307 - our own Makefile
    assert taken == SpecifierSet(declared).contains(".".join(map(str, version)))


def test_debians_own_python_is_declared_and_these_tests_run_on_what_is():
    declared = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    assert declared.contains("3.11.2")
    assert declared.contains(".".join(map(str, sys.version_info[:3])))
