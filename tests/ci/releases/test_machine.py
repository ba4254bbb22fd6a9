"""Releases and the champion."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci import workspace
from ci.errors import InputError, StageError
from ci.releases import ledger, machine
from ci.releases.ledger import target, withdrawn
from ci.releases.machine import MachineLedger
from tests import builds
from tests.ci.rollout import journals

LEDGER = MachineLedger()

A, B = (f"sha256:{letter * 64}" for letter in "ab")
FIRST = builds.release(digest=A, inputs="i1")
SECOND = builds.release(
    digest=B,
    version="2",
    as_of="2013-05-01",
    inputs="i2",
    champion={"digest": A, "version": "1", "as_of": "2013-04-01", "release": 1},
)


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_releases_are_numbered_and_the_last_one_serves() -> None:
    assert LEDGER.last() is None
    LEDGER.add(FIRST)
    assert LEDGER.add(SECOND) == {"release": 2, **SECOND}
    assert LEDGER.read() == [{"release": 1, **FIRST}, {"release": 2, **SECOND}]
    assert LEDGER.last() == {"release": 2, **SECOND}


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
        LEDGER.add(release)
    assert ledger.champion(LEDGER.last(), inputs) == expected


def line(**changes: object) -> bytes:
    return json.dumps({"release": 2, **SECOND, **changes}).encode()


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (b'{"release": 2', "not JSON"),
        (b"", "not JSON"),
        (b"null", "Input should be"),
        (b"[]", "Input should be"),
        (line(as_of="yesterday"), "as_of: "),
        (line(as_of=20130401), "as_of: "),
        (line(release=None), "release: "),
        (line(release={"number": 2}), "release: "),
        (line(release="2"), "release: "),
        (line(release=1), "release: it is 1, where release 2 should be"),
        (line(release=3), "release: it is 3, where release 2 should be"),
        (line(digest="sha256:../../etc"), "digest: "),
        (line(digest=None), "digest: "),
        (line(champion="a"), "champion"),
        (line(champion={**FIRST, "release": 1}), "champion"),
        (line(version=2), "version: "),
        (line(surprise=1), "surprise: "),
        (line(inputs="i2").replace(b"i2", b"\xff"), "not UTF-8"),
        (line(inputs="i2").replace(b"i2", b"\\ud800"), "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_damaged_record_is_an_error_that_names_file_line_and_key(second: bytes, said: str) -> None:
    LEDGER.add(FIRST)
    machine.RECORDS.write_bytes(machine.RECORDS.read_bytes() + second + b"\n" + line(release=3))
    with pytest.raises(StageError, match=r"releases\.jsonl:2: ") as error:
        LEDGER.last()
    assert said in str(error.value)


def many(letters: str, most: int) -> tuple[list[ledger.Release], list[ledger.Release]]:
    """Releases from their images' letters (`a<2`: in place of release 2), and what is left of them in so many bytes."""
    parts = [part.partition("<") for part in letters.split()]
    found = [
        {"release": number, **journals.release(letter), **({"instead_of": int(of)} if of else {})}
        for number, (letter, _, of) in enumerate(parts, 1)
    ]
    return found, ledger.compacted(found, most)


def numbers(found: list[ledger.Release]) -> list[int]:
    return [release["release"] for release in found]


ONE = len(json.dumps(many("a", 0)[0][0]))


@pytest.mark.parametrize(
    ("letters", "room", "left"),
    [
        ("a b c d", 4, [1, 2, 3, 4]),
        ("a b c d", 3, [2, 3, 4]),
        ("a b c d", 0, [3, 4]),  # what serves, and what a rollback goes back to
        ("a b a b c", 3, [3, 4, 5]),  # an image that was released again needs its newest record only
        ("c a b a b d", 4, [1, 4, 5, 6]),
        ("a b c b<3", 0, [1, 4]),  # c was rolled back: a is what a rollback would go back to
        ("a", 0, [1]),
    ],
)
def test_the_oldest_records_that_nobody_needs_go(letters: str, room: int, left: list[int]) -> None:
    found, kept = many(letters, room * (ONE + 20))
    assert numbers(kept) == left
    assert ledger.compacted(kept, room * (ONE + 20)) == kept
    assert target(kept, None) == target(found, None)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), min_size=1, max_size=12), st.integers(0, 12))
