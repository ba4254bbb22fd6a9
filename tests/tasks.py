"""A tiny task in a folder of its own, for tests of what reads `model/`: a field of each type, 70 days of 4 rows."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scripts import configure, prepare

AS_OF = "2024-02-20"
SETTINGS = f"""\
schema_version: 1
as_of: {AS_OF}
model: {{name: tiny}}
data: {{source: table.pickle, holdout_days: 10, training_days: 60, validation_every: 5, traffic_days: 10}}
"""
INIT = """\
KIND = "binary"
TARGET = "y"
TIME = "day"
FEATURES = {"x": "float32", "k": "int64", "c": "string"}
SLICES = ("c",)
"""
DATA = "import pandas as pd\n\n\ndef load(source):\n    return pd.read_pickle(source)\n"
SCHEMA = (
    'import pandera.pandas as pa\n\nSCHEMA = pa.DataFrameSchema({"day": pa.Column("datetime64[ns]", coerce=True)})\n'
)


def table() -> pd.DataFrame:
    """Return 280 rows of 70 days from 2024-01-01 on."""
    days = pd.Series(pd.date_range("2024-01-01", periods=70).repeat(4), name="day").reset_index(drop=True)
    row = days.index.to_series()
    return pd.DataFrame(
        {"day": days, "x": (row % 7) / 4, "k": row % 5, "c": [*"abca"] * 70, "y": (row % 3 == 0).astype("int64")}
    )


@dataclass
class Task:
    """The task's folder, which is the current one, and what the command says there."""

    folder: Path
    capture: pytest.CaptureFixture[str]

    def write(self, name: str, text: str) -> None:
        """Write a file below `model/`."""
        (self.folder / "model" / name).write_text(text)

    def forget(self) -> None:
        """Let the task's modules be imported anew."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "model"]:
            del sys.modules[name]

    def prepare(self, rows: Any = None, change: Callable[[pd.DataFrame], Any] = lambda rows: rows) -> tuple[int, str]:
        """Prepare a table, by default this module's, changed; return exit code and what was said."""
        pd.to_pickle(change(table() if rows is None else rows), self.folder / "table.pickle")
        self.forget()
        self.capture.readouterr()
        if code := configure.main([]):
            said = self.capture.readouterr()
            return code, said.out + said.err
        self.capture.readouterr()
        code = prepare.main([])
        said = self.capture.readouterr()
        assert (code == 0) == (self.folder / "build/data").exists()
        assert not list((self.folder / "build").glob(".*"))
        return code, said.out + said.err


def make(folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> Task:
    """Make the tiny task the current folder; its modules take the place of the shipped ones."""
    patch.chdir(folder)
    patch.delenv("PIPELINE_SET", raising=False)
    patch.setattr(sys, "dont_write_bytecode", True)
    patch.syspath_prepend(folder)
    parts = ["model", *(f"model.{part}" for part in ("behaviour", "data", "features", "network", "schema"))]
    for name in {*parts, *(name for name in sys.modules if name.partition(".")[0] == "model")}:
        patch.setitem(sys.modules, name, sys)  # so that what is there now comes back afterwards, or nothing
        del sys.modules[name]
    (folder / "model").mkdir()
    (folder / "pipeline.yaml").write_text(SETTINGS)
    made = Task(folder, capture)
    for name, text in {"__init__.py": INIT, "data.py": DATA, "schema.py": SCHEMA}.items():
        made.write(name, text)
    return made
