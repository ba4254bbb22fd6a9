"""Drills of who watches: killed at any moment, and two at once. What is remembered lies on a volume."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ci.capture import records
from ci.data.reference import describe, describe_predictions
from ci.monitoring import cohorts, memory
from ci.releases.machine import MachineLedger
from ci.settings.watching import History
from ci.task import Field
from scripts import configure
from tests import builds
from tests.ci.jenkins.double import TOKEN, Controller, serving
from tests.ci.jenkins.test_client import PARAMETERS
from tests.pods import REPOSITORY

MODEL = """KIND, TARGET, TIME, SLICES, FEATURES = "regression", "y", None, [], {"x": "float32"}\n"""
DAYS, ROWS = 3, 60
FILES = 1 + DAYS + (DAYS - 1) + 1
"""That a look replaces: the windows, each day of requests, each mature day, and what labels came."""
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
import ci.monitoring.monitor, ci.monitoring.labels, ci.data.reference, ci.rollout.place, ci.run.dvc, pyarrow.parquet
from scripts import labels, monitor

volume, before, events = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]

def look(at):
    pid = os.fork()
    if pid == 0:
        left = [at]
        def killed(event, arguments):
            if event in events and str(arguments[0]).startswith(str(volume)):
                if event != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR):
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(killed)
        code = monitor.main(["--captured"]) or labels.main(["--if-any"])
        sys.stdout.flush()
        os._exit(code)
    return os.waitpid(pid, 0)[1]

def content():
    found = [path for path in sorted(volume.rglob("*")) if path.suffix in (".jsonl", ".json", ".parquet")]
    return {str(path): path.read_bytes() for path in found if not path.name.startswith(".")}

def anew():
    shutil.rmtree(volume)
    shutil.copytree(before, volume)

assert look(0) == 0
whole, moment = content(), 1
while True:
    anew()
    status = look(moment)
    if not os.WIFSIGNALED(status):
        break
    assert look(0) == 0, moment
    assert content() == whole, moment
    moment += 1
assert status == 0
print("moments:", moment - 1)
"""


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Controller]]:
    """What outlives a look, with requests that drifted and the outcomes of half of them; and a double of Jenkins."""
    jenkins, where = Controller(), tmp_path / "volume"
    branch = {"name": "main", "displayName": "main", "url": f"{jenkins.public}/job/model-pipeline/job/main/"}
    jenkins.job("/job/model-pipeline/", branches=[branch])
    jenkins.job("/job/model-pipeline/job/main/", PARAMETERS)
    monkeypatch.setenv("JENKINS_USER", "robot")
    monkeypatch.setenv("JENKINS_TOKEN", TOKEN)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.delenv("PIPELINE_SET", raising=False)
    monkeypatch.delenv("BUILD_URL", raising=False)
    today = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    times = [today - timedelta(days=DAYS - n // ROWS, minutes=n % ROWS) for n in range(DAYS * ROWS)]
    asked = pd.DataFrame({records.ID: [f"r{n}" for n in range(len(times))], records.TIME: times})
    asked = asked.assign(**{records.VERSION: "1", records.RELEASE: "a", "x": 0.9, "prediction": 1.9})
    cohorts.keep(where / "history/requests", asked)
    told = pd.DataFrame({"request_id": asked[records.ID][::2], "y": 1.5, "known_at": str(times[-1])})
    (where / "outcomes").mkdir()
    told.to_csv(where / "outcomes/one.csv", index=False)
    with serving(jenkins) as url:
        settings = yaml.safe_load((REPOSITORY / "tests/pipeline.yaml").read_text())
        settings["history"]["folder"], settings["jenkins"] = str(where / "history"), {"url": url}
        settings["labels"] = {"outcomes": str(where / "outcomes"), "into": str(where / "into"), "maturity_days": 1}
        settings["monitoring"]["min_rows"] = 100
        (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(settings))
        yield where, jenkins


def pod(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Make a folder in which a look begins, as a pod does: with code, settings, and what was released."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "model").mkdir()
    (folder / "model/__init__.py").write_text(MODEL)
    shutil.copy(folder.parent / "pipeline.yaml", folder)
    assert configure.main([]) == 0
    release = MachineLedger().add(builds.release())
    x = pd.Series([n / 500 for n in range(500)])
    features = describe(pd.DataFrame({"x": x}), {"x": Field("float32")})
    reference = {"features": features, "predictions": {"prediction": describe_predictions(x + 1.0)}}
    MachineLedger().keep(release["digest"], {"reference.json": json.dumps(reference)})
    return {**os.environ, "PYTHONPATH": f"{folder}:{REPOSITORY}"}


LONG = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("events", "least"),
    [
        pytest.param(["os.rename"], FILES, id="before a file is replaced"),
        pytest.param(["open", "os.rename", "os.remove", "os.mkdir"], 3 * FILES, id="at each step", marks=LONG),
    ],
)
def test_whenever_it_is_killed_the_next_look_finds_the_same_and_nothing_is_lost(
    volume, tmp_path, monkeypatch, events, least
):
    """Once at each such event in the folder of what outlives it."""
    where, _ = volume
    shutil.copytree(where, tmp_path / "before")
    environment = pod(tmp_path / "pod", monkeypatch)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(where), str(tmp_path / "before"), *events],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert int(done.stdout.rpartition("moments: ")[2]) >= least
    history = History(folder=str(where / "history"))
    assert len(memory.watched(history)) == 1
    assert memory.labels(history).read().counts["joined"] == DAYS * ROWS // 2


def test_two_at_once_judge_one_window_and_ask_for_one_build(volume, tmp_path, monkeypatch):
    where, jenkins = volume
    look = "for words in 'monitor --captured' 'labels --if-any' 'retrain --start'; do $PYTHON -m scripts.$words; done"
    both = []
    for name in ("one", "two"):
        environment = {**pod(tmp_path / name, monkeypatch), "PYTHON": sys.executable}
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        both.append(subprocess.Popen(["sh", "-euc", look], cwd=tmp_path / name, env=environment, **pipe))
    said = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert all("monitor: drifted" in each for each in said)
    assert jenkins.started() == 1, said
    history = History(folder=str(where / "history"))
    assert len(memory.watched(history)) == 1
    assert [each.done for each in memory.attempts(history)] == [True]
    assert len(cohorts.read(where / "history/requests")) == DAYS * ROWS
