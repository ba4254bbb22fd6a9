"""JUnit files carry numbers and failures, whatever the texts contain."""

from xml.etree import ElementTree

from ci.quality.junit import Case, render


def test_failures_are_counted_and_text_is_escaped():
    text = render(
        "s",
        [
            Case("g", "a <b>", 'measured "1" & 2'),
            Case("g", "b", "2", problem="too <large>"),
            Case("g", "c", "3", skipped=True),
        ],
    )
    suite = ElementTree.fromstring(text).find("testsuite")  # noqa: S314 - written by us
    assert suite.attrib == {"name": "s", "tests": "3", "failures": "1", "skipped": "1"}
    first, second, third = suite.findall("testcase")
    assert first.attrib["name"] == "a <b>"
    assert first.find("failure") is None
    assert first.find("system-out").text == 'measured "1" & 2'
    assert second.find("failure").attrib["message"] == "too <large>"
    assert third.find("skipped").attrib["message"] == "3"
