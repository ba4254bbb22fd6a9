"""The model card: what is cited is shown with its file; what is not cited stops the build."""

import contextlib
import shutil
from pathlib import Path

import pytest

from ci import workspace
from ci.errors import InputError
from ci.packaging import card
from scripts import package as command
from tests import builds

HOLDOUT = '{{ cite("build/data/summary.json", "rows", "holdout") }}'
WORDS = f"## Intended use\n\nTo know {HOLDOUT} things.\n\n## Limits\n\nNone.\n"


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """A folder with a build, made once."""
    folder = tmp_path_factory.mktemp("left")
    with contextlib.chdir(folder):
        builds.leave()
    return folder


@pytest.fixture(autouse=True)
def _build(left, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(left, tmp_path, dirs_exist_ok=True)


def packaged(words: bytes) -> None:
    """Leave everything that the package stage reads, with these words for the card."""
    shutil.rmtree(workspace.PACKAGE)
    workspace.write_bytes(workspace.CARD, words)
    model = workspace.MODEL / "saved_model"
    model.mkdir()
    (model / "saved_model.pb").write_bytes(b"graph")
    workspace.write_json(workspace.MODEL / "signature.json", {"inputs": {"x": "DT_FLOAT"}, "outputs": {"late": {}}})
    for name in ("golden.json", "reference.json"):
        workspace.write_json(workspace.EVALUATION / name, {})
    Path("dvc.yaml").write_text("stages: {}\n")
    Path("requirements.txt").write_text("numpy==2.4.6\n")


def render(words: str) -> str:
    return card.render(words, "model/card.md", Path)


def test_every_line_with_a_number_names_the_files_it_was_read_from():
    text = render(WORDS)
    assert "To know 140 things.[^" in text
    head, _, notes = text.rpartition("\n\n")
    for line in head.splitlines():
        if any(character.isdigit() for character in line):
            assert "[^" in line, line
    assert "`build/data/summary.json` sha256:" in notes
    assert {line.split("]")[0] for line in notes.splitlines()} == {f"[^{n + 1}" for n in range(len(notes.splitlines()))}


def test_the_card_says_what_the_evaluation_found():
    text = render(WORDS)
    assert "| auc | 0.7000 | 0.6500 | 0.7500 | [^" in text
    assert "**Verdict: promote.** auc 0.0200 better than the champion's[^" in text
    assert "| carrier UA | 70 | 0.7000 |" in text


def test_each_class_and_each_number_has_its_own_scores():
    labels = [{"name": f"label{n}", "rows": n, "precision": n / 8, "recall": n / 16, "auc": None} for n in (1, 2)]
    numbers = [{"name": f"in_{n}_h", "rows": n, "rmse": n / 8, "mae": n / 16} for n in (1, 2)]
    builds.change("evaluation/evaluation.json", classes={"labels": labels, "numbers": numbers})
    text = render(WORDS)
    assert "| label1 | 1 | 0.1250 | 0.0625 | – | – | – | [^" in text
    assert "| label2 | 2 | 0.2500 | 0.1250 | – | – | – | [^" in text
    assert "| in_1_h | 1 | – | – | – | 0.1250 | 0.0625 | [^" in text
    assert "| in_2_h | 2 | – | – | – | 0.2500 | 0.1250 | [^" in text


def test_what_cannot_be_computed_is_said_in_words():
    why = "every outcome is 1"
    nothing = {**dict.fromkeys(("value", "low", "high")), "problem": why}
    gate = {"name": "auc", "value": None, "threshold": 0.6, "side": "min", "margin": None, "passed": False}
    part = {**nothing, "column": "carrier", "slice": "UA", "rows": 70, "gain": None, "worse": False}
    metrics = {"auc": nothing, "log_loss": builds.METRIC}
    builds.change("evaluation/evaluation.json", metrics=metrics, gates=[gate], slices=[part], comparison=None)
    text = render(WORDS)
    assert f"| auc | cannot be computed: {why} | – | – | [^" in text
    assert f"| carrier UA | 70 | cannot be computed: {why} | – | – | [^" in text
    assert "| auc | – | min 0.6 | – | [^" in text
    assert "| log_loss | 0.7000 | 0.6500 | 0.7500 | [^" in text
    assert not {"nan", "None"} & set(text.split())


def test_equal_evidence_gives_equal_bytes():
    assert render(WORDS) == render(WORDS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (WORDS.replace("None.", "Wrong in 7 of 100 cases."), "model/card.md:7: the number 7 has no source"),
        (WORDS.replace("None.", "About ½ of the cases."), "model/card.md:7: the number ½ has no source"),
        (WORDS.replace("None.", '{{ cite("model") }}'), "model/card.md:7: cite('model') names no value"),
        (WORDS.replace("None.", "\ue0000\ue0007\ue001"), "a character of the private use area"),
        (WORDS.replace("None.", HOLDOUT.replace(")", ', form="99.9 %")')), "a form may have no number of its own"),
        (WORDS.replace("None.", HOLDOUT + HOLDOUT), "a cited number touches other text"),
        (WORDS.replace('"holdout"', '"hold"'), "model/card.md:3: build/data/summary.json has no rows.hold, which the"),
        (WORDS.replace('"rows"', '"rows", "x", 0'), "model/card.md:3: build/data/summary.json has no rows.x"),
        (WORDS.replace(', "holdout"', ""), "model/card.md:3: build/data/summary.json: rows is no single value"),
        (WORDS.replace("summary", "sumary"), "model/card.md:3: build/data/sumary.json is missing"),
        (WORDS.replace("None.", '{{ cite("pipeline.yaml", "7 things") }}'), "card.md:7: pipeline.yaml is missing"),
        ("", "model/card.md: it needs ## Intended use and ## Limits"),
        (WORDS.replace("None.", "{{ cite.__globals__ }}"), "model/card.md:7: '{{ cite.__globals__ }}' is no citation"),
    ],
)
def test_a_card_without_a_source_stops_the_build_and_leaves_no_package(words, message, capsys):
    packaged(words.encode())
    assert command.main([]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said) < 1000
    assert not workspace.PACKAGE.exists()
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (b"## Intended use\n\nCaf\xe9\n\n## Limits\n", "model/card.md:3: not UTF-8 text"),
        ("## Intended use\n## Limits\n".encode("utf-16"), "model/card.md:1: not UTF-8 text"),
        (b"## Intended use\n## Limits\n" + b"a " * 200_000, "build/card.md: it has more than 262,144 bytes"),
        (b"## Intended use\n## Limits\n" + b'{{ cite("build/data/summary.json", "rows", "train") }} ' * 1001, "1,000"),
    ],
)
def test_words_that_are_no_text_or_too_many_stop_the_build(words, message, capsys):
    packaged(words)
    assert command.main([]) == 2
    assert message in capsys.readouterr().err


