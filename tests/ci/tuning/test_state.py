"""A search's state on disk: whole, checked, of this version."""

import json

import pytest

from ci.errors import InputError
from ci.tuning import state

FILES = (state.FILE, state.LAST_GOOD)


def test_what_was_saved_last_is_loaded(tmp_path):
    assert state.load(tmp_path) is None
    for number in (1, 2, 3):
        state.save(tmp_path, {"number": number})
    assert state.load(tmp_path) == {"number": 3}
    assert sorted(path.name for path in tmp_path.iterdir()) == [state.FILE, state.LAST_GOOD]


@pytest.mark.parametrize("damage", [lambda t: t[: len(t) // 2], lambda t: t.replace("2", "7", 1), lambda _: "[]"])
def test_damage_is_said_and_the_state_before_it_used(tmp_path, capsys, damage):
    for number in (1, 2):
        state.save(tmp_path, {"number": number})
    path = tmp_path / state.FILE
    document = json.loads(path.read_text())
    text = damage(document["content"])
    path.write_text(json.dumps({**document, "content": text}))
    assert state.load(tmp_path) == {"number": 1}
    assert f"{path} is damaged (its checksum is wrong), and is" in capsys.readouterr().out
    state.save(tmp_path, {"number": 3})  # what is damaged never takes the place of what is good
    assert [json.loads(json.loads((tmp_path / name).read_text())["content"])["number"] for name in FILES] == [3, 1]


def test_state_of_another_version_is_refused_and_says_how_to_start_afresh(tmp_path):
    state.save(tmp_path, {"number": 1})
    path = tmp_path / state.FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": state.VERSION + 1}))
    with pytest.raises(InputError, match=f"version {state.VERSION + 1}, not {state.VERSION}; to start afresh, delete"):
        state.load(tmp_path)


def test_a_state_that_others_work_on_is_told_from_one_that_is_free(tmp_path):
    assert not state.taken(tmp_path / "search", wait=0.0)
    with state.lock(tmp_path / "search"):
        assert state.taken(tmp_path / "search", wait=0.1)
    assert not state.taken(tmp_path / "search", wait=0.0)
