"""Bad input at the command line: the right exit code, one message that says what to mend, nothing half-written."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ci import workspace
from ci.command import run
from ci.lineage import file_digest
from ci.releases.machine import MachineLedger
from ci.results.evaluation import Evaluation
from ci.run import order as pipeline
from scripts import champion, configure, deploy, evaluate, monitor, package, place, prepare, retrain, train, tune
from tests import builds, commands, tasks

LEDGER = MachineLedger()

REPOSITORY = builds.REPOSITORY
DIGEST = f"sha256:{'ab' * 32}"
EVALUATED = workspace.EVALUATION / "evaluation.json"


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    """A folder with the tiny task, so that it is not a fork's own that is read, and settings, configured."""
    tasks.make(tmp_path, monkeypatch, capsys)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    shutil.copy(REPOSITORY / "tests/pipeline.yaml", "pipeline.yaml")
    assert configure.main([]) == 0
    return tmp_path


def left(folder: Path) -> set[str]:
    """Return the files below a folder, by which what is half-written would show."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tuning: {max_trial: 3}", "pipeline.yaml:4: tuning.max_trial: there is no such key; did you mean tuning.max_"),
        ("seed: many", "pipeline.yaml:4: seed: input should be a valid integer, found 'many'"),
        ("tuning: {epochs: 0}", "pipeline.yaml:4: tuning.epochs: input should be greater than or equal to 1, found 0"),
        ("tuning: [", "pipeline.yaml:5: not valid YAML"),
    ],
)
def test_a_wrong_setting_ends_the_pipeline_with_2_and_leaves_nothing(tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    Path("pipeline.yaml").write_text(f"schema_version: 1\nas_of: 2013-04-01\nmodel: {{name: a}}\n{change}\n")
    done = commands.run("pipeline")
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"bad input: configure: {message}")
    assert left(tmp_path) == {"pipeline.yaml"}


@pytest.mark.parametrize(
    ("main", "message"),
    [
        (champion.main, "dvc.yaml is missing: run in the repository's folder"),
        (tune.main, "build/data/train.parquet is missing: run `python -m scripts.prepare` first"),
        (train.main, "build/tuning/best.json is missing: run `python -m scripts.tune` first"),
        (evaluate.main, "build/data/holdout.parquet is missing: run `python -m scripts.prepare` first"),
        (package.main, "build/data/summary.json is missing: run `python -m scripts.prepare` first"),
        (deploy.main, "build/package/SHA256SUMS is missing: run `python -m scripts.package` first"),
        (monitor.main, "nothing was released yet: run `python -m scripts.deploy` first"),
        (retrain.main, "build/monitoring/monitoring.json is missing: run `python -m scripts.monitor` first"),
    ],
)
def test_a_stage_without_its_input_says_which_command_writes_it(folder, capsys, main, message):
    before = left(folder)
    capsys.readouterr()
    assert main([]) == 2
    assert capsys.readouterr().err.startswith(f"bad input: {message}")
    assert left(folder) - {"build/state/serving/lock"} == before


@pytest.mark.parametrize("main", [champion, prepare, tune, train, evaluate, package, place, deploy, monitor, retrain])
def test_no_stage_runs_before_configure(tmp_path, monkeypatch, capsys, main):
    monkeypatch.chdir(tmp_path)
    assert main.main([]) == 2
    assert "build/settings.yaml is missing: run `python -m scripts.configure` first" in capsys.readouterr().err
    assert left(tmp_path) == set()


SCHEMA = """\
import pandera.pandas as pa

def missing(share):
    name = f"missing share at most {share}"
    return pa.Check(lambda column: column.isna().mean() <= share, ignore_na=False, name=name)

