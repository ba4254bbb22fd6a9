"""The configure command: settings in, effective settings out, and every error in a user's words."""

import json
import os
import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from ci import configuration, reading_yaml, workspace
from scripts import configure

GOOD = "schema_version: 1\nas_of: 2013-04-01\nmodel: {name: demo}\n"
ENVIRONMENTS = "environments:\n  staging: {}\n  production:\n"


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


def test_environments_take_what_they_do_not_say_from_the_sections(folder):
    text = "serving: {replicas: 5, overlay: kind}\nrollout: {analysis: {window: 7.0, timeout: 70.0}}\nenvironments:\n"
    more = "  staging: {port: 8601, replicas: 1, analysis: {window: 2.0}}\n  production: {overlay: production}\n"
    Path("pipeline.yaml").write_text(GOOD + text + more)
    assert configure.main(["--set", "environments.production.replicas=9"]) == 0
    first, last = configuration.effective(), configuration.effective("production")
    assert (first.environment, first.serving.port, first.serving.replicas, first.serving.overlay) == (
        "staging", 8601, 1, "kind",
    )  # fmt: skip
    assert (first.rollout.analysis.window, first.rollout.analysis.timeout) == (2.0, 600.0)
    assert (last.environment, last.serving.port, last.serving.replicas, last.serving.overlay) == (
        "production", 8501, 9, "production",
    )  # fmt: skip
    assert last.rollout.analysis.window == 7.0
    assert first.last() == last
    assert last.first() == first


def test_without_environments_nothing_is_written_of_them(folder):
    assert configure.main([]) == 0
    assert "environments" not in workspace.SETTINGS.read_text()
    settings = configuration.effective()
    assert (settings.environment, settings.option, settings.first(), settings.last()) == (None, "", settings, settings)


