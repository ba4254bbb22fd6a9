"""The tune command with the real network: what it refuses, and many workers that are killed."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


@pytest.fixture(scope="module")
def prepared(checkout):
    """A fork whose data are prepared."""
    fork = checkout("tuning")
    fork.run("configure", "champion", "prepare")
    return fork


def tune(fork, *overrides, **environment):
    """Start the command in a session of its own, with these settings."""
    configure = [sys.executable, "-m", "scripts.configure", *(f"--set={text}" for text in overrides)]
    subprocess.run(configure, cwd=fork.folder, check=True, capture_output=True)
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.tune"],
        cwd=fork.folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_an_objective_that_keras_does_not_log_is_refused_by_its_key_and_the_names_that_are_logged(prepared):
    process = tune(prepared, "tuning.objective.name=val_nothing")
    said, _ = process.communicate()
    assert process.returncode == 2, said
    assert "tuning.objective.name: val_nothing is not logged: name one of " in said
    assert "val_rmse" in said
    assert "Traceback" not in said


def test_a_port_in_use_is_refused(prepared):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        chief = {"KERASTUNER_TUNER_ID": "chief", "KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
        process = tune(prepared, **chief)
        said, _ = process.communicate()
    assert process.returncode == 2, said
    assert f"KERASTUNER_ORACLE_PORT: 127.0.0.1:{port} is in use" in said


def test_five_kills_among_chief_and_workers_lose_and_repeat_no_trial(prepared):
    process = tune(prepared, "tuning.max_trials=12", "tuning.workers=2", "tuning.strategy=bayesian")
    draw, said = random.Random(0), []
    for _ in range(5):
        for line in process.stdout:
            said.append(line)
            if re.match(r"  trial \d+: ", line):  # it begins
                break
        time.sleep(draw.uniform(0, 4))
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        os.kill(int(draw.choice(children)), signal.SIGKILL)
    said = "".join(said) + process.communicate()[0]
    assert process.returncode == 0, said
    assert said.count("ended with code -9: starting it again") == 5, said
    trials = json.loads(prepared.text("tuning/trials.json"))
    assert len({json.dumps(trial["hyperparameters"], sort_keys=True) for trial in trials}) == len(trials) == 12
    assert all(trial["objective"] is not None for trial in trials)
