"""The configure command: settings in, effective settings out, and every error in a user's words."""

import json
from pathlib import Path

import pytest
import yaml

from ci import workspace
from scripts import configure

GOOD = "schema_version: 1\nas_of: 2013-04-01\nmodel: {name: flights}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIPELINE_SET", raising=False)
    Path("pipeline.yaml").write_text(GOOD)
    return tmp_path


def effective():
    return yaml.safe_load(workspace.SETTINGS.read_text())


def test_writes_every_default_out(folder):
    assert configure.main([]) == 0
    assert effective()["tuning"]["strategy"] == "bayesian"
    assert effective()["data"]["holdout_days"] == 14


def test_overrides_reach_nested_keys_with_their_types(folder):
    assert configure.main(["--set", "tuning.max_trials=30", "--set", "as_of=latest", "--set", "seed=7"]) == 0
    assert effective()["tuning"]["max_trials"] == 30
    assert effective()["as_of"] == "latest"


def test_the_effective_settings_are_read_back_as_they_are(folder):
    configure.main([])
    first = workspace.SETTINGS.read_bytes()
    assert configure.main(["--file", str(workspace.SETTINGS)]) == 0
    assert workspace.SETTINGS.read_bytes() == first


def test_the_shipped_settings_are_valid(folder):
    assert configure.main(["--file", str(Path(__file__).parents[2] / "pipeline.yaml")]) == 0


def test_the_schema_describes_every_field(folder, capsys):
    assert configure.main(["--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    sections = [schema, *schema["$defs"].values()]
    for section in sections:
        for name, field in section["properties"].items():
            assert field.get("description") or "$ref" in field, f"{section.get('title')}.{name} has no description"
    assert not workspace.SETTINGS.exists()


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (
            GOOD + "tuning:\n  max_trial: 3\n",
            [],
            "pipeline.yaml:5: tuning.max_trial: there is no such key; did you mean",
        ),
        (GOOD + "tunning: {}\n", [], "pipeline.yaml:4: tunning: there is no such key; did you mean tuning?"),
        (GOOD + "seed: abc\n", [], "pipeline.yaml:4: seed: input should be a valid integer, found 'abc'"),
        (GOOD + "seed: true\n", [], "pipeline.yaml:4: seed:"),
        (GOOD + "data:\n  holdout_days: 0\n", [], "pipeline.yaml:5: data.holdout_days: input should be greater than"),
        (GOOD.replace("2013-04-01", "soon"), [], "pipeline.yaml:2: as_of: input should be a valid date"),
        (GOOD.replace("flights", "My_Model"), [], "pipeline.yaml:3: model.name:"),
        (GOOD + "seed: 1\nseed: 2\n", [], "pipeline.yaml:5: not valid YAML: the key seed appears twice"),
        (GOOD + "tuning: [1, 2\n", [], "not valid YAML"),
        (GOOD + "x: !!python/object:os.system {}\n", [], "not valid YAML"),
        ("- 1\n", [], "pipeline.yaml:1: expected keys"),
        ("", [], "schema_version: this key is required"),
        (GOOD.replace("1\n", "2\n", 1), [], "pipeline.yaml:1: schema_version:"),
        (GOOD + "gates:\n  limits:\n    auc: {mn: 0.6}\n", [], "did you mean gates.limits.auc.min?"),
        (GOOD + "gates:\n  limits:\n    auc: {}\n", [], "pipeline.yaml:6: gates.limits.auc: give min, max or both"),
        (GOOD, ["--set", "tuning.max_trials=many"], "--set tuning.max_trials=many: tuning.max_trials:"),
        (GOOD, ["--set", "tunin.epochs=3"], "--set tunin.epochs=3: tunin: there is no such key; did you mean tuning?"),
        (GOOD, ["--set", "seed"], "--set seed: expected key=value"),
        (GOOD, ["--set", "as_of.day=1"], "--set as_of.day=1: as_of is a value, not a section"),
        (GOOD, ["--set", "seed=[1"], "--set seed=[1: the value is not valid YAML"),
        (GOOD, ["--set", "as_of=2013-13-01"], "--set as_of=2013-13-01: the value is not valid YAML: month must be in"),
        (GOOD, ["--file", "nowhere.yaml"], "nowhere.yaml is missing"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing_behind(folder, capsys, text, arguments, message):
    Path("pipeline.yaml").write_text(text)
    assert configure.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not workspace.SETTINGS.exists()


def test_several_errors_are_reported_at_once(folder, capsys):
    assert configure.main(["--set", "seed=x", "--set", "tuning.epochs=0"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
