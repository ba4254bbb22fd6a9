"""What every command shares: how it is interrupted, and what its console can show."""

import ast
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ci.command import patient


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_patient_block_goes_on_after_one_interrupt_and_not_after_two(capfd, number):
    before = signal.getsignal(number)
    with patient("this is tried") as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), number)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err == "interrupted: this is tried; once more ends it at once\n"


def test_a_thread_has_no_signals_to_be_patient_with():
    told = []

    def work():
        with patient("nothing") as interrupted:
            told.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told == [False]


NARROW = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
"""An environment as old build servers have it."""


@pytest.mark.parametrize(
    "environment",
    [NARROW, {**NARROW, "PYTHONIOENCODING": "latin-1"}, {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}],
    ids=["ascii", "latin-1", "C"],
)
def test_no_command_ends_because_its_console_cannot_show_a_character(environment):
    code = (
        "import sys; from ci.command import parser, run; from ci.errors import StageError\n"
        "def stage():\n"
        "    print('expected improvement 0.2 \\u03c3 \\udcff \\U0001f600')\n"
        "    raise StageError('\\u03c3 ends here')\n"
        "parser('about \\u03c3', 'tune').print_help()\n"
        "sys.exit(run(stage))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_", "LANG"))}
    done = subprocess.run([sys.executable, "-c", code], env={**kept, **environment}, capture_output=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.count(rb"\u03c3") == 2
    assert done.stderr == rb"failed: \u03c3 ends here" + b"\n"


def test_what_another_program_says_and_what_a_file_holds_is_never_read_in_the_consoles_encoding():
    root, unsaid = Path(__file__).parents[2], []
    for path in sorted([*root.glob("ci/**/*.py"), *root.glob("scripts/*.py")]):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                options = {word.arg for word in call.keywords}
                wanted = {"text", "universal_newlines"} & options or (call.func.attr == "read_text" and not call.args)
                if wanted and "encoding" not in options:
                    unsaid.append(f"{path.relative_to(root)}:{call.lineno}")
    assert unsaid == [], 'name the encoding there: encoding="utf-8"'
