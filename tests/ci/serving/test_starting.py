"""What TensorFlow's start leaves in a log."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ci.serving.starting import left_out
from tests.pods import REPOSITORY


def test_a_process_that_loads_and_runs_a_model_says_nothing(tmp_path, plain_model):
    (tmp_path / "requests").write_text('["{\\"instances\\": [{\\"x\\": 1, \\"carrier\\": \\"AA\\", \\"hour\\": 3}]}"]')
    command = [sys.executable, "-m", "ci.serving.offline", plain_model, tmp_path / "requests", tmp_path / "answers"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120)
    assert "predictions" in (tmp_path / "answers").read_text()
    if Path("/dev/nvidiactl").exists():
        return  # what is said of a GPU is worth reading
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_tensorflow_starts_without_keras_which_is_still_there_for_who_asks(tmp_path):
    code = (
        "import sys; from ci.serving.starting import tensorflow; tf = tensorflow()\n"
        "print([name for name in ('keras', 'matplotlib', 'pandas') if name in sys.modules])\n"
        "print(tf.keras.layers.Dense(2)(tf.ones([1, 3])).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["[]", "(1, 2)"], done.stderr


def test_what_else_is_said_is_shown(capfd):
    with left_out(re.compile(rb"[^\n]*noise[^\n]*\n")):
        os.write(2, b"before\nsome noise here\nand a real error\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before\nand a real error\nafter\n"


def test_what_was_said_before_a_failure_is_shown(capfd):
    with pytest.raises(ZeroDivisionError), left_out(re.compile(rb"noise\n")):
        assert os.write(2, b"noise\nwhy it failed\n") / 0
    assert capfd.readouterr().err == "why it failed\n"
