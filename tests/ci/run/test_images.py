import re
import shutil
from pathlib import Path

import pytest

from ci.errors import InputError, StageError
from ci.run import images
from tests.ci.packaging.registries import Registry, serving

PIPELINE = Path("ci/images/pipeline/Dockerfile")


@pytest.fixture
def registry(monkeypatch):
    with serving("model-pipeline/pipeline", token="") as found:
        monkeypatch.setattr("ci.run.local_registry.HOST", found.host)
        yield found


def ready(said: list[str] | None = None) -> dict[str, str]:
    return images.ready(["pipeline"], (said if said is not None else []).append)


def commands(machine) -> list[str]:
    return [call.split()[1] for call in machine.calls() if call.startswith("docker")]


def test_an_image_is_built_and_pushed_once_and_again_when_an_input_changes(machine, registry: Registry):
    said: list[str] = []
    first = ready(said)["pipeline"]
    assert re.fullmatch(rf"{registry.host}/model-pipeline/pipeline:[0-9a-f]{{16}}@sha256:[0-9a-f]{{64}}", first)
    assert said[0].startswith(
        "images: building pipeline, which may take minutes (log: build/state/images/pipeline.log)"
    )
    assert [name for name in commands(machine) if name in ("build", "push")] == ["build", "push"]
    assert machine.read("context-files").split() == ["./ci/images/pipeline/Dockerfile", "./requirements.txt"]

    said.clear()
    assert ready(said)["pipeline"] == first
    assert said == ["images: unchanged: pipeline"]
    assert not {"build", "push"} & set(commands(machine))

    with Path("requirements.txt").open("a") as file:
        file.write("# one more line\n")
    second = ready()["pipeline"]
    assert second != first
    assert {"build", "push"} <= set(commands(machine))

    Path("model").mkdir()
    Path("model/requirements.txt").write_text("what-only-the-task-needs==1\n")
    assert ready()["pipeline"] not in (first, second)
    assert "./model/requirements.txt" in machine.read("context-files").split()


def test_an_image_that_somebody_removed_from_the_registry_is_pushed_again(machine, registry: Registry):
    first = ready()["pipeline"]
    registry.content.clear()
    assert ready()["pipeline"] == first


def test_an_image_that_docker_still_has_is_only_pushed(machine, registry: Registry):
    program = machine.programs / "docker"
    program.write_text(program.read_text().replace('"image inspect "*) exit 1', '"image inspect "*/pipeline:*) exit 0'))
    said: list[str] = []
    ready(said)
    assert [name for name in commands(machine) if name in ("build", "push")] == ["push"]
    assert "pushed" in said[0]


def test_the_tag_depends_on_every_input_and_on_nothing_else(machine):
    stand_in = Path("ci/images/stand-in/Dockerfile")
    for path in (
        "ci/serving/__pycache__/a.pyc",
        "ci/serving/api.py",
        "ci/__init__.py",
        "ci/errors.py",
        "ci/saved_model.py",
    ):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("1")
    before = images.content(stand_in)
    assert [path.as_posix() for path in images.inputs(stand_in)] == [
        "ci/__init__.py", "ci/errors.py", "ci/saved_model.py", "ci/serving/api.py", "requirements.txt",
    ]  # fmt: skip
    Path("ci/serving/__pycache__/a.pyc").write_text("2")
    Path("ci/stages.py").write_text("2")
    Path("ci/serving/api.py").touch()
    assert images.content(stand_in) == before
    seen = {before}
    for change in (
        lambda: Path("ci/serving/api.py").write_text("2"),
        lambda: Path("ci/serving/api.py").chmod(0o755),
        lambda: Path("ci/serving/api.py").rename("ci/serving/other.py"),
        lambda: Path("ci/serving/new.py").write_text(""),
        lambda: stand_in.write_text(stand_in.read_text() + "# more\n"),
    ):
        change()
        seen.add(images.content(stand_in))
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("COPY a.txt /tmp/", ["a.txt"]),
        ("copy --chown=1000:1000 a.txt b /x/", ["a.txt", "b/c.txt"]),
        ("COPY --from=packages /opt /opt", []),
        ("COPY a.txt \\\n  b/c.txt /x/", ["a.txt", "b/c.txt"]),
        ("ADD a.txt /x  # why", ["a.txt"]),
        ("# COPY missing /x\nRUN echo COPY missing", []),
    ],
)
def test_what_a_dockerfile_copies_is_read_from_it(machine, line, found):
    Path("b").mkdir()
    for path in ("a.txt", "b/c.txt"):
        Path(path).write_text("x")
    Path("Dockerfile").write_text(f"FROM x\n{line}\n")
    assert [path.as_posix() for path in images.inputs(Path("Dockerfile"))] == found


@pytest.mark.parametrize("source", ["missing.txt", "../outside", "/etc/hostname", "*.txt"])
def test_a_copied_file_that_is_not_there_is_named(machine, source):
    Path("Dockerfile").write_text(f"FROM x\nCOPY {source} /x/\n")
    with pytest.raises(InputError, match=rf"^Dockerfile: COPY {re.escape(source)}: there is no such file"):
        images.content(Path("Dockerfile"))


def test_a_build_that_fails_shows_its_last_lines_and_where_the_rest_is(machine, registry):
    machine.write("docker-build", "Step 3\nERROR: No matching distribution found for keras-tuner==9.9")
    with pytest.raises(
        StageError, match=r"cannot be built from .*keras-tuner==9.9 \(all of it: build/state/images/pipe"
    ):
        ready()
    assert "Step 3" in Path("build/state/images/pipeline.log").read_text()
    (machine.folder / "docker-build").unlink()
    assert ready()


@pytest.mark.parametrize("said", ["write: no space left on device", "405 Method Not Allowed: read-only mode"])
def test_a_registry_that_is_full_or_read_only_is_told(machine, registry, said):
    machine.write("docker-push", f"received unexpected HTTP status: {said}")
    with pytest.raises(StageError, match=rf"does not take .*{said}; is its disk full, or is it read-only\?"):
        ready()
    (machine.folder / "docker-push").unlink()
    assert ready()


def test_a_registry_that_is_down_is_told_before_anything_is_built(machine, monkeypatch):
    monkeypatch.setattr("ci.run.local_registry.HOST", "localhost:1")
    with pytest.raises(StageError, match=r"cannot be reached.*`make doctor`"):
        ready()
    assert "build" not in commands(machine)


def test_an_image_that_is_none_of_ours_is_refused(machine):
    for name in ("gateway", "nothing"):
        with pytest.raises(InputError, match=f"has no image {name} with a dockerfile"):
            images.ready([name], print)


def test_a_build_with_the_stand_in_needs_its_image_too():
    assert images.wanted("tensorflow-serving") == ("pipeline", "tools")
    assert images.wanted("stand-in") == ("pipeline", "tools", "stand-in")


def test_the_gateway_that_docker_has_is_pushed_under_its_own_name(machine, registry):
    program = machine.programs / "docker"
    program.write_text(program.read_text().replace('"image inspect "*) exit 1', '"image inspect "*|"tag "*) exit 0'))
    shutil.copy(PIPELINE, "Dockerfile")
    ready()
    calls = [call for call in machine.calls() if "nginx" in call]
    assert calls == [
        "docker image inspect docker.io/library/nginx:1.28.0",
        f"docker tag docker.io/library/nginx:1.28.0 {registry.host}/library/nginx:1.28.0",
        f"docker push {registry.host}/library/nginx:1.28.0",
    ]