SCHEMA = pa.DataFrameSchema({
    "day": pa.Column("datetime64[ns]", coerce=True),
    "x": pa.Column("float64", missing(0.2), nullable=True),
    "k": pa.Column("int64"),
    "c": pa.Column(str, pa.Check.isin(["a", "b", "c"]), metadata={"tolerated": 0.01}),
    "y": pa.Column("float64", missing(0.5), nullable=True),
})
"""


@pytest.fixture
def small(tmp_path, monkeypatch, capsys):
    """The tiny task, with a strict schema and a source of named columns."""
    made = tasks.make(tmp_path, monkeypatch, capsys)
    made.write("schema.py", SCHEMA)
    made.write(
        "data.py", tasks.DATA.replace("(source)\n", '(source)[["day", "x", "k", "c", "y"]].astype({"y": float})\n')
    )
    return made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="y"), "bad input: data.source: table.pickle: "),
        (lambda rows: rows.assign(c="??"), "column c: isin("),
        (lambda rows: rows.assign(k="far"), "column k: should be of type ('int64')"),
        (lambda rows: rows.assign(x=rows["x"].where(rows.index % 5 < 3)), "column x: missing share"),
        (lambda rows: rows.head(0), "bad input: model.data.load gave no rows"),
        (lambda rows: rows.assign(y=None), "column y: missing share at most 0.5"),
    ],
)
def test_a_damaged_source_is_refused_by_column_and_leaves_no_data(small, change, message):
    code, said = small.prepare(change=change)
    assert code == 2
    assert "bad input: " in said
    assert message in said


def test_drift_is_measured_from_the_training_rows(small):
    from ci import task
    from ci.data.reference import describe

    assert small.prepare()[0] == 0
    train = pd.read_parquet(workspace.DATA / "train.parquet")
    assert json.loads((workspace.DATA / "reference.json").read_text()) == describe(train, task.load().features)


def test_a_few_rows_with_an_unknown_value_are_told_of_and_used(small):
    code, said = small.prepare(change=lambda rows: rows.assign(c=rows["c"].where(rows.index % 200 > 0, "zz")))
    assert code == 0
    assert "prepare: tolerated: column c: isin(" in said
    assert "such as zz" in said
    violations = json.loads((workspace.DATA / "schema.json").read_text())["violations"]
    assert [(found["column"], found["fatal"], found["examples"]) for found in violations] == [("c", False, ["zz"])]


@pytest.mark.parametrize(
    ("as_of", "message"),
    [
        ("2030-01-01", "as_of: 2030-01-01 lies outside the data, which reach from 2024-01-01 to 2024-03-10"),
        ("2024-01-06", "as_of: 2024-01-06 leaves 0 training days"),
    ],
)
def test_an_as_of_that_leaves_no_days_keeps_the_data_of_before(small, as_of, message, capsys):
    assert small.prepare()[0] == 0
    before = (workspace.DATA / "summary.json").read_bytes()
    assert configure.main([f"--set=as_of={as_of}"]) == 0
    capsys.readouterr()
    assert prepare.main([]) == 2
    assert message in capsys.readouterr().err
    assert (workspace.DATA / "summary.json").read_bytes() == before


def test_a_split_without_labels_is_refused(small):
    code, said = small.prepare(change=lambda rows: rows.assign(y=rows["y"].where(rows["day"] < "2024-02-10")))
    assert code == 2
    assert said.endswith("bad input: as_of: 2024-02-20 leaves no labelled rows for holdout; choose another as_of\n")


def test_data_of_the_tasks_own_that_are_missing_are_named(small, capsys):
    small.write("data.py", 'def load(source):\n    raise FileNotFoundError("the package shop is not installed")\n')
    assert configure.main(["--set=data.source=null"]) == 0
    assert prepare.main([]) == 2
    assert "bad input: the task's own data: the package shop is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"verdict": "maybe", "reason": 1}', b"\xff"])
@pytest.mark.parametrize(
    ("main", "path", "stage"),
    [
        (package.main, "data/summary.json", "prepare"),
        (retrain.main, "monitoring/monitoring.json", "monitor"),
        (deploy.main, "evaluation/evaluation.json", "evaluate"),
        (deploy.main, "champion.json", "champion"),
    ],
)
def test_a_damaged_result_names_its_file_and_the_command_that_writes_it(
    folder, monkeypatch, capsys, main, path, stage, content
):
    builds.write("champion.json", None)
    builds.write("evaluation/evaluation.json", builds.evaluation())
    monkeypatch.setattr("ci.packaging.package.verify", lambda *_: {"image": {"digest": DIGEST}, "version": "1"})
    Path("build", path).parent.mkdir(parents=True, exist_ok=True)
    Path("build", path).write_bytes(content)
    capsys.readouterr()
    assert main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"bad input: build/{path}")
    assert f"run `python -m scripts.{stage}` to write it again" in said


@pytest.mark.parametrize("path", ["evaluation/evaluation.json", "package/manifest.json", "rollout/rollout.json"])
def test_the_report_names_a_damaged_result(folder, capsys, path):
    builds.leave()
    Path("build", path).write_text("{}")
    from scripts import report

    assert report.main([]) == 2
    assert f"bad input: build/{path}" in capsys.readouterr().err
    assert not workspace.REPORT.exists()


def test_a_report_that_cannot_be_written_does_not_hide_why_the_build_failed(folder):
    builds.write("evaluation/evaluation.json", "damaged")
    done = commands.run("pipeline", "monitor", "report")
    assert done.returncode == 2
    assert "no report: report: build/evaluation/evaluation.json: " in done.stdout
    assert done.stderr.splitlines()[-1].startswith("bad input: monitor: nothing was released yet")
    assert "Traceback" not in done.stdout + done.stderr


def test_a_truncated_table_names_the_command_that_writes_it(folder, capsys):
    builds.leave()
    whole = Path("build/evaluation/predictions.parquet").read_bytes()
    workspace.DATA.mkdir(exist_ok=True)
    Path("build/data/train.parquet").write_bytes(whole[: len(whole) // 2])
    builds.write("tuning/best.json", builds.trial("0", {}, 0.5))
    from ci.training.inputs import prepared

    assert run(lambda: prepared("train") is None) == 2
    said = capsys.readouterr().err
    assert "build/data/train.parquet: not a whole Parquet file" in said
    assert "run `python -m scripts.prepare` to write it again" in said


@pytest.mark.parametrize(
    ("inventory", "code", "message"),
    [
        ('{"items": [', 2, "bad.json: not a JSON file"),
        ('{"items": [{"kind": "Node", "metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "x"}}}]}', 2, "'x'"),
    ],
)
def test_a_malformed_inventory_is_refused_with_its_place(folder, capsys, inventory, code, message):
    for name in ("ci", "k8s"):  # which pods there are to place is read first
        Path(name).symlink_to(REPOSITORY / name)
    Path("bad.json").write_text(inventory)
    assert place.main(["--inventory", "bad.json"]) == code
    assert message in capsys.readouterr().err
    assert not workspace.PLACEMENT.exists()


@pytest.mark.parametrize(
    ("verdict", "code", "message"),
    [
        ("promote", 0, ""),
        ("keep", 0, ""),
        ("block", 1, "failed: the model is blocked: auc 0.5, required at least 0.6; nothing is deployed"),
    ],
)
def test_only_a_blocked_model_ends_the_pipeline(capsys, verdict, code, message):
    told = builds.evaluation(verdict=verdict, reason="auc 0.5, required at least 0.6")
    evaluation = Evaluation.model_validate_json(json.dumps(told))
    assert run(lambda: pipeline.go_on(evaluation)) == code
    assert capsys.readouterr().err.strip() == message


def test_a_retraining_keeps_the_overrides_of_the_build(folder, capsys):
    assert configure.main(["--set=tuning.max_trials=3", "--set=as_of=2013-04-01", "--set=data.source=a b"]) == 2
    Path("a b").mkdir()
    assert configure.main(["--set=tuning.max_trials=3", "--set=as_of=2013-04-01", "--set=data.source=a b"]) == 0
    window = {"first": "2013-04-01", "end": "2013-05-01"}
    builds.write("monitoring/monitoring.json", builds.monitoring("drifted", window=window))
    LEDGER.add(builds.release(digest=DIGEST))
    capsys.readouterr()
    assert retrain.main([]) == 0
    expected = "--set=tuning.max_trials=3 '--set=data.source=a b' --set=as_of=2013-05-01"
    assert json.loads((workspace.RETRAINING / "decision.json").read_text())["command"].endswith(expected)
    assert expected in capsys.readouterr().out


def test_deploy_refuses_when_another_release_serves_than_the_model_was_compared_with(folder, monkeypatch, capsys):
    shutil.copy(REPOSITORY / "dvc.yaml", "dvc.yaml")
    monkeypatch.setattr("ci.lineage.inputs_digest", lambda: "now")
    image = {"digest": f"sha256:{'ef' * 32}"}
    builds.write("evaluation/evaluation.json", builds.evaluation())
    manifest = {"image": image, "version": "2", "digests": {"evaluation": file_digest(EVALUATED)}}
    monkeypatch.setattr("ci.packaging.package.verify", lambda *_: manifest)
    monkeypatch.setattr("ci.rollout.attempt._serving", lambda *_, **__: "release 1 serves")
    builds.write("champion.json", None)
    LEDGER.add(builds.release(digest=DIGEST))
    assert deploy.main([]) == 1
    said = capsys.readouterr().err
    assert "failed: not deployed: this model was compared with nothing, but release 1 serves now: rebuild" in said


def test_deploy_refuses_a_package_that_was_not_made_from_this_evaluation(folder, monkeypatch, capsys):
    """A blocked model's package would be deployed by the verdict on the next build's model."""
    builds.write("evaluation/evaluation.json", builds.evaluation(verdict="block"))
    manifest = {"image": {"digest": DIGEST}, "version": "2", "digests": {"evaluation": file_digest(EVALUATED)}}
    monkeypatch.setattr("ci.packaging.package.verify", lambda *_: manifest)
    builds.write("evaluation/evaluation.json", builds.evaluation())
    builds.write("champion.json", None)
    for arguments in ([], ["--dry-run"]):
        assert deploy.main(arguments) == 1
        assert "failed: build/package was not made from build/evaluation/evaluation.json" in capsys.readouterr().err
    assert LEDGER.read() == []


def test_prepared_data_without_rows_or_without_a_column_are_damaged(small, capsys):
    from ci.training.inputs import prepared

    whole = tasks.table().head(2).assign(y=1.0)
    path = workspace.DATA / "holdout.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    for table, problem in (
        (whole.iloc[:0], "no rows"),
        (whole.drop(columns="c"), "no column c"),
        (whole.drop(columns="day"), "no column day"),
        (whole.assign(c=5), "column c: declared as string in FEATURES"),
        (whole.assign(x="warm"), "column x: declared as float32 in FEATURES"),
        (whole.assign(k=0.5), "column k: declared as int64 in FEATURES"),
        (whole.assign(y=2.0), "column y: declared as TARGET"),
        (whole.assign(day="today"), "column day: declared as TIME"),
    ):
        table.to_parquet(path)
        assert run(lambda: prepared("holdout") is None) == 2
        said = capsys.readouterr().err
        assert f"bad input: {path}: {problem}" in said
        assert "run `python -m scripts.prepare` to write it again" in said
    whole.to_parquet(path)
    assert prepared("holdout").count == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("gates.limits={auc: {min: .nan}}", "gates.limits.auc.min"),
        ("gates.limits={auc: {min: .inf}}", "gates.limits.auc.min"),
        ("gates.slice_margin=.inf", "gates.slice_margin"),
        ("gates.limits={auc: {min: 0.9, max: 0.1}}", "min must not be more than max"),
        ("gates.limits={[a]: {min: 1}}", "a key must be a name"),
        ("as_of=2013-W14-1", "as_of"),
    ],
)
def test_settings_that_would_fail_after_the_training_or_never_are_refused_before(folder, capsys, override, message):
    assert configure.main(["--set", override]) == 2
    assert message in capsys.readouterr().err


def test_an_alias_that_contains_itself_is_no_settings_file(folder, capsys):
    Path("endless.yaml").write_text("model: &x {name: *x}\n")
    assert configure.main(["--file", "endless.yaml"]) == 2
    assert "endless.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["settings.yaml", "champion.json", "card.md", "source.json"])
def test_a_folder_where_a_file_should_be_is_named_and_leaves_nothing_behind(folder, monkeypatch, capsys, name):
    shutil.rmtree("build", ignore_errors=True)
    (Path("build") / name).mkdir(parents=True)
    command = champion if name == "champion.json" else configure
    if command is champion:
        assert configure.main([]) == 0
        monkeypatch.setattr("ci.lineage.inputs_digest", lambda: "now")
    assert command.main([]) == 1
    assert f"failed: build/{name}" in capsys.readouterr().err.replace(f".{name}.part", name)
    assert not list(Path("build").glob(".*"))


def test_the_hint_for_a_port_in_use_works(folder, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert configure.main([f"--set=serving.port={port}"]) == 0
        from ci import configuration
        from ci.errors import InputError
        from ci.rollout.local.servers import Local

        with pytest.raises(InputError, match="then this command again") as error:
            Local(configuration.effective().serving.port, 1.0, LEDGER).reserve("sha256:x", force=False)
        hint = str(error.value).split("`")[1].split()[3:]
        with socket.create_server(("127.0.0.1", 0)) as other:
            free = other.getsockname()[1]
        assert configure.main([part.replace("PORT", str(free)) for part in hint]) == 0
        Local(configuration.effective().serving.port, 1.0, LEDGER).reserve("sha256:x", force=False)


def test_make_passes_values_with_spaces_by_the_environment_and_others_by_set(folder):
    shutil.copy(REPOSITORY / "Makefile", "Makefile")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY)}

    def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        line = ["make", "--no-print-directory", "-o", ".venv/.ready", "ci", *arguments]
        return subprocess.run(line, env={**environment, **variables}, capture_output=True, text=True, check=False)

    done = make(PIPELINE_SET="model.name=two words\n")
    assert done.returncode == 2
    assert "--set model.name=two words: model.name: " in done.stderr
    done = make("SET=seed=x tuning.epochs=0")
    assert "--set seed=x: seed:" in done.stderr
    assert "--set tuning.epochs=0: tuning.epochs:" in done.stderr


@pytest.fixture
def task(tmp_path, monkeypatch):
    """A folder with the small task of the end-to-end tests, prepared, and a function that spoils its network."""
    shutil.copytree(REPOSITORY / "tests/e2e/fork", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIPELINE_SET", raising=False)
    for name in ("configure", "prepare"):
        assert commands.run_warm(name).returncode == 0

    def spoil(before: str, after: str) -> None:
        network = Path("model/network.py")
        text = network.read_text()
        assert before in text
        network.write_text(text.replace(before, after))

    return spoil


@pytest.mark.slow
def test_a_network_without_hyperparameters_is_refused_by_the_search(task):
    task("width = hp.Int", "width = 8 or hp.Int")
    task("activation = hp.Choice", "activation = 'relu' or hp.Choice")
    task("learning_rate = hp.Float", "learning_rate = 1e-2 or hp.Float")
    done = commands.run_warm("tune")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("bad input: model/network.py: build declares no hyperparameters")
    assert "Traceback" not in done.stderr
    assert not workspace.TUNING.exists()


@pytest.mark.slow
def test_a_loss_that_is_no_number_fails_search_and_training_and_keeps_the_model_of_before(task):
    task('loss="mse"', "loss=lambda wanted, found: (wanted - found) * float('nan')")
    done = commands.run_warm("tune")
    assert done.returncode == 1
    assert "\nfailed: the search ended early: 3 trials failed in a row:" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("its val_rmse was nan")
    assert "Traceback" not in done.stderr
    assert not workspace.TUNING.exists()
    chosen = {"width": 8, "activation": "relu", "learning_rate": 0.01}
    builds.write("tuning/best.json", builds.trial("0", chosen, 0.5))
    builds.write("model/training.json", "of before")
    done = commands.run_warm("train")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("failed: the loss became NaN in epoch 1")
    assert "Traceback" not in done.stderr
    assert left(workspace.MODEL) == {"training.json"}
