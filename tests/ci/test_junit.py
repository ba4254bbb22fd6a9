"""JUnit files carry numbers, times and failures, whatever the texts contain."""

from xml.etree import ElementTree

from ci.junit import Case, render


def parsed(*cases: Case) -> ElementTree.Element:
    suite = ElementTree.fromstring(render("s", cases)).find("testsuite")  # noqa: S314 - written by us
    assert suite is not None
    return suite


def test_failures_are_counted_and_text_is_escaped():
    suite = parsed(
        Case("g", "a <b>", 'measured "1" & 2'),
        Case("g", "b", "2", problem="too <large>"),
        Case("g", "c", "3", skipped=True),
    )
    assert suite.attrib == {"name": "s", "tests": "3", "failures": "1", "skipped": "1"}
    first, second, third = suite.findall("testcase")
    assert first.attrib["name"] == "a <b>"
    assert first.find("failure") is None
    assert first.find("system-out").text == 'measured "1" & 2'
    assert second.find("failure").attrib["message"] == "too <large>"
    assert third.find("skipped").attrib["message"] == "3"


def test_only_what_took_time_says_how_long():
    with_time, without = parsed(Case("g", "a", "", seconds=0.25), Case("g", "b", "")).findall("testcase")
    assert with_time.attrib["time"] == "0.250"
    assert "time" not in without.attrib


def test_characters_that_xml_forbids_do_not_break_the_document():
    (case,) = parsed(Case("g", "n", "\x1b[31mred\x00\ud800", problem="ended: \x07")).findall("testcase")
    assert case.find("system-out").text == "\ufffd[31mred\ufffd\ufffd"
    assert case.find("failure").attrib["message"] == "ended: \ufffd"
