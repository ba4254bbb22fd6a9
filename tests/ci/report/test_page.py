"""The page: valid, complete, the same every time, safe under Jenkins' Content-Security-Policy."""

import json
import re
import shutil
import sys
from pathlib import Path

import html5lib
import numpy as np
import pandas as pd
import pytest

from ci.report import page
from ci.results.year import YEAR
from scripts import report
from tests import builds
from tests.benchmarks.year import years

REPORT = Path("build/report")
HTML = "{http://www.w3.org/1999/xhtml}"
HOSTILE = "<script>alert('x')</script>\" onerror=\"x $\\frac{1}{0$ | [a](javascript:x) `"


@pytest.fixture(autouse=True)
def _start(build):
    """Begin with a complete build and its report."""


def rendered():
    assert report.main([]) == 0
    text = (REPORT / "index.html").read_text()
    return text, html5lib.HTMLParser(strict=True).parse(text)


def check_policy(document):
    """Assert what `default-src 'none'; img-src 'self'; style-src 'self'` asks for."""
    for element in document.iter():
        assert "style" not in element.attrib
        assert not [name for name in element.attrib if name.startswith("on")]
        assert element.tag not in (f"{HTML}script", f"{HTML}style", f"{HTML}iframe", f"{HTML}object", f"{HTML}base")
        for name in ("src", "href"):
            target = element.get(name)
            if target is not None:
                assert re.fullmatch(r"#[a-z]+|[-\w]+\.(css|svg)", target)
                assert target.startswith("#") or (REPORT / target).is_file()
    for picture in REPORT.glob("*.svg"):
        text = picture.read_text()
        assert "<script" not in text
        assert "<style" not in text
        assert " style=" not in text
        assert "data:" not in text
        assert "<!DOCTYPE" not in text
    assert "url(" not in (REPORT / "style.css").read_text()
    assert "@import" not in (REPORT / "style.css").read_text()


def test_a_complete_build_makes_a_valid_page_that_the_policy_allows():
    assert report.main(["--record"]) == 0
    _, document = rendered()
    check_policy(document)
    pictures = {image.get("src") for image in document.iter(f"{HTML}img")}
    names = "windows missing tuning hyperparameters training roc calibration slices drift trend placement timeline"
    assert pictures == {f"{name}.svg" for name in names.split()}
    assert all(image.get("alt") for image in document.iter(f"{HTML}img"))


def test_links_inside_the_page_lead_somewhere():
    _, document = rendered()
    known = {element.get("id") for element in document.iter() if element.get("id")}
    wanted = {link.get("href")[1:] for link in document.iter(f"{HTML}a") if link.get("href").startswith("#")}
    assert wanted
    assert wanted <= known


def test_the_first_screen_has_verdict_reason_numbers_and_what_serves():
    _, document = rendered()
    first = "".join(next(document.iter(f"{HTML}section")).itertext())
    words = ("Promote", "AUC 0.0200 better than the champion's.", "Release 2 is serving", "0.700", "+0.020", "93.0 %")
    assert [word for word in words if word not in first] == []


def test_a_build_of_a_task_without_days_says_what_was_resampled():
    builds.change("evaluation/evaluation.json", resampled="blocks of rows")
    text, _ = rendered()
    assert "93.0 % of resampled blocks of rows" in text
    assert "over resampled blocks of rows." in text
    assert "of resampled blocks of rows." in (REPORT / "summary.md").read_text()


def test_nothing_needs_to_exist():
    shutil.rmtree("build")
    text, document = rendered()
    check_policy(document)
    for stage in ("configure", "prepare", "tune", "train", "evaluate", "package", "place", "deploy", "monitor"):
        assert f"python -m scripts.{stage}" in text + (REPORT / "summary.md").read_text()
    assert "no verdict yet: configure has not run" in (REPORT / "summary.json").read_text()


@pytest.mark.parametrize(
    "part",
    ["settings.yaml", "champion.json", "data", "tuning", "model", "evaluation", "package", "placement", "rollout"],
)
def test_any_stage_may_be_missing(part):
    path = Path("build") / part
    path.unlink() if path.is_file() else shutil.rmtree(path)
    _, document = rendered()
    check_policy(document)


def test_text_from_settings_and_data_stays_text():
    builds.leave(slice_name=HOSTILE)
    builds.change("evaluation/evaluation.json", reason=HOSTILE)
    builds.change("rollout/rollout.json", failed=HOSTILE)
    text, document = rendered()
    check_policy(document)
    assert HOSTILE in "".join(document.itertext())
    assert "<script" not in text
    assert "<script" not in (REPORT / "summary.md").read_text()


