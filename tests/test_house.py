"""The house plan: which room may import which, and what each room says of itself. `docs/architecture.md` shows it."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FLOORS = (
    ("ground",),
    ("kube", "pods", "task", "jenkins"),
    ("data", "training", "registry", "serving"),
    ("releases", "capture", "placement", "packaging", "quality", "tuning"),
    ("rollout", "monitoring"),
    ("run", "report"),
)
"""From the ground up. A room imports rooms of lower floors, none beside it; files directly in `ci/` are the ground."""
ENGINES = ("ci/placement/packing", "ci/tuning/bayes")
"""They import nothing of `ci`: they could be taken out and used elsewhere."""
FILES = sorted(path.relative_to(REPOSITORY) for path in (REPOSITORY / "ci").rglob("*.py"))


def room(file: Path) -> str:
    return file.parts[1] if len(file.parts) > 2 and file.parts[1] not in ("results", "settings") else "ground"


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def imports(file: Path) -> set[Path]:
    """Return the files of `ci/` that a file imports, in functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse((REPOSITORY / file).read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        found |= {path for name in names if (path := _file(name))}
    return found - {file}


def _file(name: str) -> Path | None:
    parts = name.split(".")
    if parts[0] != "ci":
        return None
    for path in (Path(*parts).with_suffix(".py"), Path(*parts, "__init__.py")):
        if (REPOSITORY / path).exists():
            return path
    return None


def test_every_room_has_a_floor():
    assert {room(file) for file in FILES} == {name for rooms in FLOORS for name in rooms}


@pytest.mark.parametrize("file", FILES, ids=str)
def test_arrows_point_down_or_stay_in_their_room(file):
    for other in imports(file):
        assert room(other) == room(file) or floor(room(other)) < floor(room(file)), f"{file} imports {other}"


def test_imports_are_absolute_and_lead_to_no_command_and_to_no_fork():
    """`ci` runs code of `model/` through `ci.task` only, and the fork's code needs nothing of the house."""
    forbidden = {"ci": {"scripts", "tests", "benchmarks", "examples", "model"}, "model": {"ci", "scripts", "tests"}}
    forbidden |= {"scripts": {"tests", "benchmarks", "examples", "model"}, "examples": forbidden["model"]}
    for folder, roots in forbidden.items():
        for file in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    assert node.level == 0, f"{file}:{node.lineno} imports by a relative name"
                    names = [node.module or ""]
                assert not {name.split(".")[0] for name in names} & roots, f"{file}:{node.lineno}"


def test_no_file_is_part_of_a_circle():
    arrows = {file: {other for other in imports(file) if other.name != "__init__.py"} for file in FILES}
    while free := {file for file, others in arrows.items() if not others & arrows.keys()}:
        for file in free:
            del arrows[file]
    assert sorted(map(str, arrows)) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_imports_nothing_of_the_house(engine):
    for file in FILES:
        if file.is_relative_to(engine):
            assert {str(other) for other in imports(file) if not other.is_relative_to(engine)} == set(), file


def test_every_room_says_in_its_first_line_what_its_one_subject_is():
    for file in FILES:
        if file.name == "__init__.py" and len(file.parts) > 2:
            said = ast.get_docstring(ast.parse((REPOSITORY / file).read_text()))
            assert said, file
            assert said.splitlines()[0].endswith("."), file


def test_the_guide_shows_the_floors_and_names_only_what_exists():
    guide = (REPOSITORY / "docs/architecture.md").read_text()
    for path in re.findall(r"`((?:ci|model|tests|build)/[\w./]+)`", guide):
        assert path.startswith("build/") or (REPOSITORY / path).exists(), path
    for path, lines in re.findall(
        r"^\| \d+ \| `(ci/[\w/.]+)` \| (\d+) \|", guide, re.M
    ):  # such a file grows: about so long
        assert len((REPOSITORY / path).read_text().splitlines()) == pytest.approx(int(lines), rel=0.2), path
    rooms = re.findall(r"^\| [a-z]* ?\| `ci/(\w+)` \|", guide, re.M)
    assert rooms == [name for floor in reversed(FLOORS[1:]) for name in floor]