def test_a_text_is_cited_only_if_it_occurs_in_its_file():
    Path("notes.txt").write_text("15 minutes late\n")
    assert "After 15 minutes.[^" in render(WORDS.replace("None.", 'After {{ cite("notes.txt", "15 minutes") }}.'))
    with pytest.raises(Exception, match=r"'16 minutes' does not occur in notes\.txt"):
        render(WORDS.replace("None.", 'After {{ cite("notes.txt", "16 minutes") }}.'))


def test_the_packages_card_is_written_where_its_words_are_whole(capsys):
    packaged(f"\ufeff{WORDS}".replace("\n", "\r\n").encode())
    assert command.main([]) == 0
    text = (workspace.PACKAGE / "card.md").read_bytes().decode()
    assert "To know 140 things.[^" in text
    assert "\r" not in text


def test_what_a_citation_may_look_like():
    quoted = '{{cite(\'build/data/summary.json\',"rows",\n  "holdout",form="{:,} days",)}}'
    words = WORDS.replace("None.", f"A {quoted} b {{# 7 notes for\nmyself #}} }} c.")
    assert "A 140 days b" in render(words)
    assert "notes" not in render(words)
    Path("notes.txt").write_text('say "7 {{ things }}" \\ here\n')
    cited = r'{{ cite("notes.txt", "\"7 {{ things }}\" \\ here") }}'
    assert 'A "7 {{ things }}" \\ here b.[^' in render(WORDS.replace("None.", f"A {cited} b."))
    builds.write("some.json", {"list": [1, [2.5, True]], "a b": {"": None, "0": "x"}})
    for keys, form, shown in [
        ('"list", 0', "{:.2f}", "1.00"),
        ('"list", -1, 0', "{:+,.1f} of {key}", "+2.5 of 0"),
        ('"list", 1, 1', "{}", "True"),
        ('"a b", ""', "{}", "None"),
        ('"a b", "0"', "{:}", "x"),
    ]:
        text = render(WORDS.replace("None.", f'A {{{{ cite("build/some.json", {keys}, form="{form}") }}}} b.'))
        assert f"A {shown} b.[^" in text


@pytest.mark.parametrize("value", ["9" * 10_001, "a\ue000b", "\ue001"])
def test_a_value_that_would_flood_or_forge_the_card_is_refused(value):
    builds.write("some.json", {"a": value})
    with pytest.raises(
        InputError, match=r"model/card\.md:7: build/some\.json: a is longer than .* or has one that marks"
    ):
        render(WORDS.replace("None.", '{{ cite("build/some.json", "a") }}'))


def test_text_of_a_result_cannot_add_lines_or_cells_to_the_card():
    builds.leave(slice_name="UA |\n\n## 99 % sure\u2028| x")
    text = render(WORDS)
    assert "| carrier UA \\|  ## 99 % sure \\| x | 70 |" in text
    assert not [line for line in text.splitlines() if line.startswith("## 99")]


def test_a_slice_of_a_column_with_a_number_in_its_name_has_a_source():
    path = Path("build/evaluation/evaluation.json")
    path.write_text(path.read_text().replace('"column": "carrier"', '"column": "2nd leg"'))
    assert "| 2nd leg UA | 70 | 0.7000 |" in render(WORDS)


@pytest.mark.parametrize(
    ("key", "value"), [("gates", None), ("gates", [3]), ("slices", {"a": 1}), ("metrics", {"auc": 1}), ("behaviour", 7)]
)
def test_results_that_do_not_fill_the_card_are_told_of(key, value):
    builds.change("evaluation/evaluation.json", **{key: value})
    with pytest.raises(InputError, match=r"do not fill the model card \(card\.md:\d+\)|evaluation\.json has no"):
        render(WORDS)