def test_the_same_build_gives_the_same_bytes_drawn_anew_or_kept():

    def once():
        rendered()
        return {file.name: file.read_bytes() for file in REPORT.iterdir()}

    first = once()
    assert once() == first
    shutil.rmtree(REPORT)
    assert once() == first


def test_a_picture_is_drawn_again_when_its_data_change():
    rendered()
    before = {file.name: file.read_bytes() for file in REPORT.glob("*.svg")}
    builds.change("model/training.json", best_epoch=1)
    rendered()
    after = {file.name: file.read_bytes() for file in REPORT.glob("*.svg")}
    assert [name for name in before if before[name] != after[name]] == ["training.svg"]


def test_pictures_that_tuning_drew_are_shown_without_their_styles():
    path = '<path d="M 0 0" style="fill: none; stroke: #000"/>'
    drawn = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{path}</svg>'
    Path("build/tuning/parallel_axes.svg").write_text(drawn)
    _, document = rendered()
    check_policy(document)
    assert "tuning-parallel_axes.svg" in {image.get("src") for image in document.iter(f"{HTML}img")}
    assert 'fill="none" stroke="#000"' in (REPORT / "tuning-parallel_axes.svg").read_text()


def test_a_regression_has_residuals_instead_of_a_roc_curve():
    metrics = {"rmse": builds.METRIC, "mae": builds.METRIC}
    gate = {"name": "rmse", "value": 0.7, "threshold": 0.9, "side": "max", "margin": 0.2, "passed": True}
    builds.change("evaluation/evaluation.json", primary="rmse", metrics=metrics, gates=[gate])
    rendered()
    assert (REPORT / "residuals.svg").exists()
    assert not (REPORT / "roc.svg").exists()


@pytest.mark.parametrize("nothing", [None, float("nan")], ids=["none", "NaN, as earlier versions wrote"])
def test_a_metric_that_cannot_be_computed_is_said_to_be_in_words(nothing):
    why = "every outcome is 1"
    undefined = {**dict.fromkeys(("value", "low", "high"), nothing), "problem": why}
    gate = {"name": "auc", "value": nothing, "threshold": 0.6, "side": "min", "margin": nothing, "passed": False}
    part = {**undefined, "column": "carrier", "slice": "UA", "rows": 70, "gain": None, "worse": False}
    builds.change(
        "evaluation/evaluation.json",
        metrics={"auc": undefined, "log_loss": builds.METRIC},
        gates=[{**gate, "problem": why}],
        slices=[part, {**part, **builds.METRIC, "slice": "B6", "problem": None}],
        comparison=None,
        champion={"as_of": "2013-03-01", "problem": f"auc cannot be computed ({why})"},
    )
    assert report.main(["--record"]) == 0
    text, document = rendered()
    summary = (REPORT / "summary.md").read_text()
    for page_ in (text, summary):
        assert "cannot be computed" in page_
        assert why in page_
        assert not re.search(r"\bnan\b", page_)
    assert "On 1 of 2 slices it cannot be computed" in text
    shown = {image.get("src") for image in document.iter(f"{HTML}img")}
    assert "calibration.svg" in shown
    assert "slices.svg" in shown
    assert not shown & {"roc.svg", "trend.svg"}
    builds.change("evaluation/evaluation.json", slices=[part], metrics={"auc": undefined, "log_loss": undefined})
    _, document = rendered()
    shown = {image.get("src") for image in document.iter(f"{HTML}img")}
    assert not shown & {"roc.svg", "slices.svg", "calibration.svg"}


