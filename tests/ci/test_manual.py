"""The table of settings that `scripts.configure --explain` prints."""

from ci.manual import entries, table
from scripts import configure


def explained(key, capsys):
    code = configure.main(["--explain", *key])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_key_is_explained_with_unit_bounds_default_and_meaning(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, table, _ = explained(["data.holdout_days"], capsys)
    assert code == 0
    head, line = table.splitlines()
    assert head.split() == ["key", "unit", "bounds", "default", "meaning"]
    expected = "data.holdout_days days whole, 1 to 366 14 The last days before `as_of`, kept for the test stage."
    assert " ".join(line.split()) == expected


def test_a_section_is_explained_by_its_keys_with_the_defaults_that_the_section_gives_them(capsys):
    code, table, _ = explained(["resources.serving"], capsys)
    assert code == 0
    keys = [line.split()[0] for line in table.splitlines()[1:] if line[0] != " "]
    own = ["cpu", "memory", "extended", "node_labels"]
    own += [f"tolerations[].{key}" for key in ("key", "operator", "value", "effect")]
    assert keys == [f"resources.serving.{key}" for key in own]
    assert "1Gi" in table


def test_without_a_key_all_are_explained(capsys):
    code, table, _ = explained([], capsys)
    assert code == 0
    assert all(entry.key in table for entry in entries())


def test_a_misspelled_key_is_told_with_the_one_that_was_meant(capsys):
    code, _, error = explained(["tunnig.max_trials"], capsys)
    assert (code, error.strip()) == (
        2,
        "bad input: --explain tunnig.max_trials: there is no such key; did you mean tuning.max_trials?",
    )


def test_every_key_has_a_meaning_and_every_number_its_bounds():
    for entry in entries():
        assert entry.meaning.endswith("."), entry.key
        assert entry.bounds, entry.key


def test_no_text_is_lost_on_a_narrow_terminal():
    found = entries()
    assert "".join(table(found, 40).split()).count("Trialsatmost.") == 1
    for entry in found:
        words = "".join(entry.meaning.split())[:12]
        assert words in "".join(table([entry], 40).split())