def test_the_repositorys_own_settings_are_valid():
    configuration.read(Path(__file__).parents[2] / "pipeline.yaml")


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
        (
            GOOD + ENVIRONMENTS + "    contex: x\n",
            [],
            "pipeline.yaml:7: environments.production.contex: there is no such key;",
        ),
        (
            GOOD + ENVIRONMENTS + "    port: 8501\n",
            [],
            "pipeline.yaml:7: environments.production.port: it has the port of staging",
        ),
        (
            GOOD + ENVIRONMENTS + "    context: a\n",
            ["--set", "environments.staging.context=a"],
            "pipeline.yaml:6: environments.production: it has the context and overlay of staging, and would be",
        ),
        (
            GOOD + ENVIRONMENTS + "    analysis: {windw: 3}\n",
            [],
            "environments.production.analysis.windw: there is no such",
        ),
        (
            GOOD + ENVIRONMENTS + "    replicas: 0\n",
            [],
            "pipeline.yaml:7: environments.production.replicas: input should be",
        ),
        *(
            (
                GOOD + ENVIRONMENTS + f"    approval: true\n    approvers: [{name}]\n",
                [],
                ":8: environments.production.approv",
            )
            for name in ("' ada'", "'ada '", '"a\\nb"', "''")
        ),
        (GOOD + ENVIRONMENTS + "    approvers: [ada]\n", [], "approvers are asked only with `approval: true`"),
        (
            GOOD + "environments:\n  production:\n    approval: true\n",
            [],
            "pipeline.yaml:6: environments.production.approval: builds release to the first environment unasked",
        ),
        (
            GOOD + "environments: {Staging: {}}\n",
            [],
            "pipeline.yaml:4: environments.Staging: string should match pattern",
        ),
        (GOOD + "environments: [staging]\n", [], "pipeline.yaml:4: environments: input should be a valid dictionary"),
        (GOOD + "tunning: {}\n", [], "pipeline.yaml:4: tunning: there is no such key; did you mean tuning?"),
        (GOOD + "seed: abc\n", [], "pipeline.yaml:4: seed: input should be a valid integer, found 'abc'"),
        (GOOD + "seed: true\n", [], "pipeline.yaml:4: seed:"),
        (GOOD + "data:\n  holdout_days: 0\n", [], "pipeline.yaml:5: data.holdout_days: input should be greater than"),
        (GOOD.replace("2013-04-01", "soon"), [], "pipeline.yaml:2: as_of: input should be a valid date"),
        (GOOD.replace("demo", "My_Model"), [], "pipeline.yaml:3: model.name:"),
        (GOOD + "seed: 1\nseed: 2\n", [], "pipeline.yaml:5: not valid YAML: the key seed appears twice"),
        (GOOD + "tuning: [1, 2\n", [], "not valid YAML"),
        (GOOD + "x: !!python/object:os.system {}\n", [], "pipeline.yaml:4: not valid YAML: it has a tag"),
        (GOOD + 'seed: !!int ""\n', [], "pipeline.yaml:4: not valid YAML: it has a tag (tag:yaml.org,2002:int)"),
        (GOOD + "as_of: !!timestamp soon\n", [], "not valid YAML: it has a tag"),
        (GOOD + "seed: ! 1\n", [], "not valid YAML: it has a tag (!)"),
        (GOOD + f"seed: {'9' * 5000}\n", [], "pipeline.yaml:4: not valid YAML: a number has 5,000 characters"),
        (GOOD + f"seed: 0x{'f' * 5000}\n", [], "not valid YAML: a number has 5,002 characters"),
        (GOOD + f"seed: 1{':59' * 2000}\n", [], "not valid YAML: a number has 6,001 characters"),
        (GOOD + f"seed: 1{':59' * 200}.5\n", [], "not valid YAML: a number has 603 characters"),
        (GOOD.replace("04-01", "02-30"), [], "pipeline.yaml:2: not valid YAML: 2013-02-30 is no date (day is out of"),
        (
            GOOD + "tuning: {<<: {epochs: 1, epochs: 2}}\n",
            [],
            "pipeline.yaml:4: not valid YAML: the key epochs appears",
        ),
        (GOOD + "1: 2\n", [], "keys should be strings"),
        (GOOD + "model: &x {name: *x}\n", [], "pipeline.yaml:4: not valid YAML: the alias x contains itself"),
        (GOOD + f"x: {'[' * 25_000}\n", [], "pipeline.yaml:4: not valid YAML: it is nested more than 64 deep"),
        (GOOD + f"x: {'{a: ' * 25_000}\n", [], "pipeline.yaml:4: not valid YAML: it is nested more than 64 deep"),
        (GOOD + f"x: {'- ' * 1000}\n", [], "pipeline.yaml:4: not valid YAML"),
        (GOOD + "x: [" + "1, " * 200_000 + "]\n", [], "not valid YAML: it has more than 100,000 values"),
        (GOOD + f"data: {{source: {'x' * 2**20}}}\n", [], "pipeline.yaml: it has more than 1,048,576 bytes"),
        (GOOD + 'data: {source: "\\ud800"}\n', [], "pipeline.yaml:4: not valid YAML"),
        (
            GOOD + 'seed: "\\e[2J\\e]0;x\\a"\n',
            [],
            r"seed: input should be a valid integer, found '\x1b[2J\x1b]0;x\x07'",
        ),
        (GOOD + '"\\e[2J": 1\n', [], r"pipeline.yaml:4: \x1b[2J: there is no such key"),
        ("- 1\n", [], "pipeline.yaml:1: expected keys"),
        ("", [], "schema_version: this key is required"),
        (GOOD.replace("1\n", "2\n", 1), [], "pipeline.yaml:1: schema_version:"),
        (GOOD + "gates:\n  limits:\n    auc: {mn: 0.6}\n", [], "did you mean gates.limits.auc.min?"),
        (GOOD + "gates:\n  limits:\n    auc: {}\n", [], "pipeline.yaml:6: gates.limits.auc: give min, max or both"),
        (GOOD, ["--set", "tuning.max_trials=many"], "--set tuning.max_trials=many: tuning.max_trials:"),
        (GOOD, ["--set", "tunin.epochs=3"], "--set tunin.epochs=3: tunin: there is no such key; did you mean tuning?"),
        (GOOD, ["--set", "seed"], "--set seed: expected key=value"),
        (GOOD, ["--set", "as_of.day=1"], "--set as_of.day=1: as_of is a value, not a section"),
        (GOOD, ["--set", f"seed={'[' * 1000}"], "the value is not valid YAML: it is nested more than 64 deep"),
        (GOOD, ["--set", f"seed={'9' * 5000}"], "the value is not valid YAML: a number has 5,000 characters"),
        (GOOD, ["--set", 'seed=!!int ""'], "the value is not valid YAML: it has a tag"),
        (GOOD, ["--set", "seed=&x [*x]"], "the value is not valid YAML: the alias x contains itself"),
        (GOOD, ["--set", f"{'a.' * 1000}b=1"], "no key has more than 16 parts"),
        (GOOD, ["--set", "\x1b[2J=1"], r"--set \x1b[2J=1: \x1b[2J: there is no such key"),
        (GOOD, ["--set", "seed=[1"], "--set seed=[1: the value is not valid YAML"),
        (GOOD, ["--set", "as_of=2013-13-01"], "the value is not valid YAML: 2013-13-01 is no date (month must be in"),
        (GOOD, ["--file", "nowhere.yaml"], "nowhere.yaml is missing"),
        (GOOD, ["--file", "/dev/zero"], "/dev/zero: this is no plain file"),
        (GOOD, ["--file", "."], ".: this is no plain file"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing_behind(folder, capsys, text, arguments, message):
    Path("pipeline.yaml").write_text(text)
    assert configure.main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not workspace.SETTINGS.exists()


def test_an_alias_counts_as_what_it_stands_for(folder, capsys):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefghij")]
    Path("pipeline.yaml").write_text(GOOD + "\n".join(lines) + "\n")
    assert configure.main([]) == 2
    assert "pipeline.yaml:9: not valid YAML: it has more than 100,000 values" in capsys.readouterr().err


def test_a_section_that_merges_another_may_be_merged_itself_from_anywhere():
    text = "few: &few {a: 1, b: 1}\nx: {y: {z: &more {<<: *few, a: 2}}}\nall: {<<: *more, b: 3}\n"
    values = reading_yaml.parse(text, "test")
    assert (values["x"]["y"]["z"], values["all"]) == ({"a": 2, "b": 1}, {"a": 2, "b": 3})


def test_an_alias_may_be_used(folder):
    Path("pipeline.yaml").write_text(GOOD + "training: &few {epochs: 3}\ntuning: {<<: *few, max_trials: 2}\n")
    assert configure.main([]) == 0
    assert [effective()[name]["epochs"] for name in ("training", "tuning")] == [3, 3]


def test_of_very_many_wrong_keys_ten_are_told_and_the_others_counted(folder, capsys):
    Path("pipeline.yaml").write_text(GOOD + "".join(f"key-{n}: 1\n" for n in range(10_000)))
    assert configure.main([]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [re.search(r"pipeline\.yaml:(\d+): key-", line)[1] for line in told[:-1]] == [str(n) for n in range(4, 14)]
    assert len(told) == 11
    assert told[-1] == "and 9990 keys more"


def test_a_pipe_is_no_settings_file(folder, capsys):
    os.mkfifo("pipe.yaml")
    assert configure.main(["--file", "pipe.yaml"]) == 2
    assert "pipe.yaml: this is no plain file" in capsys.readouterr().err


def test_several_errors_are_reported_at_once(folder, capsys):
    assert configure.main(["--set", "seed=x", "--set", "tuning.epochs=0"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
