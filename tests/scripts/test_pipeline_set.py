"""Overrides that reach `configure` through the environment, in PIPELINE_SET."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ci import parameters
from scripts import configure
from tests.pods import REPOSITORY


@pytest.fixture
def effective(tmp_path, monkeypatch):
    """Return a function that configures with a text in PIPELINE_SET and returns exit code and effective settings."""
    monkeypatch.chdir(tmp_path)

    def run(text, *arguments):
        monkeypatch.setenv("PIPELINE_SET", text)
        code = configure.main(["--file", str(REPOSITORY / "tests/pipeline.yaml"), *arguments])
        written = tmp_path / "build/settings.yaml"
        return code, yaml.safe_load(written.read_text()) if written.exists() else None

    return run


def test_each_line_overrides_one_key(effective):
    code, settings = effective("\n  tuning.max_trials=30\n\n  tuning.strategy=random\r\n  model.name=a\n")
    assert code == 0
    assert (settings["tuning"]["max_trials"], settings["tuning"]["strategy"]) == (30, "random")
    assert settings["model"]["name"] == "a"


@pytest.mark.parametrize("text", ["", "\n", "as_of=\ntuning.max_trials= \n   \n"])
def test_a_line_without_a_value_overrides_nothing(effective, text):
    _, shipped = effective("")
    assert effective(text) == (0, shipped)


def test_the_command_line_wins_over_the_environment(effective):
    _, settings = effective("tuning.max_trials=30", "--set", "tuning.max_trials=31")
    assert settings["tuning"]["max_trials"] == 31


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seed=1\nas_of 2013-07-01", "PIPELINE_SET:2: as_of 2013-07-01: expected KEY=VALUE"),
        ("=3", "expected key=value"),
        ("tuning.max_trials=many", "tuning.max_trials"),
        ("tuning.trials=3", "did you mean tuning.max_trials"),
        ("as_of=$(date)", "as_of"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_written(effective, capsys, text, problem):
    assert effective(text) == (2, None)
    assert problem in capsys.readouterr().err


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1))
def test_a_value_arrives_as_it_was_written(value):
    assert parameters.from_lines(f"\n    data.source={value}\n", "X") == [f"data.source={value}"]
