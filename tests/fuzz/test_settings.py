"""Settings files and overrides, as `scripts.configure` reads them."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ci import configuration
from scripts import configure
from tests.fuzz.harness import Surface, examples
from tests.fuzz.mutations import RAW, TEXTS, broken, mutated, places, yaml_text
from tests.pods import REPOSITORY

pytestmark = pytest.mark.fuzz

WHOLE = yaml.safe_load(configuration.dump(configuration.read(REPOSITORY / "tests/pipeline.yaml")))
KEYS = sorted({path.removeprefix(".") for path, *_ in places(WHOLE)})
YAML = (
    "&a [*a]", "*a", "&a x", "!!int x", "!!python/name:os.system x", "!x y", "? [a]\n: b", "<<: *a", "{<<: {a: 1}}",
    "|\n x", "---", "...", "%YAML 9.9", "\t", "- - - -", "0x" + "f" * 5000, "1" + ":59" * 3000, "1:1.5", "!!binary x",
    "{", "[", "'", '"', "2001-99-99", "2001-12-14t21:59:43.10-99:99", "=", "~", "0b", "1_", "@x", "`", "\ufeff", "\x85",
    "\u2028", "#", ": :",
)  # fmt: skip


@st.composite
def files(draw: st.DrawFn) -> bytes:
    content = yaml_text(draw(mutated(WHOLE)))
    if draw(st.integers(0, 3)) == 0:
        lines = content.split(b"\n")
        place = draw(st.integers(0, len(lines)))
        piece = draw(st.sampled_from(YAML)).encode(errors="surrogatepass")
        kept = lines[place].partition(b":")[0] + b": " if place < len(lines) and draw(st.booleans()) else b""
        lines[place : place + 1] = [kept + piece]
        content = b"\n".join(lines)
    return draw(broken(content))


@st.composite
def overrides(draw: st.DrawFn) -> str:
    key = draw(st.sampled_from(KEYS) | st.sampled_from(TEXTS) | st.text(max_size=10))
    value = draw(
        st.sampled_from(YAML) | st.sampled_from(TEXTS) | st.sampled_from(sorted(RAW.values())) | st.text(max_size=10)
    )
    return f"{key}={value}"


@given(files())
@examples(400)
def _files(surface: Surface, content: bytes) -> None:
    Path("pipeline.yaml").write_bytes(content)
    surface.command(configure.main)


def test_files(surface: Surface) -> None:
    _files(surface)


@given(st.lists(overrides(), min_size=1, max_size=3))
@examples(400)
def _overrides(surface: Surface, given: list[str]) -> None:
    surface.command(configure.main, *(f"--set={override}" for override in given))


def test_overrides(surface: Surface) -> None:
    Path("pipeline.yaml").write_text(yaml.safe_dump(WHOLE))
    _overrides(surface)
