"""What stages leave under `build/`, as the models of `ci.results` read it and as later stages do."""

import contextlib
import importlib
import io
import json
import pkgutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ci.results
from ci import configuration, workspace
from ci.command import run
from ci.data import reference
from ci.data.reference import counts
from ci.monitoring import checks, drift
from ci.packaging import package
from ci.placement.packing import certificate
from ci.placement.packing.problem import Problem
from ci.placement.packing.solver import solve
from ci.results.evaluation import REFERENCE
from ci.results.file import File, Lines
from ci.results.rollout import RELEASES
from ci.task import Field
from scripts import champion, deploy, place, prune, report, retrain, rollback, status
from scripts import package as package_command
from tests import builds
from tests.benchmarks.year import years
from tests.fuzz.harness import Surface, examples
from tests.fuzz.mutations import broken, json_text, mutated

pytestmark = pytest.mark.fuzz

MODULES = [importlib.import_module(f"ci.results.{found.name}") for found in pkgutil.iter_modules(ci.results.__path__)]
FILES: dict[str, File[Any]] = {
    str(found.path): found for module in MODULES for found in vars(module).values() if isinstance(found, File)
}
COMMANDS: dict[str, list[tuple[Callable[[list[str]], int], list[str]]]] = {
    "build/champion.json": [(deploy.main, ["--dry-run"])],
    "build/evaluation/evaluation.json": [(deploy.main, ["--dry-run"])],
    "build/model/signature.json": [(package_command.main, [])],
    "build/data/summary.json": [(package_command.main, [])],
    "build/monitoring/monitoring.json": [(retrain.main, [])],
    "build/overrides.json": [(retrain.main, [])],
    "build/package/manifest.json": [(deploy.main, ["--dry-run"])],
    "build/placement/plan.json": [(place.main, ["--verify"])],
    "build/settings.yaml": [(status.main, []), (champion.main, [])],
    "build/state/serving/releases.jsonl": [
        (status.main, []),
        (champion.main, []),
        (retrain.main, []),
        (rollback.main, ["--dry-run"]),
        (lambda _: run(lambda: print(prune.images(configuration.effective(), dry_run=True))), []),
    ],
}
REPORTED = sorted(
    path
    for path in FILES
    if path.startswith(("build/data/s", "build/tuning", "build/model/t", "build/evaluation/e", "build/monitoring"))
    or path.endswith(
        ("runs.json", "plan.json", "rollout.json", "steps.jsonl", "decision.json", "manifest.json", "year.json")
    )
)


