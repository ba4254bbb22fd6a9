"""What a year's figures say of answers and outcomes."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from benchmarks.year import document, figures
from benchmarks.year.traffic import ROW, TARGET
from ci.results.year import YEAR
from tests.benchmarks.year import years


def test_a_weeks_answers_are_scored_where_there_is_an_outcome():
    random = np.random.default_rng(1)
    said, truth = random.random(200), random.choice([0.0, 1.0], 200)
    names = [f"r{n}" for n in range(200)]
    outcomes = pd.DataFrame({ROW: names, TARGET: np.where(np.arange(200) < 150, truth, np.nan)})
    answers = pd.DataFrame({ROW: names[::-1], "prediction": said[::-1]})
    found = figures.scores(outcomes, answers, ["auc", "log_loss"])
    assert found["rows"] == 150
    assert found["metrics"]["auc"] == pytest.approx(roc_auc_score(truth[:150], said[:150]))
    assert found["metrics"]["log_loss"] == pytest.approx(log_loss(truth[:150], said[:150]))


def test_a_week_of_one_class_has_no_auc():
    outcomes = pd.DataFrame({ROW: ["a", "b"], TARGET: [0.0, 0.0]})
    answers = pd.DataFrame({ROW: ["a", "b"], "prediction": [0.1, 0.2]})
    assert figures.scores(outcomes, answers, ["auc"])["metrics"] == {"auc": None}


def test_differences_are_paired_by_week_and_only_of_those_that_are_judged(tmp_path):
    found = years.lived(tmp_path)
    policies = {each["name"]: each for each in found["policies"]}
    assert policies["loop"]["trainings"] == 2
    assert policies["loop"]["promoted"] == 1
    judged = [week["metrics"]["auc"] for week in policies["loop"]["weeks"][13:]]
    assert policies["loop"]["means"]["auc"] == pytest.approx(np.mean(judged))
    against = {(each["against"], each["metric"]): each for each in found["differences"]}
    gained = against["never", "auc"]
    assert gained["weeks"] == len(judged)
    assert gained["value"] == pytest.approx(policies["loop"]["means"]["auc"] - policies["never"]["means"]["auc"])
    assert gained["low"] < gained["value"] < gained["high"]
    same = figures.differences([policies["never"], policies["never"]], ["auc"], found["judged_from"], 1)[0]
    assert (same["value"], same["low"], same["high"]) == (0.0, 0.0, 0.0)


def test_an_interval_covers_the_mean_of_weeks_about_as_often_as_it_says():
    random = np.random.default_rng(5)
    found = [figures.interval(random.normal(0.01, 0.02, 26), 1) for _ in range(100)]
    assert 88 <= sum(each["low"] <= 0.01 <= each["high"] for each in found) <= 100


def test_a_storm_shows_in_the_trainings_of_28_days():
    days = [date(2013, 4, 1) + timedelta(days=each) for each in (0, 7, 27, 28, 80)]
    assert figures.most(days) == 3
    assert figures.most(days[-1:]) == 1
    assert figures.most([]) == 0


def test_the_result_can_be_read_and_told(tmp_path):
    found = years.lived(tmp_path)
    YEAR.write(found, tmp_path)
    assert YEAR.read(tmp_path / "year.json").weeks == 20
    lines = document.told(found)
    assert lines[0].startswith("year: 20 weeks; judged from 2013-07-01 on")
    assert "loop less never: AUC +" in "\n".join(lines)
    text = document.page(found)
    assert "| `loop` | 0." in text
    assert "**keep**: auc 0.0010 worse" in text
    assert document.page(found, ["year-a.md"]).endswith("\n\nOther years: [year-a.md](year-a.md).\n")
