"""Gates, checks and steps as a JUnit file, which Jenkins shows as tests."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document may have (XML 1.0, section 2.2), such as the escapes that colour a server's log."""


@dataclass(frozen=True)
class Case:
    """One test case.

    Attributes:
        group: its class, below the suite.
        name: unique in its group.
        measured: what was measured, in words.
        problem: why it failed, None if it did not.
        skipped: it did not pass, but this is not a failure.
        seconds: how long it took, None if that does not matter.
    """

    group: str
    name: str
    measured: str
    problem: str | None = None
    skipped: bool = False
    seconds: float | None = None


def render(suite: str, cases: Sequence[Case]) -> str:
    """Return a JUnit document with one test case each."""
    root = ElementTree.Element("testsuites")
    failures = sum(case.problem is not None for case in cases)
    node = ElementTree.SubElement(root, "testsuite", name=suite, tests=str(len(cases)), failures=str(failures))
    node.set("skipped", str(sum(case.skipped for case in cases)))
    for case in cases:
        entry = ElementTree.SubElement(node, "testcase", classname=f"{suite}.{case.group}", name=_text(case.name))
        if case.seconds is not None:
            entry.set("time", f"{case.seconds:.3f}")
        if case.problem is not None:
            ElementTree.SubElement(entry, "failure", message=_text(case.problem))
        if case.skipped:
            ElementTree.SubElement(entry, "skipped", message=_text(case.measured))
        ElementTree.SubElement(entry, "system-out").text = _text(case.measured)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
