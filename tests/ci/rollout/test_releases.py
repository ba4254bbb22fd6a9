"""Releases and the champion."""

import json
from pathlib import Path

import pytest

from ci.errors import StageError
from ci.rollout import releases

A, B = (f"sha256:{letter * 64}" for letter in "ab")
FIRST = {"digest": A, "version": "1", "as_of": "2013-04-01", "inputs": "i1", "champion": None}
SECOND = {
    "digest": B, "version": "2", "as_of": "2013-05-01", "inputs": "i2",
    "champion": {"digest": A, "version": "1", "as_of": "2013-04-01", "release": 1},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_releases_are_numbered_and_the_last_one_serves() -> None:
    assert releases.last() is None
    releases.add(FIRST)
    assert releases.add(SECOND) == {"release": 2, **SECOND}
    assert releases.read() == [{"release": 1, **FIRST}, {"release": 2, **SECOND}]
    assert releases.last() == {"release": 2, **SECOND}


@pytest.mark.parametrize(
    ("released", "inputs", "expected"),
    [
        ([], "i1", None),
        ([FIRST], "i1", None),
        ([FIRST], "i2", {"digest": A, "version": "1", "as_of": "2013-04-01", "release": 1}),
        ([FIRST, SECOND], "i2", SECOND["champion"]),
        ([FIRST, SECOND], "i1", {"digest": B, "version": "2", "as_of": "2013-05-01", "release": 2}),
    ],
)
def test_the_champion_is_what_serves_unless_that_was_built_from_these_inputs(
    released: list[dict[str, object]], inputs: str, expected: object
) -> None:
    for release in released:
        releases.add(release)
    assert releases.champion(releases.last(), inputs) == expected


def test_a_damaged_record_is_an_error_that_names_the_file() -> None:
    releases.add(FIRST)
    releases.RECORDS.write_text('{"release": 1')
    with pytest.raises(StageError, match=r"releases\.jsonl:1: not JSON .*delete it to begin anew"):
        releases.last()


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"release": None}, "release"),
        ({"release": {}}, "release"),
        ({"release": True}, "release"),
        ({"as_of": "soon"}, "as_of"),
        ({"as_of": "0001-01-01"}, "as_of"),
        ({"digest": "../../etc"}, "digest"),
        ({"version": "1/../2"}, "version"),
        ({"champion": [1]}, "champion"),
        ({"champion": {**SECOND["champion"], "digest": 5}}, "champion.digest"),
        ({"model": "m/../../x"}, "model"),
        ({"weather": 1}, "weather"),
    ],
)
def test_a_release_with_an_odd_value_names_file_line_and_key(change: dict[str, object], key: str) -> None:
    releases.add(FIRST)
    line = json.dumps({"release": 2, **SECOND, **change})
    releases.RECORDS.write_text(releases.RECORDS.read_text() + line + "\n")
    with pytest.raises(StageError, match=rf"releases\.jsonl:2: {key}: .*restore it, or delete it to begin anew"):
        releases.read()


@pytest.mark.parametrize("line", [b"\xff", b'"\\ud800"', b"[" * 100_000, b"9" * 5000, b"[1]", b"null", b""])
def test_a_line_that_is_no_release_is_named(line: bytes) -> None:
    releases.add(FIRST)
    releases.RECORDS.write_bytes(releases.RECORDS.read_bytes() + line + b"\n")
    with pytest.raises(StageError, match=r"releases\.jsonl:2: "):
        releases.last()
