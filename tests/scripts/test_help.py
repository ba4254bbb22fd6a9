"""Every command explains itself, quickly and without heavy imports."""

import pkgutil
import subprocess
import sys

import pytest

import scripts

COMMANDS = [module.name for module in pkgutil.iter_modules(scripts.__path__)]
HEAVY = ("tensorflow", "keras", "pandas", "sklearn", "matplotlib", "pulp", "kubernetes", "pydantic", "dvc")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_the_command_does_and_imports_nothing_heavy(name):
    check = (
        "import sys, runpy\n"
        f"sys.argv = ['{name}', '--help']\n"
        f"try: runpy.run_module('scripts.{name}', run_name='__main__')\n"
        f"finally: print('HEAVY', [m for m in {HEAVY} if m in sys.modules], file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: python -m scripts.{name}")
    assert len(result.stdout) > 150
    assert "HEAVY []" in result.stderr


def test_every_stage_has_its_command():
    from ci.stages import STAGES

    assert {stage.module or stage.name for stage in STAGES} <= set(COMMANDS)
