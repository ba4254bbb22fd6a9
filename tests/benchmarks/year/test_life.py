"""A policy's life, apart from its builds: commands at a time, answers, the inbox, and going on after a kill."""

import json
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pandas as pd
import pytest

from benchmarks.year import __main__ as year
from benchmarks.year import life
from benchmarks.year.traffic import KNOWN, ROW, TARGET, WEEK
from tests import repositories

FIRST = date(2013, 4, 8)
NOW = datetime(2013, 4, 15, 1, tzinfo=UTC)


@pytest.fixture
def loop(tmp_path):
    made = life.Loop("loop", tmp_path, "demo", (), print)
    (made.place.folder / "build").mkdir(parents=True)
    return made


def test_a_command_gets_the_time_and_its_exit_code_and_seconds_come_back(loop, monkeypatch):
    monkeypatch.setenv("PIPELINE_SET", "seed=3")
    (loop.place.folder / "told.py").write_text(
        "import os, sys\nsum(range(10**7))\nprint(os.environ['PIPELINE_NOW'], 'PIPELINE_SET' in os.environ)\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    code, seconds = loop.place.run("told", "3", now=NOW)
    assert code == 3
    assert 0.05 < seconds < 20
    assert "2013-04-15T01:00:00+00:00 False" in loop.place.log.read_text()
    with pytest.raises(SystemExit, match=r"year: told ended with exit code 1: see the end of .*loop\.log"):
        loop.place.must("told", "1", now=NOW)


def test_a_week_that_was_broken_off_begins_again_from_what_the_week_before_left(loop):
    state = loop.place.folder / "build/state.json"
    state.write_text("of the week before")
    loop.recover(FIRST)  # it was not begun
    assert state.read_text() == "of the week before"
    life.copy(loop.place.folder, loop.kept(FIRST))
    state.write_text("half of this week")
    (loop.place.folder / "more").touch()
    for _ in range(2):  # and the recovery may be broken off as well
        loop.recover(FIRST)
        assert state.read_text() == "of the week before"
        assert not (loop.place.folder / "more").exists()
        (loop.place.folder / "build/state.json").unlink()
    loop.recover(FIRST + WEEK)  # the copy of another week is no copy of this one
    assert not state.exists()


def test_what_a_killed_year_has_left_running_is_ended_and_nothing_else(loop, tmp_path):
    inside, outside = (
        subprocess.Popen([sys.executable, "-c", "input()"], cwd=folder, stdin=subprocess.PIPE)
        for folder in (loop.place.folder, tmp_path)
    )
    try:
        loop.place.stop()
        assert inside.wait(30) == -9
        assert outside.poll() is None
    finally:
        for each in (inside, outside):
            each.kill()
            each.communicate()


def test_each_outcome_is_delivered_once_after_it_became_known_and_lies_there_for_some_weeks(loop, tmp_path):
    (tmp_path / "traffic").mkdir()
    (tmp_path / "traffic/task.json").write_text(json.dumps({"target": "late"}))
    weeks = [date(2013, 4, 1) + n * WEEK for n in range(8)]
    for first in weeks:
        asked = pd.Timestamp(first, tz="UTC") + pd.to_timedelta(range(6), unit="D") + timedelta(hours=12)
        known = asked + pd.to_timedelta([0.1, 9.9, 3, 10, 6, 8], unit="D")
        table = pd.DataFrame({ROW: [f"{first}/{n}" for n in range(6)], TARGET: [0, 1, 0, 1, None, 1], KNOWN: known})
        table.to_parquet(tmp_path / f"traffic/{first}.parquet", index=False)
    seen = []
    inbox = loop.place.folder / "build/outcomes"
    for first in weeks:
        end = first + WEEK
        loop.deliver(end, life.at(end))
        loop.deliver(end, life.at(end))  # as after a kill
        found = pd.read_parquet(inbox / f"{end}.parquet")
        assert list(found.columns) == [ROW, "late", KNOWN]
        assert (found[KNOWN] <= pd.Timestamp(life.at(end))).all()
        seen += list(found[ROW])
    assert len(list(inbox.iterdir())) == life.INBOX
    assert len(seen) == len(set(seen))
    assert {name for name in seen if name < "2013-05-06"} == {f"{first}/{n}" for first in weeks[:5] for n in range(6)}


class Answering(BaseHTTPRequestHandler):
    """A served model that answers with the place of each row."""

    def do_POST(self):
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]["x"]
        body = json.dumps({"outputs": [n / 10 for n in range(len(rows))]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Say nothing."""


def test_a_weeks_answers_are_kept_by_row_and_as_a_gateway_captures_them(loop, tmp_path):
    (tmp_path / "traffic").mkdir()
    asked = {"id": "2013-04-08", "time": "2013-04-08T12:00:00+00:00", "body": json.dumps({"inputs": {"x": [1.0, 2.0]}})}
    alone = {**asked, "id": "2013-04-09", "body": json.dumps({"inputs": {"x": [3.0]}})}
    (tmp_path / f"traffic/{FIRST}.jsonl").write_text(f"{json.dumps(asked)}\n{json.dumps(alone)}\n")
    ledger = loop.place.folder / "build/state/serving/releases.jsonl"
    ledger.parent.mkdir(parents=True)
    ledger.write_text(json.dumps({"version": "7", "digest": "sha256:ab", "as_of": "2013-04-01"}) + "\n")
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        loop.place.port = server.server_port
        result = loop.ask(FIRST)
        server.shutdown()
    assert result["as_of"] == "2013-04-01"
    found = pd.read_parquet(loop.lived(f"{FIRST}.parquet"))
    assert found.to_dict("list") == {
        ROW: ["2013-04-08/0", "2013-04-08/1", "2013-04-09"],
        "prediction": [0.0, 0.1, 0.0],
    }
    first = json.loads((loop.place.folder / "build/captured.jsonl").read_text().splitlines()[0])
    assert (first["id"], first["version"], first["release"]) == ("2013-04-08", "7", "sha256:ab")


def test_a_month_that_was_finished_goes_on_in_its_own_checkout(tmp_path):
    monthly = life.Monthly("monthly", tmp_path, "demo", (), print)
    monthly.recover(date(2013, 4, 29))
    assert monthly.place.folder == tmp_path / "monthly"
    for first, more in (("2013-04-29", {"checkout": "monthly-2013-05"}), ("2013-05-06", {})):
        life.write(monthly.lived(f"{first}.json"), more)
    monthly.recover(date(2013, 5, 13))
    assert monthly.place.folder == tmp_path / "monthly-2013-05"


def test_two_do_not_live_the_same_year(tmp_path):
    with (
        year.alone(tmp_path),
        pytest.raises(SystemExit, match="is being lived by another process"),
        year.alone(tmp_path),
    ):
        pass


def test_a_task_takes_the_place_of_the_trees_own(tmp_path, monkeypatch):
    base, task = tmp_path / "base", tmp_path / "task"
    for folder in (base, task):
        (folder / "model").mkdir(parents=True)
        (folder / "model/__init__.py").write_text(folder.name)
        (folder / "pipeline.yaml").write_text(folder.name)
    (base / "model/old.py").touch()
    monkeypatch.chdir(base)
    repositories.git("init", "-q")
    repositories.git("add", "-A")
    repositories.git("commit", "-qm", "one")
    year.swap(base, task)
    assert repositories.git("status", "--porcelain") == ""
    assert repositories.git("ls-files").split() == ["model/__init__.py", "pipeline.yaml"]
    assert (base / "pipeline.yaml").read_text() == "task"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--task", "nope"], "bad input: --task nope: nope/model/__init__.py is missing: name a folder with model/"),
        (["--task", "half"], "bad input: --task half: half/pipeline.yaml is missing"),
        (["--figures", "--folder", "new"], "bad input: --figures: no year was begun in "),
        (["--weeks", "-1"], "argument --weeks: -1 is no number of weeks: give 1 or more"),
        (["--weeks", "0"], "argument --weeks: 0 is no number of weeks"),
        (["--weeks", "two"], "argument --weeks: two is no number of weeks"),
    ],
)
def test_what_cannot_be_lived_is_refused_and_leaves_nothing(tmp_path, monkeypatch, capsys, given, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half/model").mkdir(parents=True)
    (tmp_path / "half/model/__init__.py").touch()
    try:
        code = year.main(given)
    except SystemExit as ended:  # of the parser
        code = ended.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["half"]
