"""What a task declares in `model/`, changed to values that nobody would write on purpose."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci import task
from tests.fuzz.harness import Surface, examples

pytestmark = pytest.mark.fuzz

NAMES = ("KIND", "TARGET", "TIME", "FEATURES", "SLICES")
GOOD = {
    "KIND": '"binary"',
    "TARGET": '"late"',
    "TIME": '"day"',
    "FEATURES": '{"x": "float32"}',
    "SLICES": '("origin",)',
}
VALUES = (
    "None", "1", "1.5", '""', '"late"', '"day"', '"x"', '"binary"', '"\\ud800"', '"\\x1b[2J"', "[]", "[1]",
    "['late']", "{}", "{1: 2}", "{'x': 'float64'}", "{'x': None}", "{'x': ['float32']}", "{None: 'string'}",
    "{'late': 'float32'}", "()", "{'day': 'string'}", "(None,)", "('late',)", "(('a',),)", "{'a'}", "object()",
    "lambda: 1", "float('nan')", "b'late'", "'x' * 10**6", "type('T', (str,), {})('late')",
    "type('D', (dict,), {})(x='string')", "range(3)", "1 / 0", "undefined", "exit(3)", "open('/nowhere')",
    "(lambda f: f(f))(lambda f: f(f))", "{str(n): 'float32' for n in range(9)}", "(", "'", "yield", "import",
    "('x', 'origin')", "'regression'",
)  # fmt: skip


@pytest.fixture
def importable(surface: Surface, monkeypatch: pytest.MonkeyPatch) -> Iterator[Surface]:
    """Import `model/` from the surface's folder, and forget it afterwards."""
    known = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "model"}
    _forget()
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield surface
    _forget()
    sys.modules.update(known)


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "model"]:
        del sys.modules[name]


def test_declarations(importable: Surface) -> None:
    Path("model").mkdir()
    Path("model/__init__.py").write_text("\n".join(f"{name} = {value}" for name, value in GOOD.items()) + "\n")
    assert task.load().targets == ("late",)

    @given(
        st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), min_size=1, max_size=3),
        st.sampled_from(("", *NAMES)),
    )
    @examples(150)
    def each(changes: dict[str, str], without: str) -> None:
        lines = [f"{name} = {value}" for name, value in {**GOOD, **changes}.items() if name != without]
        Path("model/__init__.py").write_text("\n".join(lines) + "\n", errors="surrogatepass")
        _forget()
        importable.read(task.load)

    each()