def leave() -> None:
    """Leave a complete build with a package, a release, a certified plan and reference statistics."""
    builds.leave()
    table = pd.DataFrame({"temp": np.linspace(0, 30, 50), "carrier": ["UA", "AA"] * 25})
    described = reference.describe(table, {"temp": Field("float32"), "carrier": Field("string")})
    builds.write("data/reference.json", described)
    predicted = reference.describe_predictions(np.linspace(0, 1, 50))
    builds.write("evaluation/reference.json", {"features": described, "prediction": predicted})
    instances = [{"carrier": "UA", "temp": float("nan")}, {"carrier": "AA", "temp": 1.5}]
    builds.write("evaluation/golden.json", {"instances": instances, "predictions": [0.25, 0.5]})
    problem = Problem.of(np.array([[3, 2], [2, 4], [4, 3]]), np.array([[6, 7], [5, 8]]))
    solution = solve(problem, 5.0)
    assert solution.proof
    plan = {"plan": {f"pod-{n}": f"node-{node}" for n, node in enumerate(solution.node_of)}}
    plan |= {"objective": solution.objective, "bound": solution.bound}
    builds.write(
        "placement/plan.json",
        builds.plan(**plan, certificate=certificate.record(problem, solution.proof, unplaced=False)),
    )
    builds.write("placement/handover.json", {"serving": {"affinity": {"nodeAffinity": {}}}})
    builds.write("placement/timing.json", {"seconds": 0.1})
    builds.write("placement/actual.json", {"inventory": "x", "found": ["y"]})
    builds.write("agent.json", {"kind": "Pod"})
    builds.write("tuning-job.json", {"kind": "Job"})
    builds.write("handoff.json", {"commit": "a" * 40, "files": {"build/settings.yaml": "seed: 1\n"}})
    with tempfile.TemporaryDirectory() as folder:
        builds.write("year.json", years.lived(Path(folder), weeks=5))
    known = [{"hyperparameters": {"units": 8}, "objective": 0.5}]
    builds.write("prior.json", {"digest": builds.IMAGE, "trials": known})
    builds.write("runs.json", {"train": "run: it has not run here before"})
    builds.write("state/cached.json", {"commit": "a" * 40, "settings": {"seed": 1}})
    builds.write("rollout/skew.json", [{"request": "{}", "offline": None}])
    first = builds.release()
    champion = {**{key: first[key] for key in ("digest", "version", "as_of")}, "release": 1}
    second = builds.release(digest=builds.IMAGE, version="2", champion=champion)
    workspace.write_text(RELEASES.path, RELEASES.text([{**first, "release": 1}, {**second, "release": 2}]))
    saved = workspace.MODEL / "saved_model"
    saved.mkdir()
    (saved / "saved_model.pb").write_bytes(b"graph")
    builds.write("model/signature.json", {"inputs": {"temp": "DT_FLOAT"}, "outputs": {"late": {}}})
    Path("dvc.yaml").write_text("stages: {}\n")
    Path("requirements.txt").write_text("numpy==2.4.6\n")
    words = "## Intended use\n\nTo know.\n\n## Limits\n\nNone.\n"
    workspace.write_text(workspace.CARD, words)
    with contextlib.redirect_stdout(io.StringIO()):
        assert package_command.main([]) == 0
        assert report.main([]) == 0
    builds.write("package/prior.json", known)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of a build, made once."""
    folder = tmp_path_factory.mktemp("left")
    with contextlib.chdir(folder):
        leave()
        return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


@pytest.fixture
def build(surface: Surface, left: dict[str, bytes]) -> Surface:
    for path, content in left.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)
    return surface


def documents(path: str, content: bytes) -> st.SearchStrategy[bytes]:
    """Return mutations of a JSON file, of one of its lines if it has one on each."""
    if not isinstance(FILES.get(path), Lines):
        return mutated(json.loads(content)).flatmap(lambda value: broken(json_text(value)))
    lines = [json.loads(line) for line in content.splitlines()]
    changed = st.tuples(st.integers(0, len(lines) - 1), mutated(lines[0]) | mutated(lines[-1]))
    return changed.flatmap(
        lambda pair: broken(
            b"".join(json_text(pair[1] if n == pair[0] else line) + b"\n" for n, line in enumerate(lines))
        )
    )


def tried(
    surface: Surface, content: dict[str, bytes], paths: list[str], count: int, act: Callable[[str], None]
) -> None:
    """Put mutations of files in their places, one at a time, and do something with each."""

    @given(st.sampled_from(paths).flatmap(lambda path: st.tuples(st.just(path), documents(path, content[path]))))
    @examples(count)
    def each(found: tuple[str, bytes]) -> None:
        path, changed = found
        Path(path).write_bytes(changed)
        try:
            act(path)
        finally:
            Path(path).write_bytes(content[path])

    each()


def test_every_file_is_read_by_its_model(build: Surface, left: dict[str, bytes]) -> None:
    assert [path for path in FILES if path not in left] == []

    def act(path: str) -> None:
        found = FILES[path]
        build.read(found.read_all if isinstance(found, Lines) else found.read)

    tried(build, left, sorted(FILES), 500, act)


def test_commands_read_what_others_wrote(build: Surface, left: dict[str, bytes]) -> None:
    package_folder = {path: content for path, content in left.items() if path.startswith("build/package/")}

    def act(path: str) -> None:
        if path in package_folder:
            workspace.write_text(workspace.PACKAGE / package.SUMS, package._sums(workspace.PACKAGE))
        for main, arguments in COMMANDS[path]:
            build.command(main, *arguments)
        for name, content in package_folder.items():  # a package may have been written anew
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(content)

    tried(build, left, sorted(path for path in COMMANDS if path != "build/settings.yaml"), 200, act)


def test_the_report_reads_what_all_stages_wrote(build: Surface, left: dict[str, bytes]) -> None:
    tried(build, left, REPORTED, 30, lambda _: build.command(report.main) and None)


def test_drift_is_measured_against_any_reference_that_is_read(build: Surface, left: dict[str, bytes]) -> None:
    limits = configuration.effective().monitoring
    table = pd.DataFrame({"temp": [0.0, float("nan"), 1e30], "carrier": ["UA", "", "\N{PILE OF POO}"]})

    def examine() -> None:
        found = REFERENCE.plain()
        for name in table:
            if name in found["features"]:
                counted = counts(table[name], found["features"][name])
                drift.examine(name, counted, found["features"][name], limits)
                checks.of_column(name, 1000 * counted, found["features"][name], limits)
        counted = counts(pd.Series([0.1, 0.5]), found["prediction"])
        drift.examine("prediction", counted, found["prediction"], limits)

    tried(build, left, ["build/evaluation/reference.json"], 150, lambda _: build.read(examine))