def test_an_evaluation_of_another_task_is_reported_by_itself(monkeypatch):
    """After `TARGET` was changed, and before test has run again, build/ holds the evaluation of the task before."""
    builds.change("evaluation/evaluation.json", target="delayed")
    monkeypatch.delitem(sys.modules, "model", raising=False)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if not Path(path or ".", "model").exists()])
    _, document = rendered()
    assert "roc.svg" in {image.get("src") for image in document.iter(f"{HTML}img")}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("outcomes", "predictions"),
    [((0, 1), (0.5, 0.5)), ((1, 1), (1.0, 1.0)), ((0, 0), (0.0, 0.0)), ((-3, -3), (-5.0, -5.0)), ((1e9, 1), (1e9, 2))],
)
@pytest.mark.parametrize("metric", ["log_loss", "rmse"])
def test_constant_outcomes_and_predictions_can_be_drawn(outcomes, predictions, metric):
    frame = pd.DataFrame({"outcome": np.resize(outcomes, 40), "challenger": np.resize(predictions, 40)})
    frame.astype("float64").assign(champion=np.nan).to_parquet("build/evaluation/predictions.parquet")
    builds.change("evaluation/evaluation.json", primary=metric, metrics={metric: builds.METRIC}, gates=[])
    rendered()
    assert (REPORT / "calibration.svg").exists()


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("data/summary.json", "{", "build/data/summary.json:1: not JSON"),
        ("tuning/best.json", "null", "build/tuning/best.json: "),
        ("evaluation/evaluation.json", '{"as_of": 5}', "build/evaluation/evaluation.json: as_of: "),
        ("rollout/steps.jsonl", '{"step": 1}\n', "build/rollout/steps.jsonl:1: time: "),
        ("champion.json", "7", "build/champion.json: "),
        ("champion.json", b"\xff", "build/champion.json:1: not UTF-8 text"),
        ("champion.json", "[" * 100_000, "build/champion.json:1: not JSON (recursion limit exceeded)"),
        ("champion.json", '"\\ud800"', "build/champion.json:1: not JSON"),
        ("data/summary.json", "9" * 5000, "build/data/summary.json:1: not JSON (number out of range)"),
        ("data/schema.json", " " * (16 * 2**20 + 1), "build/data/schema.json: it has more than 16,777,216 bytes"),
        ("data/schema.json", {"rows": 2**70}, "build/data/schema.json: rows: Input should be less than"),
        ("data/schema.json", {"Rows": 1}, "build/data/schema.json: Rows: Extra inputs are not permitted"),
        ("data/summary.json", {"as_of": "1500-01-01"}, "build/data/summary.json: as_of: Input should be"),
        (
            "evaluation/evaluation.json",
            {"metrics": {}},
            "build/evaluation/evaluation.json: Value error, metrics has no auc",
        ),
        ("evaluation/evaluation.json", {"rows": "1"}, "build/evaluation/evaluation.json: rows: "),
        ("tuning/best.json", {"objective": float("inf")}, "build/tuning/best.json: objective: "),
        ("tuning/fit.json", '[{"name": 1}]', "build/tuning/fit.json: 0.name: "),
        ("model/training.json", {"best_epoch": 9}, "build/model/training.json: Value error, history has no epoch 9"),
        ("model/training.json", {"history": {}}, "build/model/training.json: Value error, history must have"),
        ("package/manifest.json", {"version": "../1"}, "build/package/manifest.json: version: String should match"),
        ("rollout/steps.jsonl", b"\xff\n", "build/rollout/steps.jsonl:1: not UTF-8 text"),
        ("settings.yaml", "as_of: 5", "build/settings.yaml:1: "),
        ("state/history/builds.jsonl", "\n", "build/state/history/builds.jsonl:1: "),
    ],
)
def test_a_malformed_result_is_named_and_the_last_report_stays(path, content, message, capsys):
    before = (REPORT / "index.html").read_bytes()
    file = Path("build") / path
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps({**json.loads(file.read_text()), **content})
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert report.main([]) == 2
    assert f"bad input: {message}" in capsys.readouterr().err
    assert (REPORT / "index.html").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="outcome"), "no column outcome"),
        (lambda table: table.drop(columns="challenger"), "no column challenger"),
        (lambda table: table.assign(challenger="high"), "not a whole Parquet file of numbers"),
    ],
)
def test_predictions_that_are_not_as_the_test_stage_writes_them_are_named(change, message, capsys):
    path = Path("build/evaluation/predictions.parquet")
    change(pd.read_parquet(path)).to_parquet(path)
    assert report.main([]) == 2
    assert f"bad input: {path}: {message}" in capsys.readouterr().err


def test_a_damaged_memory_of_pictures_draws_them_again(capsys):
    for content in ("{", "[1]", '{"roc.svg": 1}', "\udcff"):
        (REPORT / "pictures.json").write_text(content, errors="surrogateescape")
        assert report.main([]) == 0
        assert "every picture is drawn again: build/report/pictures.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("sha256:" + "0a" * 32, "0a0a0a0a0a0a"),
        ("a" * 40, "a" * 12),
        (0.00298763, "0.00298763"),
        ("relu", "relu"),
        (3, "3"),
    ],
)
def test_digests_and_numbers_are_shown_short(value, shown):
    assert page.short(value) == shown


def test_a_year_that_was_lived_is_a_section_with_its_picture(tmp_path):
    _, document = rendered()
    assert "year" not in {element.get("id") for element in document.iter()}
    YEAR.write(years.lived(tmp_path))
    _, document = rendered()
    check_policy(document)
    (section,) = [element for element in document.iter(f"{HTML}section") if element.get("id") == "year"]
    said = " ".join(" ".join(section.itertext()).split())
    assert "20 weeks of demo under 3 policies" in said
    assert "monthly" in said
    (picture,) = section.iter(f"{HTML}img")
    assert picture.get("src") == "year.svg"
    assert "loop 0." in picture.get("alt")
