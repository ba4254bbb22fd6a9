"""What holds for every input: words and an exit code, no traceback, nothing written outside, and bounds."""

import contextlib
import io
import os
import re
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings

from ci.errors import InputError, StageError

FACTOR = float(os.environ.get("FUZZ_FACTOR", "1"))
"""How many times the quick run's inputs are tried."""
MEMORY = 2**30
"""Bytes that a surface may take beyond what the process had before."""
SECONDS = 20.0
"""Time of the processor that one input may take."""
SAID = 50_000
"""Characters that one command may say."""


def examples(quick: int) -> settings:
    """Return the settings of a surface: how many inputs it tries, always the same ones."""
    return settings(
        max_examples=max(1, round(quick * FACTOR)),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )


@dataclass
class Surface:
    """The figures of a surface, and the folder that its inputs may change."""

    folder: Path
    """The commands run in `folder / "work"`; nothing else of it may change."""
    inputs: int = 0
    codes: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0

    def command(self, main: Callable[[list[str]], int], *arguments: str) -> str:
        """Run a command, which must end in order, and return what it said."""
        said = io.StringIO()
        with self.bounded(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = main(list(arguments))
            except SystemExit as error:  # the parser of arguments
                code = error.code if isinstance(error.code, int) else 1
        text = said.getvalue()
        assert code in (0, 1, 2), f"exit code {code}: {text[-1000:]}"
        assert "Traceback" not in text, text[-3000:]
        assert len(text) < SAID, f"it said {len(text)} characters"
        assert code == 0 or not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text), ascii(text)
        self.codes[code] = self.codes.get(code, 0) + 1
        return text

    def read(self, call: Callable[[], object]) -> None:
        """Call a function that reads something: it returns, or says what is wrong."""
        with self.bounded():
            try:
                call()
                code = 0
            except InputError:
                code = 2
            except StageError:
                code = 1
        self.codes[code] = self.codes.get(code, 0) + 1

    @contextlib.contextmanager
    def bounded(self) -> Iterator[None]:
        """Try one input: it may take so much time, and write nothing outside its folder."""
        begin = time.process_time()
        yield
        taken = time.process_time() - begin
        self.inputs += 1
        self.seconds += taken
        assert taken < SECONDS, f"it took {taken:.1f} s"
        beside = sorted(path.name for path in self.folder.iterdir())
        assert beside == ["precious", "work"], f"it wrote beside its folder: {beside}"
        assert (self.folder / "precious").read_text() == "precious"
        assert not Path("escaped").exists(), "a text was taken for a command"


@contextlib.contextmanager
def limited() -> Iterator[Callable[[], int]]:
    """Limit the memory of this process for a while; yields a function that returns the largest use so far, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")  # the largest use counts anew
    before, (soft, hard) = _status("VmRSS"), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + 2 * MEMORY, hard))
    try:
        yield lambda: _status("VmHWM") - before
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024
