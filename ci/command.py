"""What every stage command shares: a parser made from its docstring, and errors turned into exit codes."""

import argparse
import io
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Protocol

from ci.errors import InputError, StageError

RESTORE_ONLY = "PIPELINE_RESTORE_ONLY"
"""Variable that forbids the cached stages to compute: their results are restored, or they fail."""
NOT_COMPUTED = "no build has computed this from these inputs yet"
_LONGEST = 2000
"""Characters of a line of a message that are shown."""
_SHOWN = 3
"""Problems of one kind that are printed, where they may be many."""


def parser(module_doc: str | None, name: str) -> argparse.ArgumentParser:
    """Return a parser whose help is the command's docstring, and make the console ready for it (see `console`).

    Args:
        module_doc: the command's `__doc__`.
        name: the command's module below `scripts`, such as `tune`.
    """
    console()
    return argparse.ArgumentParser(
        prog=f"python -m scripts.{name}",
        description=module_doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def environment(arguments: argparse.ArgumentParser, otherwise: str = "the first") -> None:
    """Add the option that names one of the environments in pipeline.yaml.

    Args:
        arguments: the command's.
        otherwise: what the command is about without it.
    """
    what = f"one of `environments` in pipeline.yaml ({otherwise})"
    arguments.add_argument("--environment", metavar="NAME", type=lambda text: text or None, help=what)


class Main(Protocol):
    """A command's `main`."""

    def __call__(self, argv: list[str] | None = None) -> int:
        """Run it with these arguments, or with the process's own, and return its exit code."""


def command(module_doc: str | None, stage: Callable[[], int | None]) -> Main:
    """Return the `main` of a command without arguments.

    Args:
        module_doc: the command's `__doc__`.
        stage: what it does; it has the name of the command's module.
    """

    def main(argv: list[str] | None = None) -> int:
        parser(module_doc, stage.__name__).parse_args(argv)
        return run(stage)

    return main


def console() -> None:
    """Make printing safe: a character that the console cannot show is shown by its number, instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def seconds(text: str) -> float:
    """Return a command-line argument as a time to wait, in seconds."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no time to wait: give seconds, 0 or more")
    return value


def may_compute() -> None:
    """Make sure that a cached stage may compute here.

    Raises:
        StageError: only results of other builds are wanted here.
    """
    if os.environ.get(RESTORE_ONLY):
        raise StageError(NOT_COMPUTED)


def end_in_order() -> None:
    """Let SIGTERM, which a build server sends to what it aborts, end this command as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def patient(what: str) -> Iterator[Callable[[], bool]]:
    """Finish a block although Ctrl-C or SIGTERM interrupts it; a second interruption ends it at once.

    Yields a function that returns whether the block was interrupted. `what` tells people what is being finished.
    """
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if seen:
            signal.default_int_handler(number, frame)
        seen.append(number)
        with suppress(OSError):  # not by print: this may have come in the middle of one
            os.write(2, f"interrupted: {what}; once more ends it at once\n".encode())

    if threading.current_thread() is not threading.main_thread():  # signals come to no other
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def printable(text: str) -> str:
    """Return text without control characters other than line ends, and with long lines cut."""
    lines = (line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…" for line in text.split("\n"))
    shown = "\n".join(lines)
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in shown)


def listed(name: str, problems: Sequence[str], what: str) -> None:
    """Print the first problems of many, and how many more there are, as findings that do not stop a command.

    Args:
        name: the command's.
        problems: in words.
        what: the problems are about, such as `rows`.
    """
    for problem in problems[:_SHOWN]:
        print(f"{name}: {printable(problem)}")
    if more := len(problems[_SHOWN:]):
        print(f"{name}: and {more} more {what}")


PREFIXES = ("bad input: ", "failed: ")
"""How the message of a stage begins that ended badly: by what the user gave, or by anything else."""


def run(stage: Callable[[], int | None]) -> int:
    """Run a stage and return its exit code: 0 done, 1 failed, 2 bad input, 130 interrupted.

    Only the two expected errors and errors of the system are caught. Anything else is a fault in this repository and
    keeps its traceback.
    """
    try:
        return stage() or 0
    except InputError as error:
        print(f"{PREFIXES[0]}{printable(str(error))}", file=sys.stderr)
        return 2
    except StageError as error:
        print(f"{PREFIXES[1]}{printable(str(error))}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder where a file should be, a right that is missing
        where = f"{error.filename}: " if error.filename else ""
        print(f"{PREFIXES[1]}{printable(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command again to continue", file=sys.stderr)
        return 130