def test_what_is_left_tells_the_same_about_rollbacks_champion_and_images(
    made: list[tuple[str, bool]], room: int
) -> None:
    letters = [f"{letter}<{n}" if back and n else letter for n, (letter, back) in enumerate(made)]
    found, kept = many(" ".join(letters), room * (ONE + 20))
    assert kept[-1] == found[-1]
    assert target(kept, None) == target(found, None)
    assert withdrawn(kept).items() <= withdrawn(found).items()
    if room > len({each["digest"] for each in found}) + len(withdrawn(found)):
        assert withdrawn(kept) == withdrawn(found)
        assert ledger.kept(kept, 5) == ledger.kept(found, 5)


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
    LEDGER.add(FIRST)
    line = json.dumps({"release": 2, **SECOND, **change})
    machine.RECORDS.write_text(machine.RECORDS.read_text() + line + "\n")
    with pytest.raises(StageError, match=rf"releases\.jsonl:2: {key}: .*restore it, or delete it to begin anew"):
        LEDGER.read()


@pytest.mark.parametrize("line", [b"\xff", b'"\\ud800"', b"[" * 100_000, b"9" * 5000, b"[1]", b"null", b""])
def test_a_line_that_is_no_release_is_named(line: bytes) -> None:
    LEDGER.add(FIRST)
    machine.RECORDS.write_bytes(machine.RECORDS.read_bytes() + line + b"\n")
    with pytest.raises(StageError, match=r"releases\.jsonl:2: "):
        LEDGER.last()


def test_one_command_at_a_time_may_change_what_serves_here() -> None:
    for _ in range(2):
        with machine.alone():
            with pytest.raises(StageError, match="another deploy, serve or stop is under way here"), machine.alone():
                pass
            assert not LEDGER.read()


@pytest.mark.parametrize(
    ("letters", "count", "kept"),
    [("", 1, ""), ("a", 1, "a"), ("a b c", 1, "c"), ("a b c", 2, "bc"), ("a b a", 2, "ab"), ("a b c", 9, "abc")],
)
def test_the_images_of_the_last_releases_are_kept_one_that_was_released_twice_once(
    letters: str, count: int, kept: str
) -> None:
    found, _ = many(letters, 10**6)
    assert ledger.kept(found, count) == {journals.release(letter)["digest"] for letter in kept}


def test_what_the_last_release_was_compared_with_is_kept_too() -> None:
    found = [{"release": 1, **FIRST}, {"release": 2, **FIRST, "digest": f"sha256:{'c' * 64}"}, {"release": 3, **SECOND}]
    assert ledger.kept(found, 1) == {A, B}
    assert ledger.kept(found[:2], 1) == {f"sha256:{'c' * 64}"}


def test_the_evidence_of_a_release_has_a_folder_by_its_digest() -> None:
    assert LEDGER.evidence(A) == Path("build/state/serving/releases") / ("a" * 64)


def test_a_record_of_no_bytes_keeps_nothing_of_nothing() -> None:
    assert ledger.compacted([], 0) == []
    found, _ = many("a b", 10**6)
    size = len(json.dumps(found))
    assert ledger.compacted(found, size) == found


def test_what_is_left_has_the_room_that_there_is_to_the_byte() -> None:
    found, _ = many("a b c d e", 10**6)
    whole, one = len(json.dumps(found)), len(json.dumps(found[:1]))
    assert ledger.compacted(found, whole + 2) == found
    for most in range(2 * one, whole + 3):
        kept = ledger.compacted(found, most)
        assert len(json.dumps(kept)) <= most
        assert len(json.dumps(kept)) > most - one - 5 or kept == found, "no more goes than must"


def test_a_version_is_read_once_from_its_evidence() -> None:
    place = MachineLedger()
    manifest = builds.manifest(image={"reference": "localhost/models/demo:1", "digest": A, "base": None})
    golden = {"instances": [{"x": 1.0}], "predictions": [0.5]}
    for name, value in (("manifest.json", manifest), ("golden.json", golden)):
        workspace.write_json(place.evidence(A) / name, value)
    found = place.version(A)
    workspace.remove(place.evidence(A))
    assert place.version(A) is found
    with pytest.raises(InputError, match=r"manifest\.json is missing"):
        place.version(B)
