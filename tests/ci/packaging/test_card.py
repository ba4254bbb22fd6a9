"""The model card: what is cited is shown with its file; what is not cited stops the build."""

from pathlib import Path

import pytest

from ci import workspace
from ci.packaging import card
from scripts import package as command
from tests import builds

HOLDOUT = '{{ cite("build/data/summary.json", "rows", "holdout") }}'
WORDS = f"## Intended use\n\nTo know {HOLDOUT} things.\n\n## Limits\n\nNone.\n"


@pytest.fixture(autouse=True)
def _build(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    builds.leave()


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


def test_equal_evidence_gives_equal_bytes():
    assert render(WORDS) == render(WORDS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (WORDS.replace("None.", "Wrong in 7 of 100 cases."), "model/card.md:7: the number 7 has no source"),
        (WORDS.replace("None.", "Accuracy {{ 90 + 3 }} %."), "the number 93, which was computed and has no source"),
        (WORDS.replace("None.", "About ½ of the cases."), "model/card.md:7: the number ½ has no source"),
        (WORDS.replace("None.", "{{ 1 / 0 }}"), "model/card.md:7: division by zero"),
        (WORDS.replace("None.", '{{ cite("model") }}'), "model/card.md:7: cite('model') names no value"),
        (WORDS.replace("None.", "\ue0000\ue0007\ue001"), "a character of the private use area"),
        (WORDS.replace("None.", HOLDOUT.replace(")", ', form="99.9 %")')), "a form may have no number of its own"),
        (WORDS.replace("None.", HOLDOUT + HOLDOUT), "a cited number touches other text"),
        (WORDS.replace("None.", HOLDOUT.replace(" }}", '|replace("1", "9") }}')), "a citation was changed"),
        (WORDS.replace("None.", "{% set a = 1 %}{{ b }}"), "model/card.md:7: 'b' is undefined"),
        (WORDS.replace("None.", "{{ cite( }}"), "model/card.md:7: unexpected '}'"),
        (WORDS.replace('"holdout"', '"hold"'), "build/data/summary.json has no rows.hold, which the card cites"),
        (WORDS.replace("summary", "sumary"), "build/data/sumary.json is missing"),
        (
            WORDS.replace("None.", '{{ cite("pipeline.yaml", "7 things") }}'),
            "pipeline.yaml is missing",
        ),
        ("", "model/card.md: it needs ## Intended use and ## Limits"),
    ],
)
def test_a_card_without_a_source_stops_the_build_and_leaves_no_package(words, message, capsys):
    Path("build/package/manifest.json").unlink()
    workspace.write_text(workspace.CARD, words)
    model = workspace.MODEL / "saved_model"
    model.mkdir()
    (model / "saved_model.pb").write_bytes(b"graph")
    workspace.write_json(workspace.MODEL / "signature.json", {"inputs": {"x": "DT_FLOAT"}, "output": "late"})
    for name in ("golden.json", "reference.json"):
        workspace.write_json(workspace.EVALUATION / name, {})
    Path("dvc.yaml").write_text("stages: {}\n")
    Path("requirements.txt").write_text("numpy==2.4.6\n")
    assert command.main([]) == 2
    assert message in capsys.readouterr().err
    assert not (workspace.PACKAGE / "card.md").exists()


def test_a_text_is_cited_only_if_it_occurs_in_its_file():
    Path("notes.txt").write_text("15 minutes late\n")
    assert "After 15 minutes.[^" in render(WORDS.replace("None.", 'After {{ cite("notes.txt", "15 minutes") }}.'))
    with pytest.raises(Exception, match=r"'16 minutes' does not occur in notes\.txt"):
        render(WORDS.replace("None.", 'After {{ cite("notes.txt", "16 minutes") }}.'))
