"""A settings file of an older structure becomes one of the newest, and only what has changed is changed in it."""

from pathlib import Path
from typing import get_args

import pytest

from ci import migration
from ci.errors import InputError
from ci.settings import Settings
from scripts import configure
from tests.pods import REPOSITORY

OLD = """\
# Mine.
schema_version: 1   # of the template's first release
as_of: 2024-01-01
model:
  name: shop        # as clients know it
trainings: {epochs: 3}
"""
STEPS = {
    1: lambda text: text.replace("\ntrainings:", "\ntraining:"),
    2: lambda text: text.replace("epochs: 3", "epochs: 4"),
}


def test_each_step_is_taken_and_comments_stay():
    found = migration.migrate(OLD, Path("p.yaml"), STEPS, 3)
    changed = OLD.replace("schema_version: 1", "schema_version: 3").replace(
        "trainings: {epochs: 3}", "training: {epochs: 4}"
    )
    assert found == changed
    assert migration.migrate(found, Path("p.yaml"), STEPS, 3) == found
    shown = migration.difference(OLD, found, Path("p.yaml")).splitlines()
    assert [line for line in shown if line[0] in "+-"] == [
        "--- p.yaml",
        "+++ p.yaml, migrated",
        "-schema_version: 1   # of the template's first release",
        "+schema_version: 3   # of the template's first release",
        "-trainings: {epochs: 3}",
        "+training: {epochs: 4}",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("as_of: 2024-01-01\n", "p.yaml: schema_version: give it a line of its own, such as `schema_version: 3`"),
        ("schema_version: 9\n", "p.yaml: schema_version: there is no way from 9 to 3"),
        ("schema_version: 0\n", "p.yaml: schema_version: there is no way from 0 to 3"),
        ("schema_version: [\n", "p.yaml"),
    ],
)
def test_what_cannot_be_migrated_is_told(text, said):
    with pytest.raises(InputError) as error:
        migration.migrate(text, Path("p.yaml"), STEPS, 3)
    assert said in str(error.value)


def test_the_command_shows_what_it_changes_writes_it_once_and_never_what_cannot_be_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(migration.STEPS, 0, STEPS[1])
    old = OLD.replace("1   #", "0   #")
    Path("pipeline.yaml").write_text(old)
    assert configure.main([]) == 2
    told = "0 is of an older structure: `python -m scripts.configure --migrate` makes it 1"
    assert capsys.readouterr().err == f"bad input: pipeline.yaml:2: schema_version: {told}\n"
    assert configure.main(["--migrate"]) == 0
    said = capsys.readouterr().out
    assert "-trainings: {epochs: 3}\n+training: {epochs: 3}\n" in said
    assert said.splitlines()[-1].startswith("configure: pipeline.yaml has schema_version 1 now; commit it, or `git")
    assert Path("pipeline.yaml").read_text() == OLD.replace("trainings", "training")
    assert configure.main(["--migrate"]) == 0
    assert capsys.readouterr().out == "configure: pipeline.yaml has schema_version 1, the newest: nothing to do\n"
    Path("pipeline.yaml").write_text(old + "unknown: 1\n")
    assert configure.main(["--migrate"]) == 2
    assert "unknown: there is no such key" in capsys.readouterr().err
    assert Path("pipeline.yaml").read_text() == old + "unknown: 1\n"


def test_the_settings_take_the_newest_structure_and_so_does_every_example():
    assert get_args(Settings.model_fields["schema_version"].annotation) == (migration.NEWEST,)
    for path in REPOSITORY.glob("**/pipeline.yaml"):
        if not {"build", ".venv"} & set(path.relative_to(REPOSITORY).parts):
            assert migration.migrate(path.read_text(), path) == path.read_text()


def test_settings_of_a_later_time_are_told_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("pipeline.yaml").write_text(OLD.replace("1   #", "7   #"))
    for arguments in ([], ["--migrate"]):
        assert configure.main(arguments) == 2
        assert " 7 " in capsys.readouterr().err
    Path("pipeline.yaml").write_text(OLD)
    assert configure.main(["--set=schema_version=7"]) == 2
    assert "--set schema_version=7: schema_version: 7 is not known here" in capsys.readouterr().err
