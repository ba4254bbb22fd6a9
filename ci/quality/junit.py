"""Gates and checks as a JUnit file, which Jenkins shows as tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree


@dataclass(frozen=True)
class Case:
    """One test case: its group, its name, what was measured, the problem if it failed, or that it did not pass only."""

    group: str
    name: str
    measured: str
    problem: str | None = None
    skipped: bool = False


def render(suite: str, cases: Sequence[Case]) -> str:
    """Return a JUnit document with one test case each."""
    root = ElementTree.Element("testsuites")
    failures = sum(case.problem is not None for case in cases)
    node = ElementTree.SubElement(root, "testsuite", name=suite, tests=str(len(cases)), failures=str(failures))
    node.set("skipped", str(sum(case.skipped for case in cases)))
    for case in cases:
        entry = ElementTree.SubElement(node, "testcase", classname=f"{suite}.{case.group}", name=case.name)
        if case.problem is not None:
            ElementTree.SubElement(entry, "failure", message=case.problem)
        if case.skipped:
            ElementTree.SubElement(entry, "skipped", message=case.measured)
        ElementTree.SubElement(entry, "system-out").text = case.measured
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
